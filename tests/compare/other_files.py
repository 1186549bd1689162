"""The same outcomes, written as each project writes its results. Shapes are theirs, every value is made up."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ablate.files.parquet import write_parquet

Outcomes = np.ndarray  # passed_PN, bool


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def livecodebench(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [
        {
            "question_id": f"abc{p}_a",
            "platform": "atcoder" if p % 2 else "leetcode",
            "difficulty": ("easy", "medium", "hard")[p % 3],
            "contest_date": f"2025-0{1 + p % 4}-04T00:00:00",
            "code_list": ["print(1)"] * len(row),
            "graded_list": [bool(each) for each in row],
            "metadata": ["{}" if each else '{"error_code": -2}' for each in row],
            "pass@1": float(row.mean()),
        }
        for p, row in enumerate(passed_PN)
    ]
    path = directory / "Scenario.codegeneration_4_0.2_eval_all.json"
    path.write_text(json.dumps(rows))
    return path


def livecodebench_by_position(directory: Path, passed_PN: Outcomes) -> Path:
    results = {str(p): [[True, 1, True] if each else [True, -2] for each in row] for p, row in enumerate(passed_PN)}
    path = directory / "Scenario.codegeneration_4_0.2_eval.json"
    path.write_text(json.dumps([{"pass@1": passed_PN.mean(), "detail": {"pass@1": {}}}, results, []]))
    return path


def evalplus(directory: Path, passed_PN: Outcomes) -> Path:
    def sample(name: str, is_right: bool) -> dict:
        return {"task_id": name, "solution": "", "base_status": "pass", "plus_status": "pass" if is_right else "fail"}

    entries = {f"HumanEval/{p}": [sample(f"HumanEval/{p}", each) for each in row] for p, row in enumerate(passed_PN)}
    path = directory / "samples_eval_results.json"
    path.write_text(json.dumps({"date": "2026-01-01", "hash": "abc", "eval": entries}))
    return path


def evalplus_v01(directory: Path, passed_PN: Outcomes) -> Path:
    entries = {
        f"HumanEval/{p}": {
            "nfiles": len(row),
            "base": [["success", []] for _ in row],
            "plus": [["success" if each else "failed", []] for each in row],
        }
        for p, row in enumerate(passed_PN)
    }
    path = directory / "eval_results.json"
    path.write_text(json.dumps({"date": "2023", "hash": "abc", "eval": entries}))
    return path


def bigcodebench(directory: Path, passed_PN: Outcomes) -> Path:
    entries = {
        f"BigCodeBench/{p}": [{"solution": "", "status": "pass" if each else "timeout", "details": {}} for each in row]
        for p, row in enumerate(passed_PN)
    }
    path = directory / "completion_eval_results.json"
    path.write_text(json.dumps({"date": "2026", "eval": entries}))
    return path


def cruxeval(directory: Path, passed_PN: Outcomes) -> Path:
    scored = {f"sample_{p}": [bool(each) for each in row] for p, row in enumerate(passed_PN)}
    path = directory / "completion_scored.json"
    path.write_text(json.dumps({"raw_generations": {}, "raw_scored_generations": scored, "pass_at_1": 50.0}))
    return path


def tau_rows(passed_PN: Outcomes) -> list[dict]:
    return [
        {"task_id": str(p), "trial": n, "termination_reason": "agent_stop", "reward_info": {"reward": float(each)}}
        for p, row in enumerate(passed_PN)
        for n, each in enumerate(row)
    ]


def tau_bench(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [{"task_id": int(row["task_id"]), "reward": row["reward_info"]["reward"], "info": {}, "traj": [],
             "trial": row["trial"]} for row in tau_rows(passed_PN)]  # fmt: skip
    path = directory / "airline.json"
    path.write_text(json.dumps(rows))
    return path


def tau2_folder(directory: Path, passed_PN: Outcomes) -> Path:
    (directory / "simulations").mkdir()
    info = {"environment_info": {"domain_name": "retail"}, "user_info": {"llm": "m"}}
    (directory / "results.json").write_text(json.dumps({"timestamp": "", "info": info, "tasks": []}))
    for number, row in enumerate(tau_rows(passed_PN)):
        (directory / "simulations" / f"{number}.json").write_text(json.dumps(row))
    return directory


def swe_bench(directory: Path, passed_PN: Outcomes) -> Path:
    names = [f"org__project{p}-7" for p in range(len(passed_PN))]
    resolved = [name for name, row in zip(names, passed_PN, strict=True) if row[0]]
    path = directory / "model.run.json"
    path.write_text(json.dumps({"submitted_ids": names, "resolved_ids": resolved, "schema_version": 2}))
    return path


def skyrl(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [{"input_prompt": f"question {p}", "score": [0.0, float(each)], "stop_reason": "stop"}
            for p, row in enumerate(passed_PN) for each in row]  # fmt: skip
    return lines(directory / "math.jsonl", rows)


def nemo_skills(directory: Path, passed_PN: Outcomes) -> Path:
    for n in range(passed_PN.shape[1]):
        rows = [{"question_id": f"q{p}", "graded_list": [bool(row[n])], "num_generated_tokens": 9}
                for p, row in enumerate(passed_PN)]  # fmt: skip
        lines(directory / f"output-rs{n}.jsonl", rows)
    (directory / "output-rs0_chunk_0.jsonl").write_text("")
    return directory


def lm_eval(directory: Path, passed_PN: Outcomes) -> Path:
    """One sample a problem: the first."""
    rows = [
        {"doc_id": p, "filter": name, "metrics": ["exact_match"], "exact_match": float(row[0] and "strict" in name),
         "resps": [["x"]], "filtered_resps": ["x"], "doc_hash": f"d{p}", "prompt_hash": f"p{p}", "target_hash": "t"}
        for p, row in enumerate(passed_PN) for name in ("strict-match", "flexible-extract")
    ]  # fmt: skip
    return lines(directory / "samples_gsm8k_2026-01-01T00-00-00.000000.jsonl", rows)


def lighteval(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [
        {"doc": {"id": str(p)}, "metric": {"codegen_pass@1:16": float(row.mean())},
         "model_response": {"text": ["x"] * len(row), "output_tokens": [[1, 2]] * len(row)}}
        for p, row in enumerate(passed_PN)
    ]  # fmt: skip
    path = directory / "details_lcb:codegeneration_v6|0_2026-01-01T00-00-00.000000.parquet"
    write_parquet(path, rows)
    return path


def inspect_rows(passed_PN: Outcomes) -> list[dict]:
    return [
        {"id": p, "epoch": n + 1, "scores": {"verify": {"value": "C" if each else "I"}}, "error": None,
         "model_usage": {"m": {"output_tokens": 100 + n}},
         "output": {"choices": [{"stop_reason": "stop" if each else "max_tokens"}]}}
        for p, row in enumerate(passed_PN) for n, each in enumerate(row)
    ]  # fmt: skip


def inspect_json(directory: Path, passed_PN: Outcomes) -> Path:
    path = directory / "log.json"
    log = {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": inspect_rows(passed_PN)}
    path.write_text(json.dumps(log))
    return path


def inspect_archive(directory: Path, passed_PN: Outcomes) -> Path:
    path = directory / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"status": "success", "eval": {"task": "t"}}))
        for row in inspect_rows(passed_PN):
            archive.writestr(f"samples/{row['id']}_epoch_{row['epoch']}.json", json.dumps(row))
    return path


def verl(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [{"input": f"question {p}", "output": "x", "gts": str(p), "score": 1.0 if each else -1.0, "step": 10}
            for p, row in enumerate(passed_PN) for each in row]  # fmt: skip
    return lines(directory / "10.jsonl", rows)


def trl(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [{"step": 5, "prompt": f"question {p}", "completion": "x", "accuracy_reward": float(each), "advantage": 0.0}
            for p, row in enumerate(passed_PN) for each in row]  # fmt: skip
    write_parquet(directory / "completions_00005.parquet", rows)
    return directory / "completions_00005.parquet"


def verifiers_results(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [
        {"example_id": p, "reward": float(each), "metrics": {}, "is_truncated": not each, "stop_condition": None,
         "token_usage": {"output_tokens": 7}, "error": None}
        for p, row in enumerate(passed_PN) for each in row
    ]  # fmt: skip
    return lines(directory / "results.jsonl", rows)


def prime_rl_traces(directory: Path, passed_PN: Outcomes) -> Path:
    rows = [
        {"task": {"key": f"k{p}"}, "ok": True, "traces": [
            {"rewards": {"judge": {"score": 0.0, "weight": 0.0}, "passed": {"score": float(each), "weight": 1.0}},
             "calls": [{"finish_reason": "stop" if each else "length", "usage": {"output_tokens": 9}}]}]}
        for p, row in enumerate(passed_PN) for each in row
    ]  # fmt: skip
    return lines(directory / "traces.jsonl", rows)


def ours(directory: Path, passed_PN: Outcomes) -> Path:
    run = directory / "seed0"
    run.mkdir()
    rows = [
        {"step": step, "context": 128, "problem_id": f"p{p}", "difficulty": "easy", "sample": n, "num_tokens": 9,
         "finished": True, "passed": bool(each) and step == 4, "verdict": "accepted" if each else "wrong_answer",
         "platform": None, "month": None, "passed_second": None}
        for step in (0, 4) for p, row in enumerate(passed_PN) for n, each in enumerate(row)
    ]  # fmt: skip
    write_parquet(run / "eval.parquet", rows)
    return directory


def csv_table(directory: Path, passed_PN: Outcomes) -> Path:
    path = directory / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["problem", "sample", "passed"])
        writer.writerows([p, n, str(bool(each))] for p, row in enumerate(passed_PN) for n, each in enumerate(row))
    return path


def table_rows(passed_PN: Outcomes) -> list[dict]:
    return [
        {"problem": str(p), "sample": n, "passed": bool(each)}
        for p, row in enumerate(passed_PN)
        for n, each in enumerate(row)
    ]


def json_table(directory: Path, passed_PN: Outcomes) -> Path:
    path = directory / "table.json"
    path.write_text(json.dumps(table_rows(passed_PN)))
    return path


def jsonl_table(directory: Path, passed_PN: Outcomes) -> Path:
    return lines(directory / "table.jsonl", table_rows(passed_PN))


def parquet_table(directory: Path, passed_PN: Outcomes) -> Path:
    write_parquet(directory / "table.parquet", table_rows(passed_PN))
    return directory / "table.parquet"


# name -> (writer, words that the reader needs, samples a problem that the format keeps)
WRITERS: dict[str, tuple[Callable[[Path, Outcomes], Path], tuple[str, ...], int | None]] = {
    "livecodebench": (livecodebench, (), None),
    "livecodebench by position": (livecodebench_by_position, (), None),
    "evalplus": (evalplus, (), None),
    "evalplus v0.1": (evalplus_v01, (), None),
    "bigcodebench": (bigcodebench, (), None),
    "cruxeval": (cruxeval, (), None),
    "tau-bench": (tau_bench, (), None),
    "tau2-bench": (tau2_folder, (), None),
    "swe-bench": (swe_bench, (), 1),
    "skyrl": (skyrl, (), None),
    "nemo-skills": (nemo_skills, (), None),
    "lm-eval": (lm_eval, ("filter=strict-match",), 1),
    "lighteval": (lighteval, (), None),
    "inspect json": (inspect_json, (), None),
    "inspect archive": (inspect_archive, (), None),
    "verl": (verl, (), None),
    "trl": (trl, (), None),
    "verifiers": (verifiers_results, (), None),
    "prime-rl": (prime_rl_traces, (), None),
    "ours": (ours, (), None),
    "csv": (csv_table, (), None),
    "json": (json_table, (), None),
    "jsonl": (jsonl_table, (), None),
    "parquet": (parquet_table, (), None),
}
