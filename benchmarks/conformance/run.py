"""Our answers, their answers, and the verdict of every row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.conformance.batches import Batch, make_batches, splits_of
from benchmarks.conformance.rows_file import Row, knobs_of, read_rows
from benchmarks.conformance.verdicts import Verdict, compare, compare_rows, overall

ROOT = Path(__file__).resolve().parents[2]
FIELDS = ("num_groups", "group_size", "length", "reward", "truncated", "old_logp", "logp", "rollout_logp", "ref_logp")


@dataclass(frozen=True)
class Outcome:
    """What a row came to: under the documented keys, and under ``same_as`` (None where the row has none)."""

    row: Row
    version: str
    verdict: Verdict
    same: Verdict | None

    @property
    def is_as_expected(self) -> bool:
        return self.verdict.kind == self.row.expected and (self.same is None or self.same.kind == "equal")


def run_peers(peers: Sequence[str], python: Path, checkouts: Mapping[str, str]) -> list[Outcome]:
    """Run every row of these trainers.

    Raises:
        RuntimeError: if a trainer cannot be loaded, with its traceback.
    """
    batches = make_batches()
    found = []
    for peer in peers:
        rows = read_rows(peer)
        with tempfile.TemporaryDirectory() as scratch:
            found += run_peer(peer, rows, batches, python, checkouts.get(peer), Path(scratch))
    return found


def run_peer(
    peer: str, rows: Sequence[Row], batches: Sequence[Batch], python: Path, checkout: str | None, scratch: Path
) -> list[Outcome]:
    tasks = [task for number, row in enumerate(rows) for task in tasks_of(number, row, batches)]
    ours = replay([case_of(rows[task["row"]].ours, task, batches) for task in tasks], scratch)
    for task, answer in zip(tasks, ours, strict=True):
        task["advantage"] = answer["advantage"]
    job = scratch / "job.json"
    job.write_text(json.dumps({"batches": batches, "tasks": tasks}))
    command = [str(python), "-m", "benchmarks.conformance.worker", peer, str(job), *([checkout] if checkout else [])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{peer} cannot be loaded:\n{done.stderr[-3000:]}")
    theirs = json.loads(job.with_suffix(".answers.json").read_text())
    return outcomes(rows, tasks, ours, theirs, batches, scratch)


def tasks_of(number: int, row: Row, batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """A row on every batch of its kind, and for gradients on every split."""
    found = []
    for place, batch in enumerate(batches):
        if batch["kind"] != row.batches or (row.call.get("updates") and batch["num_groups"] % 2):
            continue
        count = batch["num_groups"] * batch["group_size"] // row.call.get("updates", 1)
        splits = {"-": None} if row.compare == "advantage" else splits_of(count)
        base = {"row": number, "batch": place, "compare": row.compare, "call": dict(row.call)}
        found += [{**base, "split": split, "split_name": name} for name, split in splits.items()]
    return found


def case_of(
    ours: Mapping[str, Any], task: Mapping[str, Any], batches: Sequence[Batch], old: str = "old_logp"
) -> dict[str, Any]:
    """A case of ablate.replay. Of several updates of a batch it holds the first."""
    batch = batches[task["batch"]]
    case = {name: batch[name] for name in FIELDS} | {"old_logp": batch[old]}
    if (updates := task["call"].get("updates", 1)) > 1:
        groups, rows = batch["num_groups"] // updates, batch["num_groups"] * batch["group_size"] // updates
        case |= {"num_groups": groups} | {name: case[name][:groups] for name in ("length", "reward", "truncated")}
        case |= {name: case[name][:rows] for name in FIELDS if name.endswith("logp")}
    if "soft" in task["call"]:  # the page says it: a truncated row has the full penalty here
        case["truncated"] = [[False] * len(group) for group in case["truncated"]]
    knobs = dict(ours)
    return {**case, "objective": knobs.pop("objective"), "knobs": knobs}


def replay(cases: Sequence[Mapping[str, Any]], scratch: Path) -> list[dict[str, Any]]:
    """Our advantages and gradients, by the command that users have."""
    source, target = scratch / "cases.json", scratch / "ours.json"
    source.write_text(json.dumps(list(cases)))
    command = [sys.executable, "-m", "ablate.replay", f"cases={source}", f"out={target}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ablate.replay: {done.stderr[-2000:]}")
    return json.loads(target.read_text())


def outcomes(rows: Sequence[Row], tasks: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]],
             theirs: Mapping[str, Any], batches: Sequence[Batch], scratch: Path) -> list[Outcome]:  # fmt: skip
    answered = list(zip(tasks, ours, theirs["answers"], strict=True))
    again = [entry for entry in answered if rows[entry[0]["row"]].same_as and can_be_told(entry)]
    cases = [case_of(knobs_of(rows[task["row"]], task["split"]), task, batches, rows[task["row"]].old_logp)
             for task, _, _ in again]  # fmt: skip
    same: dict[int, list[Verdict]] = {}
    for (task, _, answer), mine in zip(again, replay(cases, scratch) if cases else [], strict=True):
        same.setdefault(task["row"], []).append(verdict_of(rows[task["row"]], mine, answer))
    found = []
    for number, row in enumerate(rows):
        verdicts = [verdict_of(row, mine, answer) for task, mine, answer in answered
                    if task["row"] == number and answer.get("grad", ()) is not None]  # fmt: skip
        found.append(
            Outcome(row, theirs["version"], overall(verdicts), overall(same[number]) if number in same else None)
        )
    return found


def can_be_told(entry: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> bool:
    """Whether the trainer answered, and its micro-batches have one size."""
    task, _, answer = entry
    sizes = {len(rows) for rows in task["split"] or [[]]}
    return answer.get("grad", ()) is not None and "error" not in answer and len(sizes) == 1


def verdict_of(row: Row, mine: Mapping[str, Any], answer: Mapping[str, Any]) -> Verdict:
    if "error" in answer:
        return Verdict("refused", sentence=answer["error"])
    if row.compare == "advantage":
        return compare([each for group in mine["advantage"] for each in group], answer["advantage"])
    return compare_rows(mine["grad"], answer["grad"][: len(mine["grad"])], by_row=row.batches == "extreme")
