"""Problems that teach nothing for now: after groups of one outcome in a row a problem rests for some steps.

Which problems rest at a step is a function of the groups that earlier batches drew, up to the last group that each of
them accepted, and so of the records. Batches are sampled one after the other, at every lag: when one begins, all groups
before it have their verdicts, whichever of them the trainer has seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from ablate.config import HistoryConfig

Streaks = dict[int, list[int]]  # problem: [groups of one outcome in a row, up to its last group; the step of that]


def resting(streaks: Streaks, config: HistoryConfig, step: int, num_problems: int, num_awake: int) -> set[int]:
    """The problems that rest at ``step``.

    At least ``num_awake`` do not: where more would rest, those that have rested longest wake.

    Example:
        With ``groups=2, rest_steps=3``, ``{7: [2, 10]}`` rests problem 7 at steps 11, 12 and 13.
    """
    found = sorted(
        (last, number)
        for number, (num_groups, last) in streaks.items()
        if num_groups >= config.groups and step <= last + config.rest_steps
    )
    num_woken = max(0, len(found) - max(0, num_problems - num_awake))
    return {number for _, number in found[num_woken:]}


def noted(streaks: Streaks, step: int, outcomes: Iterable[tuple[int, bool | None]]) -> Streaks:
    """The streaks after the groups of ``step``.

    Args:
        outcomes: the problem of each group in draw order, and whether it had one outcome; None where a rollout has no
            verdict, which says nothing.
    """
    after = dict(streaks)
    for number, has_one_outcome in outcomes:
        if has_one_outcome:
            after[number] = [after.get(number, [0])[0] + 1, step]
        elif has_one_outcome is not None:
            after.pop(number, None)
    return after
