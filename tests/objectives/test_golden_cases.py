"""The cases of this project's specification (Apache-2.0) hold to 1e-9 in float64.

golden_cases.json holds 24 of the first objectives, golden_cases_published.json 54 of the others.
"""

import json
from pathlib import Path

import pytest

from ablate.cli import objective_config
from ablate_analysis.cases import replay

FILES = ("golden_cases.json", "golden_cases_published.json")
CASES = [case for name in FILES for case in json.loads(Path(__file__).with_name(name).read_text())]


def flat(rows):
    return [value for row in rows for value in row]


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case['objective']}" for n, case in enumerate(CASES, start=1)])
def test_case_has_its_advantage_loss_gradient_and_rows_in_the_loss(case):
    result, expected = replay(case, objective_config), case["expected"]
    assert result["in_loss"] == expected["in_loss"]
    assert result.get("selected") == expected.get("selected")
    assert result["loss"] == pytest.approx(expected["loss"], abs=1e-9, rel=0)
    for field in ("advantage", "grad"):
        assert [len(row) for row in result[field]] == [len(row) for row in expected[field]]
        assert flat(result[field]) == pytest.approx(flat(expected[field]), abs=1e-9, rel=0)
