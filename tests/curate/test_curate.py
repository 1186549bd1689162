"""The whole path on generated public sets: what is kept, why the rest is not, and that nothing depends on luck."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import forks
import pytest
from curate_support import configured, files_of
from public_sets.write import examples

from ablate.curate.filters import split_evaluation
from ablate.curate.progress import Progress
from ablate.curate.run import curate
from ablate.curate.settings import EvaluationConfig
from ablate.data.problems import load_problems
from ablate.errors import UserError
from ablate.files.parquet import read_parquet
from ablate.records import RunDirectory

# What curation says about rows that their source accepts. The word "program" stands for the other rows.
REASONS = {
    "HTML escapes of another row": "duplicate",
    "Python 2 reference": "reference_not_python3",
    "duplicate, spelled otherwise": "duplicate",
    "duplicate, one word changed": "near_duplicate",
    "the hard version of another row": None,
    "statement of the evaluation set": "in_evaluation_set",
    "13-gram of the evaluation set": "in_evaluation_set",
    "examples of the evaluation set": "in_evaluation_set",
    "title of the evaluation set": "in_evaluation_set",
    "several answers": "several_answers",
    "interactive": "interactive",
    "nothing but an image": "image_only",
    "examples contradict tests": "examples_contradict_tests",
    "examples agree with tests": None,
    "four tests": "too_few_tests",
    "one input, two outputs": "contradictory_tests",
    "a test of 100 MB": None,
    "the first reference is wrong": None,
    "every reference is wrong": "reference_fails",
    "tests that an empty program passes": "vacuous_tests",
    "carriage returns": None,
    "function output wrapped": None,
    "function output bare": None,
    "function that returns a list of one": None,
    "function output not wrapped": None,
    "the long story": "too_few_tests",
    "metadata as text": "test_split",
    "examples only": "test_split",
    "no reference": None,
    "a good checker": None,
    "no checker, one answer": None,
    "no checker, several answers": "several_answers",
    "a checker that accepts anything": "checker_accepts_anything",
    "a checker that ignores the order": "checker_ignores_order",
    "a checker that rejects the reference": "checker_rejects_expected",
    "a checker that crashes": "checker_fails",
    "a checker that runs the answer": "checker_runs_text",
    "files": None,
    "tests cut off": None,
    "a row of the test split": "test_split",
    "a validator in Python": None,
    "a validator in C++": None if shutil.which("g++") else "checker_fails",
    "a testlib checker": None if shutil.which("g++") else "checker_fails",
    "a testlib checker that accepts anything": "checker_accepts_anything" if shutil.which("g++") else "checker_fails",
    "a testlib checker that does not compile": "checker_fails",
    "the version of 2023": None,
    "the default validator with a tolerance": None,
    "a wrong submission passes": "wrong_submission_passes",
    "a validator that accepts anything": "checker_accepts_anything",
    "an accepted submission fails": "reference_fails",
}

RUN_COMMANDS = """
import sys
from ablate import evaluate, train
for main, *words in {commands!r}:
    sys.argv = [main, *words]
    {{"train": train.check_and_make, "evaluate": evaluate.main}}[main]()
