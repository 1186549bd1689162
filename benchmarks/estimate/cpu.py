"""Short real runs on this machine. The estimate's costs are fitted to the trace of one, and it predicts all others.

The fit uses one traced run (two contexts, so that lengths vary, and evaluations). Nothing of a run that is predicted
enters its prediction. Seconds are wall seconds: on a busy machine they say little.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.cli import compose
from ablate.config import RunConfig, parse, section
from ablate.estimate.collect import BatchWork, Pool, collect
from ablate.estimate.decode import EngineSpeed, engine_speed
from ablate.estimate.device import AssumptionsConfig, DeviceConfig
from ablate.estimate.estimator import Estimator
from ablate.estimate.shape import shape_of
from ablate.estimate.training import TrainerSpeed, layout_of, rows_of_passes
from ablate.files.parquet import iterate_parquet
from ablate.records import RunDirectory

SHORT = (
    "experiment=tiny",
    "objective=grpo",  # keeps every group, so that every response is recorded
    "seed=0",
    "checkpoint.every=0",
    "verify.cache=false",  # every program is run
    "logging.display=plain",
    "logging.wandb=disabled",
)
TRACED = (
    "context.stages=[{length:128,steps:5},{length:160,steps:5}]",
    "cell=traced",
    "eval.samples_per_problem=4",
    "eval.pass_at=[1]",
)
PREDICTED = ("context.steps=6", "eval.at_start=false", "eval.at_end=false")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CASES: dict[str, tuple[str, ...]] = {
    "the same, one context": (),
    "half the prompts": ("rollout.prompts_per_step=4",),
    "twice the prompts": ("rollout.prompts_per_step=16",),
    "half the samples": ("rollout.samples_per_prompt=4",),
    "twice the samples": ("rollout.samples_per_prompt=16",),
    "112 tokens of context": ("context.length=112",),
    "one sandbox": ("verify.workers=1",),
    "16 requests at once": ("rollout.engine.max_num_seqs=16",),
    "four updates a batch": ("optim.updates_per_batch=4",),
    "tp2": ("parallel=tp2",),
    "lag 1": ("rollout.lag=1", "rollout.engine.placement=child"),
}
FIRST_STEPS = 1  # of a process: compilation, first touch
# Of the traced run, the steps that train in the context of the runs that are predicted. Later more programs pass, and a
# program that fails ends at its first failing test.
FIRST_STAGE = range(FIRST_STEPS + 1, 6)
PARTS = ("weights", "wait_batch", "old_logp", "update")
BETWEEN_STEPS = ("evaluate", "checkpoint")  # spans between two steps, which are no part of them


@dataclass(frozen=True)
class Traced:
    """The trace of one run: the trainer's spans by name and step, whole steps, and the spans of engine and verifier."""

    trainer: dict[str, dict[int, float]]  # seconds
    steps: dict[int, float]  # seconds
    sampled: list[tuple[dict[str, Any], float]]  # (what the span says, seconds) of every call of the engine
    verified: list[tuple[dict[str, Any], float]]
    verified_alone: list[tuple[dict[str, Any], float]]

    def median_step(self) -> float:
        return statistics.median(seconds for step, seconds in self.steps.items() if step > FIRST_STEPS)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch)
        run, config = make_run(outputs, "traced", TRACED)
        device, assumptions = fit(run, config)
        print(*(f"{name}: {getattr(device, name):.3g}" for name in FITTED))
        print(*(f"{name}: {getattr(assumptions, name):.3g}" for name in ("verify_s", "program_share", "kept_share")))
        lengths = lengths_of(run, steps=range(6, 11))
        rows = []
        for name in options.cases:
            run, config = make_run(outputs, name, (*PREDICTED, *CASES[name]))
            stage = Estimator(config, device, assumptions, drops_groups=False, recorded=lengths).stage(0)
            traced = read_trace(run)
            rows.append({"case": name, "measured": traced.median_step(), "predicted": stage.step_s})
            rows[-1] |= {"parts": parts_of(traced), "predicted_parts": vars(stage.step)}
            show(rows[-1])
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def show(row: dict) -> None:
    error = row["predicted"] / row["measured"] - 1
    parts = "  ".join(f"{name} {seconds:.2f}" for name, seconds in row["parts"].items())
    predicted = "  ".join(f"{name} {seconds:.2f}" for name, seconds in row["predicted_parts"].items())
    print(f"| {row['case']} | {row['measured']:.2f} | {row['predicted']:.2f} | {error:+.0%} |", flush=True)
    print(f"    measured {parts}\n    predicted {predicted}", flush=True)


# --- runs -------------------------------------------------------------------------------------------------------------


