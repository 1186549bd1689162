"""The estimate next to figures that others measured; published.yaml says what each source leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.cli import compose
from ablate.config import parse
from ablate.estimate.decode import EngineSpeed, engine_speed
from ablate.estimate.estimator import Estimator, RunEstimate
from ablate.estimate.settings import estimate_settings
from ablate.estimate.shape import Shape, shape_of
from ablate.files import read_yaml

REFERENCE = ("experiment=nouscoder_14b", "objective=dapo", "seed=0", "logging.save_rollouts=false")


def main(words: Sequence[str]) -> None:
    del words
    values = read_yaml(Path(__file__).with_suffix(".yaml"))
    shapes = {name: shape_of(shape) for name, shape in values["shapes"].items()}
    print("| engine | device | measured | predicted | error |\n|---|---|---|---|---|")
    for case in values["engines"]:
        for row in engine_rows(case, shapes[case["shape"]]):
            print(f"| {' | '.join(row)} |")
    print("\n| run | quantity | measured | predicted range |\n|---|---|---|---|")
    for case in values["runs"]:
        for name, (low, high) in run_range(case, shapes[case["shape"]]).items():
            print(f"| {case['source']} | {name} | {case['measured'][name]} | {low:,.0f} to {high:,.0f} |", flush=True)


# --- engines ----------------------------------------------------------------------------------------------------------


def engine_rows(case: dict[str, Any], shape: Shape) -> list[tuple[str, ...]]:
    """(what, device, measured, predicted, error) of every figure of one source."""
    rows = []
    for device, measured in case.get("decode", {}).items():
        speed = speed_of(case, shape, device)
        for batch, milliseconds in measured.items():
            predicted = 1e3 * speed.step_with(int(batch), int(batch) * case["context"])
            rows.append(row(f"{case['shape']}, {batch} sequences, ms a token", device, milliseconds, predicted))
    for device, measured in case.get("prefill", {}).items():
        speed = speed_of(case, shape, device)
        for length, tokens_per_s in measured.items():
            predicted = int(length) / speed.prefill_s(int(length))
            rows.append(row(f"{case['shape']}, prompts of {length}, tokens/s", device, tokens_per_s, predicted))
    return rows


def row(what: str, device: str, measured: float, predicted: float) -> tuple[str, ...]:
    return (what, device, f"{measured:,.4g}", f"{predicted:,.4g}", f"{predicted / measured - 1:+.0%}")


def speed_of(case: dict[str, Any], shape: Shape, device_name: str) -> EngineSpeed:
    device, _ = estimate_settings([f"device={device_name}"])
    speed = engine_speed(shape, parse(compose(REFERENCE)).rollout.engine, device)
    factor = case.get("flops_factor", 1)
    return replace(
        speed,
        weight_bytes=speed.weight_bytes * case["weight_bytes"] / 2,
        flops_per_s=speed.flops_per_s * factor,
        prefill_flops_per_s=speed.prefill_flops_per_s * factor,
    )


# --- runs -------------------------------------------------------------------------------------------------------------


def run_range(case: dict[str, Any], shape: Shape) -> dict[str, tuple[float, float]]:
    """The least and the largest prediction over what the source leaves open, by quantity."""
    predictions = [
        quantities(estimator_of(case, shape, {**case["known"], **corner}).run(), lag)
        for corner in case["unknown"]
        for lag in case["lags"]
    ]
    return {
        name: (min(each[name] for each in predictions), max(each[name] for each in predictions))
        for name in case["measured"]
    }


def estimator_of(case: dict[str, Any], shape: Shape, open_values: dict[str, Any]) -> Estimator:
    words = [f"{key}={value}" for key, value in open_values.items()]
    of_estimate = [word for word in words if word.startswith("assumptions.")]
    device, assumptions = estimate_settings([f"device={case['device']}", *of_estimate])
    config = parse(compose([*REFERENCE, *case["words"], *(word for word in words if word not in of_estimate)]))
    parallel = replace(config.parallel, world_size=case["trainers"])
    architecture = {**config.model.architecture, **vars(shape)}
    config = replace(config, parallel=parallel, model=replace(config.model, architecture=architecture))
    return Estimator(config, device, replace(assumptions, servers=case["servers"]), drops_groups=case["drops_groups"])


def quantities(estimate: RunEstimate, lag: int) -> dict[str, float]:
    """Hours of the run, and seconds of a step and its parts in the first stage."""
    step = estimate.stages[0].step
    training_s = sum(stage.steps * stage.step.seconds(lag) for stage in estimate.stages)
    return {
        "hours": training_s / 3600 + estimate.evaluation_hours,
        "step": step.seconds(lag),
        "gen": step.collect,
        "old_logp": step.old_logp,
        "update": step.update,
    }
