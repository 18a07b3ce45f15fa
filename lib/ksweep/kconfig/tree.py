"""Load a Kconfig tree: the one place where a kconfiglib.Kconfig object is made."""

import hashlib
import os
from pathlib import Path

import kconfiglib

from ksweep.contract.errors import RequestError
from ksweep.kconfig.functions import alias_problems, declaration_problems, declared_rules
from ksweep.kconfig.rules import choice_words, requirement_problems

FUNCTIONS_MODULE = "ksweep.kconfig.functions"
STEERING_PREFIX = "SWEEP_"  # symbols that steer the sweep: never swept, not part of a configuration's identity


def load_tree(root: Path, kconfig: str = "Kconfig") -> kconfiglib.Kconfig:
    """The tree whose top file is `kconfig` below `root`, with no configuration loaded and warnings kept in `.warnings`.

    A tree that does not parse, or that warns while it does, is a RequestError with kconfiglib's own words: a schema with
    a doubtful default is no schema. So is a rule over a symbol that the tree does not have.
    """
    os.environ["srctree"] = str(root)
    os.environ["KCONFIG_FUNCTIONS"] = FUNCTIONS_MODULE
    try:
        kconf = kconfiglib.Kconfig(kconfig, warn_to_stderr=False)
    except (kconfiglib.KconfigError, ValueError, OSError) as error:
        raise RequestError(f"{root / kconfig}: {error}") from None
    if kconf.warnings:
        raise RequestError(*(f"{root / kconfig}: {warning}" for warning in kconf.warnings))
    words = choice_words(kconf)
    problems = declaration_problems(kconf) + alias_problems(kconf)
    problems += [problem for rule in declared_rules(kconf) for problem in requirement_problems(kconf, words, rule)]
    if problems:
        raise RequestError(*problems)
    return kconf


def tree_hash(kconf: kconfiglib.Kconfig) -> str:
    """Hash of every Kconfig file of the tree: tells when the schema changed under a sweep."""
    digest = hashlib.sha256()
    root = Path(os.environ["srctree"])
    for name in kconf.kconfig_filenames:
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]
