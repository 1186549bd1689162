"""The second pass: filters that compare rows, in order of cost. Every row that goes has one reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.curate.candidate import Candidate, Rejection, rejection
from ablate.curate.duplicates import drop_exact, drop_near
from ablate.curate.overlap import Overlap, find_overlap, index_of, note_common
from ablate.curate.settings import EVALUATION_SOURCE, EvaluationConfig, TrainConfig
from ablate.errors import UserError


@dataclass(frozen=True)
class Selection:
    """What the filters left: training problems before references are run, and the evaluation set."""

    train: list[Candidate]
    evaluation: list[Candidate]
    rejections: list[Rejection]
    overlaps: list[Overlap]


def select(candidates: Sequence[Candidate], window: EvaluationConfig, rules: TrainConfig) -> Selection:
    """Apply every filter that runs no program.

    Raises:
        UserError: when the window does not hold exactly the problems of the evaluation set.
    """
    evaluation, others, outside = split_evaluation(candidates, window)
    held_out = [each for each in others if each.split == "test"]
    rejections = [*outside, *(rejection(each, "test_split", "only compared with") for each in held_out)]
    train, dropped = drop_exact([each for each in others if each.split == "train"], rules.max_references)
    rejections += dropped
    train, dropped = drop_near(train, rules.near_duplicate, rules.max_references)
    rejections += dropped
    train, overlaps = drop_overlaps(train, [*evaluation, *held_out], rules)
    rejections += [
        rejection(each.candidate, "in_evaluation_set", f"{each.other.id}: {', '.join(each.ways)}") for each in overlaps
    ]
    rejections += [rejection(each, *each.fault) for each in train if each.fault is not None]
    return Selection([each for each in train if each.fault is None], evaluation, rejections, overlaps)


def split_evaluation(
    candidates: Sequence[Candidate], window: EvaluationConfig
) -> tuple[list[Candidate], list[Candidate], list[Rejection]]:
    """The evaluation set, sorted by id; all rows of other sources; and the benchmark's rows outside the window."""
    rows = [each for each in candidates if each.source == EVALUATION_SOURCE]
    inside = [each for each in rows if window.first <= (each.date or "") <= window.last]
    if len(inside) != window.rows:
        raise UserError(
            f"{EVALUATION_SOURCE} has {len(inside)} problems from {window.first} to {window.last}, not {window.rows}: "
            "download the pinned revision, or set evaluation.rows together with evaluation.first and evaluation.last"
        )
    ids = {each.id for each in inside}
    if len(ids) != len(inside):
        raise UserError(f"{EVALUATION_SOURCE} holds a problem twice: download the data set again")
    outside = [rejection(each, "outside_window", each.date or "") for each in rows if each.id not in ids]
    others = [each for each in candidates if each.source != EVALUATION_SOURCE]
    return sorted(inside, key=lambda each: each.id), others, outside


def drop_overlaps(
    train: Sequence[Candidate], evaluation: Sequence[Candidate], rules: TrainConfig
) -> tuple[list[Candidate], list[Overlap]]:
    index = index_of(evaluation)
    note_common(index, train)
    found = [find_overlap(each, index, rules.overlap_share, rules.overlap_examples) for each in train]
    kept = [each for each, overlap in zip(train, found, strict=True) if overlap is None]
    return kept, [overlap for overlap in found if overlap is not None]