"""
SMALL = [
    *("experiment=tiny", "objective=grpo", "seed=0", "context.length=480", "context.steps=1", "eval.at_start=false"),
    *("rollout.prompts_per_step=2", "rollout.samples_per_prompt=4", "rollout.engine.kv_cache_gib=0.125"),
    *("logging.display=plain", "logging.wandb=disabled", "eval.samples_per_problem=1", "eval.pass_at=[1]"),
]
BENCHMARK = [
    *("eval=lcb", "eval.contexts=[{length: 480, every: 0}]", "eval.select_at=480", "verify.second_comparison=lcb"),
    *("eval.samples_per_problem=2", "eval.pass_at=[1, 2]", "eval.bootstrap_resamples=200"),
]


def expected_reasons():
    for source, configs in examples(1000).items():
        for config, rows in configs.items():
            for number, example in enumerate(rows):
                if example.reason is not None:
                    yield (source, config, number), example.reason
                elif example.trap in REASONS:
                    yield (source, config, number), REASONS[example.trap]


def test_every_trap_is_rejected_for_its_own_reason_and_only_traps_are(curated):
    found = {(row["source"], row["config"], row["row"]): row["reason"] for row in curated.rejected()}
    expected = dict(expected_reasons())
    assert {key: found.get(key) for key in expected} == expected


def test_every_row_is_kept_or_has_one_line_in_rejected(curated):
    counts, rejected = curated.manifest["counts"], curated.rejected()
    assert len({(row["source"], row["config"], row["row"]) for row in rejected}) == len(rejected)
    assert counts["train"] + counts["evaluation"] + len(rejected) == counts["read"]
    assert counts["read"] == sum(sum(facts["rows"].values()) for facts in curated.manifest["sources"].values())
    assert sum(counts["reasons"].values()) == len(rejected)


def test_dropped_tests_and_references_that_nobody_can_read_are_counted(curated):
    counts, card = curated.manifest["counts"], (curated.out / "card.md").read_text()
    assert counts["large_tests_dropped"] == 1
    assert counts["notes"]["unreadable_reference"] == 1
    assert "1 tests of training problems were dropped" in card
    assert "| unreadable_reference | 1 |" in card


def test_the_stores_load_and_training_problems_obey_the_rules(curated):
    train, evaluation = (load_problems(str(curated.out / name)) for name in ("train", "eval"))
    assert len(train) == curated.manifest["counts"]["train"] >= 20
    assert len(evaluation) == curated.manifest["evaluation"]["rows"]
    assert not {problem.statement for problem in train} & {problem.statement for problem in evaluation}
    for problem in train:
        assert len(problem.tests) >= 5
        assert all(len(test.input) < 500_000 and "\r" not in test.input for test in problem.tests)
        assert (problem.input_mode == "functional") == (problem.fn_name is not None)
        assert problem.time_limit_s == 4  # train.time_limit_s
    assert {problem.time_limit_s for problem in evaluation} == {None}
    assert any(problem.reference for problem in train)
    assert all("2024-08-01" <= problem.date <= "2025-05-01" for problem in evaluation)


def test_a_reference_settles_how_taco_wraps_outputs(curated):
    train = {problem.id: problem for problem in load_problems(str(curated.out / "train"))}
    wrapped = next(problem for problem in train.values() if problem.id == "deepcoder/taco/21")
    assert not any(test.output.startswith("[") for test in wrapped.tests)


def test_the_overlaps_show_both_statements(curated):
    text = (curated.out / "overlaps.md").read_text()
    removed = [row for row in curated.rejected() if row["reason"] == "in_evaluation_set"]
    assert text.count("\n## ") == len(removed) >= 4
    assert "13-grams" in text
    assert "same title" in text


def test_jobs_of_an_array_and_one_run_write_the_same_bytes(curated, tmp_path):
    config = configured(*curated.words, f"out={tmp_path / 'set'}")
    for share in ((0, 2), (1, 2), (0, 2)):  # job 0 again: it settles its references once all blocks are there
        assert curate(config, "the command", share, Progress()) is None
        assert not (tmp_path / "set").exists()
    curate(config, "the command", None, Progress())
    assert files_of(tmp_path / "set") == curated.files()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_killed_run_continues_and_writes_the_same_bytes(curated, tmp_path):
    words = [*curated.words, f"out={tmp_path / 'set'}"]
    process = subprocess.Popen([sys.executable, "-m", "ablate.curate", *words], stderr=subprocess.DEVNULL)
    blocks = tmp_path / "set.partial" / "blocks"
    while not list(blocks.glob("*.jsonl")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "set").exists()
    curate(configured(*words), "the command", None, Progress())
    assert files_of(tmp_path / "set") == curated.files()


def test_work_of_another_configuration_is_refused_and_kept(curated, tmp_path):
    config = configured(*curated.words, f"out={tmp_path / 'set'}")
    (tmp_path / "set.partial").mkdir()
    (tmp_path / "set.partial" / "work.json").write_text("{}")
    with pytest.raises(UserError, match="another configuration"):
        curate(config, "", None, Progress())
    assert (tmp_path / "set.partial" / "work.json").read_text() == "{}"


def test_an_evaluation_set_of_another_size_is_refused():
    with pytest.raises(UserError, match="has 0 problems from 2024-08-01 to 2025-05-01, not 454"):
        split_evaluation([], EvaluationConfig("2024-08-01", "2025-05-01", 454))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out=x", "source.deepcoder=nowhere"], "source.livecodebench is missing"),
        (["out=x", "source.livecodebench=nowhere"], "no training set"),
        (["source.livecodebench=a", "source.deepcoder=b"], "out is missing"),
        (["out=x", "source.livecodebench=a", "source.deepcoder=b", "train.min_tests=0"], "train.min_tests"),
        (["out=x", "source.livecodebench=a", "source.deepcoder=b", "train.near_duplicate=2"], "train.near_duplicate"),
    ],
)
def test_a_mistake_is_one_sentence(words, said):
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        configured(*words)


def test_a_wrong_directory_and_a_cut_file_leave_nothing_behind(words, public_sets, tmp_path):
    config = configured(*words, f"out={tmp_path / 'set'}", "source.deepcoder=/nowhere")
    with pytest.raises(UserError, match="/nowhere is not a directory"):
        curate(config, "", None, Progress())
    assert not list(tmp_path.iterdir())
    cut = tmp_path / "cut"
    (cut / "taco").mkdir(parents=True)
    original = next((public_sets["deepcoder"] / "taco").glob("*.parquet"))
    (cut / "taco" / original.name).write_bytes(original.read_bytes()[:-100])
    (cut / "source.json").write_text('{"revision": "cut", "rows": {"taco": 30}}')
    only = [word for word in words if word.startswith(("source.livecodebench", "train", "verify"))]
    damaged = configured(*only, f"source.deepcoder={cut}", f"out={tmp_path / 'set'}")
    with pytest.raises(UserError, match="is damaged"):
        curate(damaged, "", None, Progress())
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]
    (cut / "taco" / original.name).write_bytes(original.read_bytes())
    with pytest.raises(UserError, match=r"config taco in .* has 34 rows, not 30"):
        curate(damaged, "", None, Progress())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "set.partial"]
    os.utime(cut / "taco" / original.name, ns=(0, 0))
    with pytest.raises(UserError, match="files that have changed"):
        curate(damaged, "", None, Progress())


def test_out_is_never_written_over(words, tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="exists already"):
        curate(configured(*words, f"out={tmp_path / 'set'}"), "", None, Progress())
    assert not list((tmp_path / "set").iterdir())


def test_curated_problems_are_trained_on_and_evaluated_as_the_benchmark(curated, tiny_model, tmp_path):
    """One process runs all commands, so that one start of the engine serves training and evaluation."""
    train, evaluation = (f"data.{name}={curated.out / name}" for name in ("train", "eval"))
    counts = curated.manifest["counts"]
    count, samples, run = counts["evaluation"], tmp_path / "samples.json", tmp_path / "tiny" / "grpo" / "seed0"
    contexts = ["eval.contexts=[{length:480,every:0}]", "eval.select_at=480"]
    benchmark = [*BENCHMARK, f"eval.expected_problems={count}"]
    commands = [
        ("train", *SMALL, *contexts, train, evaluation, f"paths.outputs={tmp_path}"),
        ("evaluate", f"checkpoint={run}", *benchmark, f"out={tmp_path / 'own'}", f"samples_out={samples}"),
        ("evaluate", f"samples={samples}", evaluation, *benchmark, f"out={tmp_path / 'again'}"),
    ]
    done = forks.run(["-c", RUN_COMMANDS.format(commands=commands)])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    rollouts = RunDirectory(run).steps.metrics()
    assert [row["step"] for row in rollouts] == [1]
    own, again = (read_parquet(tmp_path / name) for name in ("own", "again"))
    assert len(own) == 2 * count
    assert [(row["problem_id"], row["passed"]) for row in own] == [(row["problem_id"], row["passed"]) for row in again]
    codes = {row["question_id"]: row["code_list"] for row in json.loads(samples.read_text())}
    assert {len(each) for each in codes.values()} == {2}
    lines = {line.split("|")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("|")}
    assert {"all problems", "by verify.second_comparison", "easy", "atcoder", "leetcode", "2024-10"} <= lines.keys()
    assert f"| {count} " in lines["all problems"]
    assert "[" in lines["all problems"]
