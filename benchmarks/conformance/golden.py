"""Cases of exact numbers through five trainers' own losses.

    python -m benchmarks.conformance.golden [cases=FILE] [checkout.nemo_rl=DIR] [checkout.slime=DIR]

A case has rows, an objective (GRPO, DAPO, GSPO or GSPO+), its knobs, and the advantages and gradients of the closed
form, computed without this package. Given the advantages, the trainer's gradient is compared with the exact one, on
several splits into micro-batches. The default is tests/objectives/golden_cases.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.conformance.__main__ import CHECKOUT, ENVIRONMENT
from benchmarks.conformance.batches import splits_of
from benchmarks.conformance.run import ROOT
from benchmarks.conformance.verdicts import compare_rows, overall

CASES = ROOT / "tests" / "objectives" / "golden_cases.json"


def call_of(peer: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """The trainer's keys for a case, as its rows have them."""
    token, sequence = knobs["weight"] == "token_mean", knobs["ratio"] == "sequence"
    return {
        "trl": {"loss_type": "dapo" if token else "grpo", "level": knobs["ratio"]},
        "verl": {"mode": "gspo" if sequence else "vanilla", "agg": "token-mean" if token else "seq-mean-token-mean"},
        "skyrl": {"mode": "gspo" if sequence else "regular", "reduction": "token_mean" if token else "sequence_mean"},
        "nemo_rl": {"token": token, "sequence": sequence},
        "slime": {"estimator": "gspo" if sequence else "grpo", "token": token},
    }[peer] | {"low": knobs["clip_low"], "high": knobs["clip_high"], "mask_truncated": knobs["overlong"] == "mask"}


def batch_of(case: dict[str, Any]) -> tuple[dict[str, Any], list[list[float]], list[list[float]]]:
    """What a filter of one-outcome groups leaves of a case: the batch, its advantages and its exact gradients."""
    size = case["group_size"]
    kept = [len(set(group)) > 1 or not case["knobs"]["dynamic_sampling"] for group in case["reward"]]

    def groups(values: list[Any]) -> list[Any]:
        return [value for value, keep in zip(values, kept, strict=True) if keep]

    def rows(values: list[Any]) -> list[Any]:
        return [value for place, value in enumerate(values) if kept[place // size]]

    batch = {"num_groups": sum(kept), "group_size": size} | {
        name: groups(case[name]) for name in ("length", "reward", "truncated")
    }
    batch |= {name: rows(case[name.replace("rollout", "old").replace("ref", "old")])
              for name in ("old_logp", "logp", "rollout_logp", "ref_logp")}  # fmt: skip
    return batch, groups(case["expected"]["advantage"]), rows(case["expected"]["grad"])


def outcomes_of(peer: str, cases: list[dict[str, Any]], checkout: str | None) -> Counter[str]:
    made = [batch_of(case) for case in cases]
    tasks = [
        {"row": number, "batch": number, "compare": "loss", "call": call_of(peer, case["knobs"]),
         "advantage": made[number][1], "split": split}
        for number, case in enumerate(cases)
        for split in splits_of(len(made[number][2])).values()
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job.json"
        job.write_text(json.dumps({"batches": [batch for batch, _, _ in made], "tasks": tasks}))
        command = [str(ENVIRONMENT), "-m", "benchmarks.conformance.worker", peer, str(job)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run(
            [*command, *([checkout] if checkout else [])],
            cwd=ROOT,
            env=environment,
            check=True,
            stderr=subprocess.DEVNULL,
        )  # one of them warns at every call
        answers = json.loads(job.with_suffix(".answers.json").read_text())["answers"]
    found: Counter[str] = Counter()
    for number, case in enumerate(cases):
        mine = [each for task, each in zip(tasks, answers, strict=True) if task["row"] == number]
        given = [each["grad"] for each in mine if each.get("grad")]  # None: a split that its trainer cannot make
        kind = (
            overall([compare_rows(made[number][2], each, by_row=False) for each in given]).kind if given else "refused"
        )
        found[f"{kind}: {case['objective']}, overlong={case['knobs']['overlong']}"] += 1
        found[kind] += 1
    return found


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    checkouts = {key.removeprefix(CHECKOUT): value for key, value in words.items() if key.startswith(CHECKOUT)}
    cases = json.loads(Path(words.get("cases", CASES)).read_text())
    for peer in ("trl", "verl", "skyrl", *checkouts):
        print(f"{peer}: {dict(sorted(outcomes_of(peer, cases, checkouts.get(peer)).items()))}", flush=True)


if __name__ == "__main__":
    main()
