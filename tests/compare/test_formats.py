"""Files of other projects: the right samples, and every trap refused or named in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from other_files import WRITERS, lines

from ablate.files.parquet import write_parquet
from ablate_analysis.results.command import read_arms


def arm_of(path, *words):
    options = dict(word.split("=", 1) for word in words)
    (arm,) = read_arms({"A": [path]}, options)
    return arm


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_outcomes_that_were_written(name, passed, tmp_path):
    write, words, num_samples = WRITERS[name]
    passed_PN = passed[0][:, :num_samples]
    arm = arm_of(write(tmp_path, passed[0]), *words)
    assert len(arm.problems) == 40
    assert (arm.count_SP == passed_PN.shape[1]).all()
    assert sorted(arm.score_SP[0]) == sorted(passed_PN.sum(axis=1))
    assert arm.is_binary


@pytest.mark.parametrize("name", WRITERS)
def test_two_files_of_one_format_pair_problem_by_problem(name, passed, tmp_path, compare):
    write, words, num_samples = WRITERS[name]
    paths = []
    for place, letter in enumerate("ab"):
        (tmp_path / letter).mkdir()
        paths.append(write(tmp_path / letter, passed[place]))
    out = compare(f"a={paths[0]}", f"b={paths[1]}", *words)
    rate_AP = passed[:, :, :num_samples].mean(axis=2)
    gap = 100 * (rate_AP[1] - rate_AP[0]).mean()
    assert f"{gap:+.1f} points" in out
    assert "on 40 problems" in " ".join(out.split())


def test_finishing_and_tokens_are_read_where_the_file_has_them(passed, tmp_path):
    for name in ("inspect json", "verifiers", "prime-rl"):
        (tmp_path / name).mkdir()
        arm = arm_of(WRITERS[name][0](tmp_path / name, passed[0]))
        assert arm.finished_SP is not None, name
        assert arm.finished_SP.sum() == passed[0].sum()
        assert arm.mean_tokens is not None


def test_ids_of_numbers_and_of_texts_are_the_same(tmp_path, compare):
    first = lines(tmp_path / "a.jsonl", [{"problem": p, "passed": True} for p in range(9)])
    second = lines(tmp_path / "b.jsonl", [{"problem": str(p), "passed": p > 2} for p in range(9)])
    assert "on 9 problems" in " ".join(compare(f"a={first}", f"b={second}").split())


def rows_of(**changes):
    return {"problem": "p", "sample": 0, "passed": True, **changes}


def test_a_sample_that_is_there_twice_and_differs_is_refused(tmp_path, compare):
    path = lines(tmp_path / "a.jsonl", [rows_of(), rows_of(passed=False)])
    assert "problem p, sample 0 is there twice and differs" in compare(f"a={path}", f"b={path}")


def test_a_sample_that_is_there_twice_and_agrees_counts_once(tmp_path, compare):
    path = lines(tmp_path / "a.jsonl", [rows_of(), rows_of(), rows_of(problem="q")])
    assert "1 rows are there twice with the same verdict and count once" in compare(f"a={path}", f"b={path}")


def test_missing_samples_are_named(tmp_path, compare):
    rows = [rows_of(problem=f"p{p}", sample=n) for p in range(5) for n in range(3) if (p, n) != (3, 2)]
    path = lines(tmp_path / "a.jsonl", rows)
    out = " ".join(compare(f"a={path}", f"b={path}").split())
    assert "1 of 5 problems have another number of samples than 3 (2 to 3): p3" in out


def test_texts_for_booleans_are_named_and_never_true_by_being_texts(tmp_path, compare):
    path = lines(tmp_path / "a.jsonl", [rows_of(passed="False"), rows_of(problem="q", passed="True")])
    out = " ".join(compare(f"a={path}", f"b={path}").split())
    assert "2 values of passed are texts, read as true and false" in out
    assert "a 50.0" in out


def test_a_text_that_is_neither_is_refused_with_its_line(tmp_path, compare):
    path = lines(tmp_path / "a.jsonl", [rows_of(), rows_of(problem="q", passed="maybe")])
    assert f"{path}:2: passed is 'maybe': write true, false or a number there" in compare(f"a={path}", f"b={path}")


def test_a_text_in_graded_list_is_refused(tmp_path, compare, passed):
    path = WRITERS["livecodebench"][0](tmp_path, passed[0])
    rows = json.loads(path.read_text())
    rows[3]["graded_list"][1] = "False"
    path.write_text(json.dumps(rows))
    assert "graded_list of abc3_a: sample 1 is 'False' and not true or false" in compare(f"a={path}", f"b={path}")


@pytest.mark.parametrize(
    "content",
    [{"pass_at_1": 0.4, "total_problems": 400}, [{"question_id": "a", "pass@1": 0.5}]],
    ids=["totals", "a mean without verdicts"],
)
def test_files_with_only_totals_are_refused(tmp_path, compare, content):
    path = tmp_path / "x_eval_all.json"
    path.write_text(json.dumps(content))
    assert "a comparison pairs the models problem by problem" in compare(f"a={path}", f"b={path}")


def test_two_versions_of_a_data_set_are_refused(tmp_path, compare, passed):
    paths = []
    for letter, version in (("a", "one"), ("b", "two")):
        (tmp_path / letter).mkdir()
        path = WRITERS["evalplus"][0](tmp_path / letter, passed[0])
        path.write_text(json.dumps({**json.loads(path.read_text()), "hash": version}))
        paths.append(path)
    assert "a and b do not pair: data set (hash) is one and two" in compare(f"a={paths[0]}", f"b={paths[1]}")


def test_passing_humaneval_plus_needs_both_kinds_of_tests(tmp_path):
    sample = {"base_status": "fail", "plus_status": "pass"}
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps({"hash": "x", "eval": {"HumanEval/0": [sample]}}))
    assert arm_of(path).score_SP.item() == 0


def test_a_base_only_file_is_not_compared_with_one_that_has_more_tests(tmp_path, compare, passed):
    plus = WRITERS["evalplus"][0](tmp_path, passed[0])
    base = tmp_path / "base.json"
    entries = {f"HumanEval/{p}": [{"base_status": "pass", "plus_status": None}] for p in range(40)}
    base.write_text(json.dumps({"hash": "abc", "eval": entries}))
    assert "tests is plus and base" in compare(f"a={plus}", f"b={base}")


def test_several_filters_or_metrics_must_be_chosen(tmp_path, compare, passed):
    path = WRITERS["lm-eval"][0](tmp_path, passed[0])
    assert "choose filter= one of flexible-extract, strict-match" in compare(f"a={path}", f"b={path}")
    rows = [{"doc_id": 0, "filter": "none", "doc_hash": "d", "resps": [], "acc": 1.0, "acc_norm": 0.0}]
    path = lines(tmp_path / "samples_x_2026-01-02T00-00-00.0.jsonl", rows)
    assert "choose metric= one of acc, acc_norm" in compare(f"a={path}", f"b={path}")


def test_a_metric_that_is_no_number_per_problem_is_refused_by_name(tmp_path, compare):
    rows = [{"doc_id": 0, "filter": "none", "metrics": ["bleu"], "doc_hash": "d", "resps": [], "bleu": ["a", "b"]}]
    path = lines(tmp_path / "samples_x_2026-01-02T00-00-00.0.jsonl", rows)
    assert "bleu is no number for each problem" in compare(f"a={path}", f"b={path}")


def test_documents_whose_ids_shifted_are_paired_by_their_hash(tmp_path, compare):
    def write(name, shift, right):
        rows = [{"doc_id": p - shift, "filter": "none", "metrics": ["acc"], "doc_hash": f"d{p}", "resps": [],
                 "acc": float(p in right)} for p in range(shift, 30)]  # fmt: skip
        return lines(tmp_path / f"samples_{name}_2026-01-02T00-00-00.0.jsonl", rows)

    out = " ".join(compare(f"a={write('a', 0, range(30))}", f"b={write('b', 5, range(30))}").split())
    assert "paired by the hash of the document" in out
    assert "on 25 problems" in out
    assert "25 of its 30 problems are used" in out


def test_a_pass_at_8_of_lighteval_gives_no_counts(tmp_path, compare):
    path = tmp_path / "details_x_2026-01-01T00-00-00.0.parquet"
    write_parquet(path, [{"doc": {"id": "0"}, "metric": {"pass@8": 0.5}, "model_response": {"text": ["x"] * 16}}])
    assert "pass@k above 1, from which counts do not follow" in compare(f"a={path}", f"b={path}")


def test_an_inspect_sample_with_an_error_has_no_verdict(tmp_path, passed):
    path = WRITERS["inspect json"][0](tmp_path, passed[0])
    log = json.loads(path.read_text())
    log["samples"][0]["error"] = {"message": "sandbox"}
    log["status"] = "cancelled"
    path.write_text(json.dumps(log))
    arm = arm_of(path)
    assert arm.num_without_verdict == 1
    assert arm.count_SP[0].min() == 3
    assert any("cancelled" in note for note in arm.notes)


def test_an_archive_of_zstd_names_the_command_that_converts_it(tmp_path, compare, passed):
    path = WRITERS["inspect archive"][0](tmp_path, passed[0])
    data = path.read_bytes()
    path.write_bytes(
        data.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x08\x00", b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x5d\x00")
    )
    assert "inspect log convert" in compare(f"a={path}", f"b={path}")


def test_only_the_last_output_of_a_verl_session_counts(tmp_path):
    rows = [{"input": "q", "output": "x", "gts": "1", "score": score, "uid": f"u_0_{output}"}
            for output, score in ((0, 0.0), (1, 1.0))]  # fmt: skip
    arm = arm_of(lines(tmp_path / "7.jsonl", rows))
    assert (arm.count_SP.item(), arm.score_SP.item()) == (1, 1.0)


def test_prompts_of_another_template_pair_by_place_and_answer(tmp_path, compare):
    def write(name, template):
        rows = [{"input": template + str(p), "output": "", "gts": str(p), "score": float(p % 2)} for p in range(12)]
        return lines(tmp_path / f"{name}.jsonl", rows)

    out = compare(f"a={write('1', '<user>')}", f"b={write('2', '[INST]')}")
    assert "problems are paired by place and answer" in " ".join(out.split())


def test_a_board_that_names_its_scores_otherwise_says_which_there_are(tmp_path, compare):
    """LiveCodeBench's execution board has Pass@1 with and without chain of thought, -1 where it was not run."""
    rows = [
        {"model": model, "question_id": q // 2, "Pass@1": 50.0 + 5 * (model == "b"), "Pass@1-COT": -1}
        for model in "ab"
        for q in range(20)
    ]  # fmt: skip
    path = tmp_path / "performances.json"
    path.write_text(json.dumps({"performances": rows}))
    words = (f"a={path}", f"b={path}", "model.a=a", "model.b=b")
    assert "metric= one of Pass@1, Pass@1-COT" in compare(*words)
    out = compare(*words, "metric=Pass@1")
    assert "+5.0 points" in out
    assert "10 clusters" in out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"raw_scored_generations": {"sample_0": ["False"]}}),
        ("a.json", [{"task_id": 1, "reward": "False", "traj": [], "trial": 0}]),
        ("output.jsonl", {"question_id": "q", "graded_list": ["False"]}),
        ("a.jsonl", {"input_prompt": "q", "score": "False"}),
    ],
)
def test_a_text_is_no_verdict_in_any_format(tmp_path, compare, name, content):
    (tmp_path / name).write_text(json.dumps(content) + "\n")
    assert "'False'" in compare(f"a={tmp_path / name}", f"b={tmp_path / name}")


