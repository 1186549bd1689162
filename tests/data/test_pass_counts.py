from pathlib import Path

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.data.pass_counts import counted_under, difference, read_pass_counts, trained_under, within_pass_rate
from ablate.errors import UserError
from ablate.files.parquet import write_parquet
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


MODEL = Path("cache/tiny-1")


def told(tmp_path, words, model=MODEL, checkpoint=None):
    """What a run of the tiny model is told about counts that were made with ``words``."""
    path = tmp_path / "conditions.parquet"
    counted = parse(compose(["eval=pass_counts", *words]))
    write_parquet(path, [{"problem_id": "p"}], counted_under(counted, model, checkpoint))
    return difference(path, trained_under(parse(compose([])), MODEL))


@pytest.mark.parametrize("words", [[], ["eval.seed=7", "eval.samples_per_problem=16", "data.eval=other.jsonl"]])
def test_counts_under_the_conditions_of_the_run_are_taken_without_a_word(tmp_path, words):
    assert told(tmp_path, words) is None


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["eval.temperature=0.6"], "temperature was 0.6 and is 1.0 here"),
        (["eval.contexts=[{length: 80, every: 0}]", "eval.select_at=80"], "contexts was [80] and is [160] here"),
        (["data.template='Solve {statement}'"], "template was "),
        (["verify.time_limit_s=3"], "verify.time_limit_s was 3.0 and is 15.0 here"),
        (["verify.prelude=null"], "verify.prelude was "),
        (["verify.case_insensitive=true"], "verify.case_insensitive was "),
        (["verify.packages=[numpy]"], "verify.packages was ['numpy'] and is [] here"),
    ],
)
def test_counts_under_other_conditions_are_told(tmp_path, words, name):
    sentence = told(tmp_path, words)
    assert name in sentence
    assert sentence.count(" here") == 1


def test_counts_of_another_model_or_of_a_checkpoint_are_told(tmp_path):
    assert "model was tiny (tiny-2) and is tiny (tiny-1) here" in told(tmp_path, [], model=Path("tiny-2"))
    checkpoint = tmp_path / "main/grpo/seed0/checkpoints/step_000040"
    assert "checkpoint was main/grpo/seed0/checkpoints/step_000040" in told(tmp_path, [], checkpoint=checkpoint)


def test_counts_without_conditions_are_told(rows):
    assert "does not say" in difference(rows, {})
