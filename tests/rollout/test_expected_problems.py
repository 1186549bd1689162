"""An evaluation set with a problem more or less than its benchmark is refused."""

from __future__ import annotations

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.errors import UserError
from ablate.evals.scores import check_count


def test_an_evaluation_set_has_the_number_of_problems_of_its_benchmark():
    config = parse(compose(["eval.expected_problems=28"]))
    check_count(config, 28)
    with pytest.raises(UserError, match=r"27 problems.*eval\.expected_problems=28.*set eval\.expected_problems=27"):
        check_count(config, 27)


def test_the_reference_run_expects_the_454_problems_of_its_window():
    assert parse(compose(["experiment=nouscoder_14b"])).eval.expected_problems == 454
