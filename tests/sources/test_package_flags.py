"""Validator flags of contest packages, as Kattis' own tools read them."""

from __future__ import annotations

import pytest

from ablate.sources.icpc import checker_of
from ablate.sources.reasons import Refused


def package(tmp_path, **flags):
    for place, text in flags.items():
        path = tmp_path / "data" / place / "testdata.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"output_validator_flags: {text}\n")
    return tmp_path


def test_flags_of_a_group_come_after_those_of_the_problem(tmp_path):
    found = checker_of(package(tmp_path, secret="float_tolerance 1e-6"), {"validator_flags": "case_sensitive"})
    assert found.flags == ("case_sensitive", "float_tolerance", "1e-6")


@pytest.mark.parametrize("facts", [{}, {"validator_flags": None}, {"validator_flags": ""}])
def test_a_package_without_flags_has_none(tmp_path, facts):
    assert checker_of(package(tmp_path), facts).flags == ()


def test_groups_with_other_flags_are_rejected(tmp_path):
    with pytest.raises(Refused, match="different validator flags"):
        checker_of(package(tmp_path, sample="case_sensitive", secret="float_tolerance 1e-6"), {})
