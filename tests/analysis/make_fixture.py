"""Synthetic runs in the shape that ``ablate.records`` leaves on disk, for the tests of the analysis.

    python tests/analysis/make_fixture.py tests/analysis/fixture_outputs

The numbers come from a random generator with a known truth, and say nothing about any objective. Every manifest says
``"host": "synthetic"``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from ablate.cli import compose
from ablate.files import write_atomic
from ablate.records import RunDirectory
from ablate.types import EvalRow

NUM_STEPS = 16
NUM_PROBLEMS = 16
NUM_SAMPLES = 4
CONTEXTS = (160, 320)


@dataclass(frozen=True)
class Truth:
    """What a cell does in this made-up world: logits gained by training, share of tokens clipped."""

    gain: float
    clipped: float
    live: bool = True


MAIN = {"grpo": Truth(1.0, 0.003), "dapo": Truth(1.2, 0.002), "gspo": Truth(1.6, 0.18), "gspo_plus": Truth(1.3, 0.15)}
RATIO_X_WEIGHT = {
    ("token", "sequence_mean"): Truth(1.0, 0.003),
    ("token", "token_mean"): Truth(1.1, 0.003),
    ("sequence", "sequence_mean"): Truth(1.6, 0.18),
    ("sequence", "token_mean"): Truth(1.2, 0.16),
}


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def config_of(overrides: list[str]) -> str:
    """What ``ablate.train`` would write into config.yaml, with fewer steps."""
    return OmegaConf.to_yaml(compose([*overrides, f"context.steps={NUM_STEPS}"]), resolve=True)


def eval_rows(truth: Truth, seed: int, step: int) -> list[EvalRow]:
    """The warm start (step 0) is the same evaluation in every run, as it is for real."""
    problems = np.random.default_rng(7)
    ability_P = problems.normal(0.0, 1.2, NUM_PROBLEMS)
    rng = np.random.default_rng([seed, step, int(1000 * truth.gain)] if step else [0])
    gain = truth.gain + 0.15 * rng.normal() if step else 0.0
    rows = []
    for context in CONTEXTS:
        fits = sigmoid((1.6 if context == 160 else 4.0) + 0.5 * gain)
        for problem, ability in enumerate(ability_P):
            for sample in range(NUM_SAMPLES):
                finished = bool(rng.random() < fits)
                passed = finished and bool(rng.random() < sigmoid(ability + gain))
                num_tokens = int(rng.integers(40, 110)) if finished else context - 40
                verdict = "accepted" if passed else "wrong_answer" if finished else "no_code"
                difficulty = ("easy", "medium", "hard")[problem % 3]
                rows.append(
                    EvalRow(step, context, f"synthetic-{problem:02d}", difficulty, sample, num_tokens,
                            finished, passed, verdict)
                )  # fmt: skip
    return rows


def step_metrics(truth: Truth, seed: int, step: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, step, int(1000 * truth.gain), 1])
    done = step / NUM_STEPS
    live = truth.live
    return {
        "rollout/pass_rate": float(np.clip(sigmoid(-0.2 + truth.gain * done) + 0.05 * rng.normal(), 0, 1)),
        "rollout/truncated": float(np.clip(0.18 - 0.12 * done + 0.03 * rng.normal(), 0, 1)),
        "rollout/num_groups": 8.0,
        "rollout/length_mean": float(78 - 12 * truth.gain * done + 2 * rng.normal()),
        "train/loss": float(0.02 * rng.normal()),
        "train/grad_norm": float(0.6 + 0.1 * rng.normal()),
        "policy/clip_low": float(live * truth.clipped * rng.uniform(0.2, 0.8)),
        "policy/clip_high": float(live * truth.clipped * rng.uniform(0.2, 0.8)),
        "policy/ratio_max": float(1 + live * rng.uniform(0.1, 0.6)),
        "policy/entropy": float(0.5 - 0.25 * done + 0.02 * rng.normal()),
        "policy/kl_old_new": float(live * rng.uniform(0.0, 0.01)),
        "policy/mismatch_mean_abs": 2e-6,
        "policy/clip_is_live": float(live),
    }


def rollout_rows(seed: int, step: int) -> list[dict]:
    rng = np.random.default_rng([seed, step, 3])
    rows = []
    for problem in range(4):
        for sample in range(4):
            length = int(rng.integers(20, 100))
            old_logp = -rng.exponential(0.4, length)
            passed = bool(rng.random() < 0.5)
            rows.append(
                {
                    "step": step, "problem_id": f"synthetic-{problem:02d}", "difficulty": "easy", "group": problem,
                    "sample": sample, "seed": sample, "prompt_ids": rng.integers(3, 90, 12).tolist(),
                    "response_ids": rng.integers(3, 90, length).tolist(),
                    "rollout_logp": (old_logp + 2e-6 * rng.normal(size=length)).tolist(),
                    "old_logp": old_logp.tolist(), "text": "print(1)", "finished": length < 90,
                    "reward": 1.0 if passed else -1.0, "advantage": 0.0, "in_loss": True,
                    "verdict": "accepted" if passed else "wrong_answer", "num_passed": 10 if passed else 3,
                    "num_tests": 10, "update": problem // 2,
                }
            )  # fmt: skip
    return rows


def write_run(path: Path, config_yaml: str, truth: Truth, seed: int) -> None:
    run = RunDirectory(path)
    run.claim(config_yaml, [])
    attempt = {"start": "2026-01-01T00:00:00+0000", "stop": "2026-01-01T00:00:40+0000", "status": "done"}
    facts = {"commit": "0" * 40, "dirty": False, "config_hash": "synthetic", "packages": {}, "host": "synthetic"}
    manifest = {**facts, "status": "done", "error": None, "attempts": [attempt]}
    write_atomic(run.manifest.path, json.dumps(manifest, indent=2) + "\n")
    for step in range(1, NUM_STEPS + 1):
        run.steps.append_metrics(step, step_metrics(truth, seed, step))
    run.steps.append_eval([*eval_rows(truth, seed, 0), *eval_rows(truth, seed, NUM_STEPS)])
    if seed == 0:
        run.steps.write_rollouts(NUM_STEPS, rollout_rows(seed, NUM_STEPS))
    spans = [
        {"name": name, "ph": "X", "ts": 1e6 * (step + start), "dur": 1e6 * length, "pid": 0, "tid": 0,
         "args": {"step": step}}
        for step in range(1, NUM_STEPS + 1)
        for name, start, length in (("sample", 0.0, 0.5 + 0.01 * seed), ("update", 0.5, 0.4))
    ]  # fmt: skip
    write_atomic(run.trace.path, "[\n" + "".join(json.dumps(span) + ",\n" for span in spans))


def write_main(root: Path, num_seeds: int = 3, truths: Mapping[str, Truth] = MAIN) -> Path:
    for objective, truth in truths.items():
        for seed in range(num_seeds):
            config = config_of(["experiment=main", f"objective={objective}", f"seed={seed}"])
            write_run(root / "main" / objective / f"seed{seed}", config, truth, seed)
    return root / "main"


def write_ratio_x_weight(root: Path, num_seeds: int = 2) -> Path:
    for (ratio, weight), truth in RATIO_X_WEIGHT.items():
        cell = f"ratio={ratio}-weight={weight}"
        for seed in range(num_seeds):
            factors = [f"ratio={ratio}", f"objective.weight={weight}"]
            config = config_of(["experiment=ratio_x_weight", *factors, f"seed={seed}"])
            write_run(root / "ratio_x_weight" / cell / f"seed{seed}", config, truth, seed)
    return root / "ratio_x_weight"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_main(target)
    write_ratio_x_weight(target)