def make_run(outputs: Path, name: str, overrides: Sequence[str]) -> tuple[RunDirectory, RunConfig]:
    """Train one short run in a process of its own (two under tp2)."""
    words = [*SHORT, f"paths.outputs={outputs / re.sub(r'[^a-z0-9]+', '_', name)}", *overrides]
    launcher = TORCHRUN if "parallel=tp2" in overrides else ()
    command = [sys.executable, *launcher, "-m", "ablate.train", *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    config = parse(compose(words))
    return RunDirectory(Path(config.paths.outputs) / config.experiment / config.cell / "seed0"), config


def read_trace(run: RunDirectory) -> Traced:
    trainer: dict[str, dict[int, float]] = defaultdict(dict)
    others: dict[str, list[tuple[dict[str, Any], float]]] = defaultdict(list)
    starts: dict[int, float] = {}
    for span in run.trace.spans():
        name, step, seconds = span["name"], span["args"]["step"], span["dur"] / 1e6
        if span["tid"]:
            others[name].append((span["args"], seconds))
            continue
        trainer[name][step] = trainer[name].get(step, 0.0) + seconds
        if name == "weights":
            starts[step] = span["ts"] / 1e6
    steps = {step: starts[step + 1] - start for step, start in starts.items() if step + 1 in starts}
    for name in BETWEEN_STEPS:
        for step in steps.keys() & trainer.get(name, {}).keys():
            steps[step] -= trainer[name][step]
    return Traced(trainer, steps, others["sample"], others["verify"], others["verify_alone"])


def parts_of(traced: Traced) -> dict[str, float]:
    return {
        name: statistics.median(seconds for step, seconds in traced.trainer[name].items() if step > FIRST_STEPS)
        for name in PARTS
    }


def lengths_of(run: RunDirectory, steps: Sequence[int]) -> list[tuple[int, int]]:
    """Tokens of prompt and response of every rollout of these steps."""
    columns = ("prompt_ids", "response_ids")
    rows = [row for step in steps for row in iterate_parquet(run.steps.rollouts_file(step), columns, 64)]
    return [(len(row["prompt_ids"]), len(row["response_ids"])) for row in rows]


# --- the fit ----------------------------------------------------------------------------------------------------------

FITTED = ("engine_step_s", "engine_sequence_s", "engine_batch_s", "micro_batch_s", "update_s", "train_share")


def fit(run: RunDirectory, config: RunConfig) -> tuple[DeviceConfig, AssumptionsConfig]:
    """conf/device/cpu.yaml with the costs that this machine's traced run shows."""
    values = compose(["device=cpu"], config_name="estimate")
    device = section(DeviceConfig, values.device, "device")
    assumptions = section(AssumptionsConfig, values.assumptions, "assumptions")
    traced = read_trace(run)
    metrics = [row for row in run.steps.metrics() if row["step"] > FIRST_STEPS]
    one_outcome = sum(row["rollout/num_groups_all_right"] + row["rollout/num_groups_all_wrong"] for row in metrics)
    kept_share = 1 - one_outcome / sum(row["rollout/num_groups"] for row in metrics)
    device = fit_engine(device, traced, run, config)
    device = fit_trainer(device, traced, run, config, kept_share)
    others = [
        seconds - sum(traced.trainer[name].get(step, 0.0) for name in PARTS)
        for step, seconds in traced.steps.items()
        if step > FIRST_STEPS
    ]
    return device, replace(
        assumptions,
        kept_share=kept_share,
        verify_s=program_s(traced, min(config.verify.workers, device.per_node), assumptions.free_cores),
        program_share=share_with_program(traced, run),
        weights_s=statistics.median(s for step, s in traced.trainer["weights"].items() if step > FIRST_STEPS),
        weights_gb_s=1e9,
        batch_token_s=0.0,
        record_token_s=0.0,
        step_s=max(0.0, statistics.median(others)),
    )


def share_with_program(traced: Traced, run: RunDirectory) -> float:
    """Of the responses of training that ended before the context did: the share that held a program."""
    verified = [args for args, _ in traced.verified if "context" not in args]
    files = [run.steps.rollouts_file(args["step"]) for args in verified]
    ended = sum(row["finished"] for file in files for row in iterate_parquet(file, ("finished",), 64))
    return min(1.0, sum(args["programs"] for args in verified) / ended)


def program_s(traced: Traced, cores: float, free_cores: float) -> float:
    """Seconds of a program with a core of its own, from the first stage: an evaluation has other problems.

    While the engine samples, the programs that run share ``free_cores``; alone they share ``cores``.
    """
    verified = [args for args, _ in traced.verified if is_of_first_stage(args)]
    alone_s = sum(seconds for args, seconds in traced.verified_alone if is_of_first_stage(args))
    seconds = sum(args["busy_seconds"] for args in verified) * free_cores + alone_s * (cores - free_cores)
    return seconds / sum(args["programs"] for args in verified)


def is_of_first_stage(args: dict[str, Any]) -> bool:
    return "context" not in args and args["step"] in FIRST_STAGE


def least_squares(rows: Sequence[Sequence[float]], seconds: Sequence[float]) -> NDArray[np.float64]:
    """Costs of 0 or above, each equation weighted by its duration."""
    from scipy.optimize import nnls

    weight = 1 / np.asarray(seconds)
    return nnls(np.asarray(rows) * weight[:, None], np.ones(len(seconds)))[0]


def fit_engine(device: DeviceConfig, traced: Traced, run: RunDirectory, config: RunConfig) -> DeviceConfig:
    """Costs of an engine step, of a sequence in it, and of a call: training batches and evaluations share them."""
    shape = shape_of(config.model.architecture)
    speed = engine_speed(shape, config.rollout.engine, device)
    nothing = replace(speed, step_s=0.0, sequence_s=0.0)  # arithmetic and memory, which the data sheet says
    once = EngineSpeed(
        **{**vars(speed), **dict.fromkeys(("flops", "attention_flops", "weight_bytes", "kv_bytes"), 0.0)}
    )
    rows, seconds = [], []
    for lengths, took in engine_calls(traced, run):
        batch = [simulated(each, lengths, config) for each in (replace(once, step_s=1.0, sequence_s=0.0), nothing)]
        rows.append((batch[0], sum(response for _, response in lengths), 1.0))
        seconds.append(max(took - batch[1], 0.01))
    step_s, sequence_s, batch_s = least_squares(rows, seconds)
    return replace(device, engine_step_s=step_s, engine_sequence_s=sequence_s, engine_batch_s=batch_s)


def engine_calls(traced: Traced, run: RunDirectory) -> list[tuple[list[tuple[int, int]], float]]:
    """(tokens of prompt and response of every request, seconds) of every call of the engine after the first steps."""
    calls, rows = [], run.steps.eval_rows()
    for args, seconds in traced.sampled:
        step, context = args["step"], args.get("context")
        if step <= FIRST_STEPS:
            continue
        if context is None:
            calls.append((lengths_of(run, [step]), seconds))
        else:
            lengths = [(53, row.num_tokens) for row in rows if (row.step, row.context) == (step, context)]
            calls.append((lengths, seconds))
    return calls


def simulated(speed: EngineSpeed, lengths: Sequence[tuple[int, int]], config: RunConfig) -> float:
    """Seconds of these requests on one engine, verification aside."""
    given = iter([pair for length in lengths for pair in (length, length)])  # a group asks for its prompt first
    work = BatchWork(len(lengths), 1, lambda: next(given), verify_s=lambda: 0.0)
    return collect(Pool(speed, 1, config.rollout.engine.max_num_seqs, 1), work).sampled_s


def fit_trainer(
    device: DeviceConfig, traced: Traced, run: RunDirectory, config: RunConfig, kept_share: float
) -> DeviceConfig:
    """Costs of a micro-batch, of an update and of arithmetic, from the old log-probabilities and the updates."""
    shape = shape_of(config.model.architecture)

    def costs(lengths: list[int], **values: float) -> tuple[float, float]:
        free = dict.fromkeys(("micro_batch_s", "update_s", "collective_s"), 0.0)
        speed = TrainerSpeed(
            shape,
            layout_of(config.parallel),
            config.parallel,
            replace(device, **{**free, "train_share": 1e9, **values}),
        )
        own_pass, parts = rows_of_passes(lengths, config.optim.updates_per_batch, kept_share, for_records=True)
        return speed.logp_s(own_pass), sum(speed.update_s(part, 0.0) for part in parts)

    rows, seconds = [], []
    for step in traced.trainer["update"]:
        if step <= FIRST_STEPS:
            continue
        lengths = [prompt + response for prompt, response in lengths_of(run, [step])]
        unit = (costs(lengths, micro_batch_s=1.0), costs(lengths, update_s=1.0), costs(lengths, train_share=1.0))
        for index, name in enumerate(("old_logp", "update")):
            rows.append([each[index] for each in unit])
            seconds.append(traced.trainer[name][step])
    micro_batch_s, update_s, arithmetic = least_squares(rows, seconds)
    return replace(
        device, micro_batch_s=micro_batch_s, update_s=update_s, train_share=1 / arithmetic if arithmetic > 0 else 1e9
    )