def test_a_trial_of_tau2_that_failed_with_the_infrastructure_has_no_verdict(tmp_path):
    row = {"task_id": "1", "trial": 0, "termination_reason": "infrastructure_error", "reward_info": None}
    good = {"task_id": "2", "trial": 0, "termination_reason": "max_steps", "reward_info": {"reward": 0.9999999999}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"info": {}, "tasks": [], "simulations": [row, good]}))
    arm = arm_of(path)
    assert arm.num_without_verdict == 1
    assert arm.score_SP.sum() == 1
    assert arm.finished_SP.sum() == 0


def test_nan_of_a_reward_is_no_failure(tmp_path):
    rows = [{"step": 1, "prompt": "q", "completion": "", "r": value, "advantage": 0.0} for value in (1.0, float("nan"))]
    write_parquet(tmp_path / "completions_00001.parquet", rows)
    arm = arm_of(tmp_path)
    assert (arm.count_SP.item(), arm.num_without_verdict) == (1, 1)


def test_scores_outside_0_and_1_need_a_rule(tmp_path, compare):
    path = lines(tmp_path / "a.jsonl", [rows_of(passed=10), rows_of(problem="q", passed=0)])
    assert "pass_at_least=NUMBER" in compare(f"a={path}", f"b={path}")
    assert "a 50.0" in " ".join(compare(f"a={path}", f"b={path}", "pass_at_least=10").split())


