"""kconfiglib's menuconfig (terminal) and guiconfig (window), taught what this tree asks of a configuration.

Both are modules with a `menuconfig(kconf)` function and hooks of the same names at module level. These are replaced, since
as they stand they would lose values or let bad ones in:

  _check_valid               knows the ranges of integers only; a learning rate is a string there, and anything goes
  _range_info                the hint beside the input field, likewise
  _sorted_sc_nodes           offers to jump to where a symbol only gets a default, beside where it is asked for
  _load_config, _try_load    drop what does not survive without a word
  _needs_save                is true of every tree with computed strings, changed or not
  _try_save                  leaves no .config, or half of one, when it is interrupted
"""

import importlib
import locale
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kconfiglib import Kconfig, MenuNode

from ksweep.contract.errors import RequestError
from ksweep.kconfig.functions import declared_bounds

WITHOUT = "without one: make defconfig-<name>, make olddefconfig, or edit the file itself"


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What an editor is given.

    `load` sets the tree and returns what did not survive, or raises RequestError and leaves it; `save` returns a message, or
    raises OSError.
    """

    load: Callable[[Path], list[str]]
    save: Callable[[Path], str]
    needs_save: Callable[[Path], bool]


def edit_in_terminal(kconf: Kconfig, path: Path, hooks: Hooks) -> None:
    """menuconfig over an already loaded tree, until the user leaves it. RequestError where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise RequestError(f"menuconfig needs a terminal for its input and output; {WITHOUT}")
    try:
        import curses
    except ImportError:
        raise RequestError(f"{sys.executable} was built without curses, which menuconfig needs; {WITHOUT}") from None
    _use_a_locale_that_exists()
    editor: Any = importlib.import_module("menuconfig")
    read_key = editor._getch_compat

    def read_key_while_there_is_a_terminal(window: Any) -> Any:
        key = read_key(window)
        if key == -1 and not sys.stdin.isatty():  # it was closed: menuconfig would spin on this for ever
            raise RequestError("the terminal has gone; nothing was saved")
        return key

    editor._getch_compat = read_key_while_there_is_a_terminal
    _install(editor, kconf, path, hooks, lambda text, *_: editor._error(text))
    try:
        editor.menuconfig(kconf)
    except curses.error as error:
        raise RequestError(
            f'menuconfig cannot use this terminal (TERM="{os.environ.get("TERM", "")}"): {error}; {WITHOUT}'
        ) from None


def edit_in_window(kconf: Kconfig, path: Path, hooks: Hooks) -> None:
    """guiconfig over an already loaded tree, until the user leaves it. RequestError where there is no display."""
    try:
        import tkinter
    except ImportError:
        raise RequestError("guiconfig needs tkinter (Debian: apt-get install python3-tk), or take make menuconfig") from None
    editor: Any = importlib.import_module("guiconfig")
    editor.re = re  # its jump-to dialog uses re without importing it (kconfiglib 14.1.0)

    def show_error(text: str, *where: Any) -> None:
        editor.messagebox.showerror("Error", text, parent=where[0] if where else None)

    _install(editor, kconf, path, hooks, show_error)
    try:
        editor.menuconfig(kconf)
    except tkinter.TclError as error:
        raise RequestError(f"guiconfig cannot open a window: {error}; take make menuconfig") from None


def _install(editor: Any, kconf: Kconfig, path: Path, hooks: Hooks, show_error: Callable[..., None]) -> None:
    bounds = declared_bounds(kconf)
    is_valid, range_info, save = editor._check_valid, editor._range_info, editor._try_save
    all_nodes = editor._sorted_sc_nodes
    os.environ["KCONFIG_CONFIG"] = str(path)  # where both editors look for the name of the file

    def check_valid(*args: Any) -> bool:
        *where, symbol, text = args
        problem = bounds[symbol.name].problem(text) if symbol.name in bounds else None
        if problem:
            show_error(problem, *where)
        return problem is None and is_valid(*args)

    def hint(symbol: Any) -> str | None:
        if symbol.name not in bounds:
            return range_info(symbol)
        return "Allowed: " + " and ".join(f"{sign} {limit}" for sign, limit in bounds[symbol.name].bounds)

    def try_load(filename: str) -> bool:
        nonlocal path
        try:
            problems = hooks.load(Path(filename))
        except RequestError as error:
            show_error(str(error))
            return False
        path = Path(filename)
        if problems:
            show_error("Not taken over:\n\n" + "\n".join(problems))
        return True

    def try_save(save_function: Callable[[str], str], filename: str, description: str) -> str | None:
        whole = save_function.__name__ == "write_config"
        return save((lambda name: hooks.save(Path(name))) if whole else save_function, filename, description)

    def nodes_to_jump_to() -> list[MenuNode]:
        return [node for node in all_nodes() if node.prompt or not any(other.prompt for other in node.item.nodes)]

    editor._check_valid = check_valid
    editor._range_info = hint
    editor._sorted_sc_nodes = nodes_to_jump_to
    editor._load_config = lambda: hooks.needs_save(path)  # the tree was loaded, strictly, before the editor was opened
    editor._needs_save = lambda: hooks.needs_save(path)
    editor._try_load = try_load
    editor._try_save = try_save


def _use_a_locale_that_exists() -> None:
    """menuconfig calls setlocale(LC_ALL, "") and would end with a traceback where LANG names a locale that is not installed."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        os.environ["LC_ALL"] = "C.UTF-8"
        try:
            locale.setlocale(locale.LC_ALL, "")
        except locale.Error:
            os.environ["LC_ALL"] = "C"
