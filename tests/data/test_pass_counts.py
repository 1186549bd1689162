import pytest

from ablate.data.pass_counts import read_pass_counts, within_pass_rate
from ablate.errors import UserError
from ablate.parquet import write_parquet
from ablate.types import Problem, TestCase

PROBLEMS = [Problem(name, "s", (TestCase("", "1"),), "easy") for name in ("always", "mostly", "never")]
PASSED = {"always": [1, 1, 1, 1], "mostly": [1, 0, 1, 1], "never": [0, 0, 0, 0]}


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "counts.parquet"
    write_parquet(
        path,
        [
            {"problem_id": name, "passed": bool(each), "verdict": "accepted" if each else "wrong_answer"}
            for name, passed in PASSED.items()
            for each in passed
        ]
        + [{"problem_id": "mostly", "passed": False, "verdict": "infrastructure_error"}],
    )
    return path


def test_a_sample_without_a_verdict_is_not_counted(rows):
    assert read_pass_counts(rows) == {"always": (4, 4), "mostly": (3, 4), "never": (0, 4)}


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [(0.0, 1.0, ["always", "mostly", "never"]), (0.0, 0.99, ["mostly", "never"]), (0.01, 0.99, ["mostly"])],
)
def test_problems_are_kept_by_their_pass_rate_in_their_order(rows, low, high, kept):
    assert [problem.id for problem in within_pass_rate(PROBLEMS, rows, low, high)] == kept


def test_a_problem_without_a_count_is_the_users_error(rows, tmp_path):
    with pytest.raises(UserError, match="1 of 1 problems have no pass count"):
        within_pass_rate([Problem("new", "s", (), "easy")], rows, 0.0, 1.0)
    with pytest.raises(UserError, match="widen the range"):
        within_pass_rate(PROBLEMS[:1], rows, 0.0, 0.5)
    with pytest.raises(UserError, match="is not a file"):
        read_pass_counts(tmp_path / "nowhere")