def test_several_files_of_an_arm_must_be_called_seeds_or_samples(tmp_path, compare, passed):
    paths = []
    for place, letter in enumerate("ab"):
        (tmp_path / letter).mkdir()
        paths.append(str(WRITERS["csv"][0](tmp_path / letter, passed[place])))
    both = ",".join(paths)
    assert "add runs_are=seeds" in compare(f"x={both}", f"y={paths[0]}")
    assert "40 problems, 8 samples each, 1 run" in compare(f"x={both}", f"y={paths[0]}", "runs_are=samples")
    assert "40 problems, 4 samples each, 2 runs" in compare(f"x={both}", f"y={paths[0]}", "runs_are=seeds")


def test_an_unknown_column_lists_those_that_are_there(tmp_path, compare):
    path = lines(tmp_path / "a.jsonl", [{"name": "p", "ok": True}])
    assert "say which one it is with columns.problem= one of name, ok" in compare(f"a={path}", f"b={path}")
    assert "choose one of name, ok" in compare(f"a={path}", f"b={path}", "columns.problem=nope")
    assert "Read:" in compare(f"a={path}", f"b={path}", "columns.problem=name", "columns.passed=ok")


def test_a_cut_off_line_is_named(tmp_path, compare):
    path = tmp_path / "a.jsonl"
    path.write_text('{"problem": "p", "passed": true}\n{"problem": "q", "pas')
    assert f"{path}:2 is not JSON" in compare(f"a={path}", f"b={path}")


