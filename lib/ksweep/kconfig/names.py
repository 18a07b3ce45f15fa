"""What a search space in YAML may call the symbols of a tree, and the members of its choices."""

from kconfiglib import Kconfig

from ksweep.kconfig.functions import declared_aliases
from ksweep.kconfig.rules import choice_words
from ksweep.space.yamlspace import Names


def yaml_names(kconf: Kconfig) -> Names:
    """Of one parsed tree. An alias of a symbol names it; one of a choice's member is a word for this member."""
    aliases, words = declared_aliases(kconf), choice_words(kconf)
    members = {member.name: (name, word) for name, by_word in words.items() for word, member in by_word.items()}
    further: dict[str, dict[str, str]] = {}
    for alias, symbol in aliases.items():
        if symbol in members:
            name, word = members[symbol]
            further.setdefault(name, {})[alias] = word
    return Names(
        symbols={symbol.name for symbol in kconf.unique_defined_syms},
        aliases={alias: symbol for alias, symbol in aliases.items() if symbol not in members},
        words=further,
    )
