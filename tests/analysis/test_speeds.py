"""The report names runs that were verified on slower cores."""

from __future__ import annotations

from ablate_analysis.speeds import speed_sentences


def manifest(*seconds: float | None) -> dict:
    return {"attempts": [{"verify_speed_s": value} for value in seconds]}


def test_runs_on_cores_of_one_speed_are_not_named():
    assert speed_sentences({"a": manifest(0.030), "b": manifest(0.033)}, {}) == []


def test_a_run_on_slower_cores_is_named_even_if_one_attempt_was():
    (sentence,) = speed_sentences({"a": manifest(0.030), "b": manifest(0.031, 0.093)}, {"a": 1, "b": 1})
    assert "b (3.1 times slower)" in sentence
    assert "a (" not in sentence


def test_a_run_whose_limits_were_scaled_is_not_named():
    assert speed_sentences({"a": manifest(0.030), "b": manifest(0.090)}, {"a": 1, "b": "auto"}) == []


def test_records_without_a_speed_are_not_compared():
    assert speed_sentences({"a": manifest(None), "b": {}, "c": manifest(0.030)}, {}) == []
