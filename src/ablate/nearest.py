"""What a user probably meant: the known names nearest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_NAMES = 3


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """At most three known names, the nearest first.

    A dotted key is near to a word if their last parts are: ``steps`` is near to ``context.steps``.

    Example: ``nearest("gpso", ["dapo", "grpo", "gspo"])[0]`` is ``"gspo"``.
    """
    known = list(names)
    last = word.rsplit(".", 1)[-1]
    by_last: dict[str, list[str]] = {}
    for name in known:
        by_last.setdefault(name.rsplit(".", 1)[-1], []).append(name)
    exact = sorted(by_last.get(last, []), key=lambda name: (name.count("."), name))
    swapped = [name for name in known if sorted(name) == sorted(word)]  # two letters in the wrong order
    if exact or swapped:
        return list(dict.fromkeys([*swapped, *exact]))[:MOST_NAMES]
    parts = [name for part in get_close_matches(last, by_last, MOST_NAMES, 0.75) for name in by_last[part]]
    return list(dict.fromkeys([*get_close_matches(word, known, MOST_NAMES, 0.75), *parts]))[:MOST_NAMES]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """``: did you mean a, b or c?``, or nothing if no name is near."""
    found = nearest(word, names)
    if not found:
        return ""
    *others, last = found
    return f": did you mean {', '.join(others)} or {last}?" if others else f": did you mean {last}?"
