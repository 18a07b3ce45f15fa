"""Draw the pictures of the README again, with the commands that it teaches.

make pictures
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

import matplotlib  # noqa: E402
import pyte  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from tests.browser.chromium import Chromium  # noqa: E402
from tests.pipeline.terminal import Terminal  # noqa: E402

HERE = Path(__file__).resolve().parent
COLUMNS, LINES, FONT_SIZE = 100, 28, 16
COLOURS = {
    "default": "#d8d8d8", "black": "#101010", "red": "#d05050", "green": "#50a050", "brown": "#c0a040", "blue": "#3465a4",
    "magenta": "#a05090", "cyan": "#40a0a0", "white": "#f0f0f0",
}  # fmt: skip


def draw_screen(raw: bytes, path: Path) -> None:
    """Render what a terminal shows after `raw` to a PNG."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(raw)
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = {bold: ImageFont.truetype(fonts / f"DejaVuSansMono{'-Bold' * bold}.ttf", FONT_SIZE) for bold in (False, True)}
    width, height = round(font[False].getlength("M")), FONT_SIZE + 5
    image = Image.new("RGB", (COLUMNS * width, LINES * height), COLOURS["black"])
    pen = ImageDraw.Draw(image)
    for row in range(LINES):
        for column in range(COLUMNS):
            cell = screen.buffer[row][column]
            ink, paper = COLOURS.get(cell.fg, f"#{cell.fg}"), COLOURS["black" if cell.bg == "default" else cell.bg]
            if cell.reverse:
                ink, paper = paper, ink
            left, top = column * width, row * height
            pen.rectangle((left, top, left + width, top + height), fill=paper)
            pen.text((left, top + 1), cell.data, font=font[cell.bold], fill=ink)
    image.save(path, optimize=True)


def draw_menuconfig(scratch: Path) -> None:
    """menuconfig, in the sweep menu under TPE, with the help of one symbol shown."""
    (scratch / ".config").write_text("CONFIG_SWEEP_STRATEGY_SELECT_TPE=y\nCONFIG_SWEEP_PRUNER_SELECT_MEDIAN=y\n")
    with Terminal(["make", "menuconfig", f"O={scratch}"], cwd=ROOT, env=os.environ, lines=LINES, columns=COLUMNS) as terminal:
        terminal.wait_for("Sweep")
        terminal.press("jjjjj\n")
        terminal.wait_for("Strategy")
        terminal.press("F" + "j")
        terminal.wait_for("TRIALS=40")
        draw_screen(terminal.raw, HERE / "menuconfig.png")


def draw_report(report: Path, scratch: Path) -> None:
    """The upper part of a report, as chromium shows it."""
    with Chromium(scratch / "profile") as browser:
        page = browser.open(report.as_uri(), width=1000, height=1900)
        page.wait("document.querySelectorAll('canvas').length > 1")
        page.screenshot(HERE / "report.png")


def draw_strategies(scratch: Path) -> None:
    """What make sweep-compare-strategies draws."""
    words = ["make", "sweep-compare-strategies", "STRATEGIES=random,tpe,asha", f"RESULTS={scratch}"]
    subprocess.run(words, cwd=ROOT, check=True)
    (picture,) = scratch.glob("compare_*/strategies.png")
    shutil.copy(picture, HERE / picture.name)


def main() -> None:
    """Draw all."""
    (ROOT / "test_matrix_results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "test_matrix_results") as scratch:
        draw_menuconfig(Path(scratch))
        subprocess.run(["make", "sweep", f"O={scratch}"], cwd=ROOT, check=True)
        (sweep,) = Path(scratch, "test_matrix_results").glob("sweep_*")
        for name in ("ranking.png", "learning_curves.png"):
            shutil.copy(sweep / "plots" / name, HERE / name)
        draw_report(sweep / "report.html", Path(scratch))
        draw_strategies(Path(scratch, "test_matrix_results"))


if __name__ == "__main__":
    main()
