"""What a user's own loss function is said to compute."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate_analysis.conform import examine

FILE = Path(__file__).parent / "loss_functions.py"


def said(name: str, **options: str) -> str:
    return "\n".join(examine(f"{FILE}:{name}", options))


def test_grpo_is_recognised_and_does_not_depend_on_the_split():
    text = said("clipped")
    assert "It computes our grpo" in text
    assert "grpo_dual_clip, " not in text
    assert "does not depend on how rows are split" in text


def test_a_mean_over_the_tokens_of_a_micro_batch_is_dapo_until_rows_are_split():
    text = said("local_token_mean")
    assert "It computes our dapo" in text
    assert "depends on how rows are split into micro-batches" in text


def test_gspo_with_token_means_is_gspo_plus():
    assert "It computes our gspo_plus" in said("sequence_ratio_token_mean")


def test_a_factor_is_named_and_advantages_may_come_one_a_row():
    assert "It computes our grpo" in said("by_row", advantages="row")
    assert "times 3" in said("by_row", advantages="row")


def test_recombined_parts_are_found_slot_by_slot():
    text = said("recombined")
    assert "objective.weight=constant_length" in text
    assert "objective.clip_low=0.0003 objective.clip_high=0.0004" in text
    assert "It computes objective=" in text


def test_an_inverted_clip_is_no_objective_of_ours():
    text = said("inverted_clip")
    assert "It computes our" not in text
    assert "equal" not in text.splitlines()[2]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("detached", {}, "does it detach logp"),
        ("no_scalar", {}, "must return a scalar"),
        ("missing", {}, "has no function missing"),
        ("clipped", {"advantages": "row"}, "the function raised RuntimeError"),
        ("clipped", {"micro_batches": "max"}, "micro_batches=max is unknown"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        said(name, **options)