def test_results_without_a_common_problem_are_refused(tmp_path, compare):
    first = lines(tmp_path / "a.jsonl", [rows_of(problem="x")])
    second = lines(tmp_path / "b.jsonl", [rows_of(problem="y")])
    assert "no problem in common (a has x; b has y)" in compare(f"a={first}", f"b={second}")


def test_problems_that_one_arm_lacks_are_named(tmp_path, compare):
    first = lines(tmp_path / "a.jsonl", [rows_of(problem=f"p{p}") for p in range(10)])
    second = lines(tmp_path / "b.jsonl", [rows_of(problem=f"p{p}") for p in range(8)])
    out = " ".join(compare(f"a={first}", f"b={second}").split())
    assert "only 8 of 10 problems are common" in out
    assert "not used: p8, p9" in out


def test_a_typo_names_the_nearest_option(compare):
    assert "did you mean metric=?" in compare("metrik=pass", "a=b")


def test_clusters_widen_an_interval(tmp_path, compare):
    rng = np.random.default_rng(0)
    gap_G = rng.random(6) < 0.5
    first = [rows_of(problem=f"p{p}", passed=False, cluster=f"g{p // 10}") for p in range(60)]
    second = [rows_of(problem=f"p{p}", passed=bool(gap_G[p // 10]), cluster=f"g{p // 10}") for p in range(60)]
    paths = [lines(tmp_path / f"{name}.jsonl", rows) for name, rows in (("a", first), ("b", second))]
    out = " ".join(compare(f"a={paths[0]}", f"b={paths[1]}").split())
    assert "60 problems come in 6 clusters" in out
