"""The estimate of an experiment as one page: tables of words, and sentences. Nothing here prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablate.config import ParallelConfig, RunConfig
from ablate.estimate.decode import kv_token_bytes
from ablate.estimate.device import GIB, DeviceConfig
from ablate.estimate.memory import host_bytes, rank_memory
from ablate.estimate.run import RunEstimate, Stage
from ablate.estimate.shape import Shape, shape_of

GB = 1e9
MOSTLY_BUSY = 0.9  # of the time of a batch: then another server helps


@dataclass(frozen=True)
class Table:
    """One table: a title, the heads of the columns, and rows of words; the first column names the row."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def spoken_hours(device_hours: float) -> str:
    """Device hours, or minutes or seconds where hours would be 0."""
    if device_hours >= 1:
        return f"{device_hours:,.0f} device hours"
    return (
        f"{60 * device_hours:.0f} device minutes"
        if device_hours >= 1 / 60
        else f"{3600 * device_hours:.0f} device seconds"
    )


def number(value: float) -> str:
    """At most three digits that matter: 1,590 and 0.63."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def step_table(estimates: Mapping[str, RunEstimate], lag: int) -> Table:
    """Seconds of a step by stage: a column for each cell and context."""
    columns = [(name, stage) for name, each in estimates.items() for stage in each.stages]
    switches = [number(stage.step.switch) for _, stage in columns]
    rows = [
        ("sample", *(number(stage.step.sample) for _, stage in columns)),
        ("verdicts after the last sample", *(number(stage.step.verify) for _, stage in columns)),
        ("batch to every rank", *(number(stage.step.batch) for _, stage in columns)),
        ("old log-probabilities", *(number(stage.step.old_logp) for _, stage in columns)),
        ("updates", *(number(stage.step.update) for _, stage in columns)),
        ("records", *(number(stage.step.record) for _, stage in columns)),
        ("weights to the servers", *(number(stage.step.weights) for _, stage in columns)),
        *([("servers asleep and awake again", *switches)] if any(stage.step.switch for _, stage in columns) else []),
        (f"step at lag {lag}", *(number(stage.step_s) for _, stage in columns)),
        ("busy: servers", *(percent(stage.server_share) for _, stage in columns)),
        ("busy: trainer", *(percent(stage.trainer_share) for _, stage in columns)),
        ("busy: sandboxes", *(percent(stage.sandbox_share) for _, stage in columns)),
        ("responses sampled", *(number(stage.num_responses) for _, stage in columns)),
        ("million tokens sampled", *(number(stage.num_tokens / 1e6) for _, stage in columns)),
        ("million tokens computed twice", *(number(stage.num_recomputed / 1e6) for _, stage in columns)),
    ]
    heads = tuple(f"{name}, {stage.context:,}" for name, stage in columns)
    return Table("A step, in seconds", ("", *heads), tuple(rows))


def run_table(estimates: Mapping[str, RunEstimate], num_seeds: int) -> Table:
    """Hours, device hours and disk of one run of each cell, and of all runs."""
    lengths = sorted({length for each in estimates.values() for length in each.evaluations})
    every = list(estimates.values())
    rows = [
        ("hours of training", *(number(each.training_hours) for each in every)),
        *(
            (
                f"evaluations at {length:,}: how many x hours",
                *(f"{each.evaluations[length]} x {number(each.evaluation_s[length] / 3600)}" for each in every),
            )
            for length in lengths
        ),
        ("hours", *(number(each.hours) for each in every)),
        ("devices: train + sample", *(f"{each.num_trainers} + {each.num_samplers}" for each in every)),
        ("device hours", *(number(each.device_hours) for each in every)),
        ("GB on disk", *(number(each.disk_bytes / GB) for each in every)),
        (f"device hours of {num_seeds} seeds", *(number(num_seeds * each.device_hours) for each in every)),
    ]
    return Table("A run", ("", *estimates), tuple(rows))


def memory_table(shape: Shape, layouts: Mapping[str, ParallelConfig], device: DeviceConfig) -> Table:
    """Memory of the fullest rank of each layout, by part, in GB."""
    rows = []
    for name, parallel in layouts.items():
        memory = rank_memory(shape, parallel)
        peak = memory.on(device)
        parts = (memory.weights, memory.gradients, memory.optimizer, memory.stored, memory.layer, memory.projection)
        verdict = "fits" if peak <= 0.9 * device.memory_bytes else "close" if peak <= device.memory_bytes else "no"
        host = host_bytes(shape, parallel, device.per_node)
        words = (number(part / GB) for part in (*parts, memory.tables, peak, host))
        rows.append((name, *words, verdict))
    heads = ("layout", "weights", "gradients", "optimizer", "stored", "layer", "projection", "tables", "peak")
    title = f"Memory of a trainer's rank, in GB; {device.name} has {device.memory_bytes / GB:.0f}"
    return Table(title, (*heads, "host, per node", ""), tuple(rows))


def cache_sentence(estimate: RunEstimate, config: RunConfig) -> str:
    """How many full rows a server's cache holds, and what a token takes there."""
    rows, engine = estimate.kv_tokens / config.context.longest, config.rollout.engine
    token_bytes = kv_token_bytes(shape_of(config.model.architecture), engine)
    return (
        f"A server's cache holds {estimate.kv_tokens:,.0f} tokens of {token_bytes / 1024:,.3g} KiB "
        f"(rollout.engine.kv_cache_dtype={engine.kv_cache_dtype}), which are {number(rows)} rows of "
        f"{config.context.longest:,}; it may run {engine.max_num_seqs} requests at once."
    )


def sharing_sentence(config: RunConfig, device: DeviceConfig) -> str:
    """What a server and a rank of the trainer take of the GPU that they share, in both halves of a step."""
    memory = rank_memory(shape_of(config.model.architecture), config.parallel)
    awake, asleep = config.rollout.engine.gpu_memory_utilization * device.memory_bytes, device.engine_gib * GIB
    return (
        f"Shared GPUs: an awake server takes {awake / GB:.0f} GB next to a rank's {memory.at_rest(device) / GB:.0f}, "
        f"and an updating rank {memory.on(device) / GB:.0f} next to a sleeping server's {asleep / GB:.0f}, of "
        f"{device.memory_bytes / GB:.0f}."
    )


def parts_of_hours(estimate: RunEstimate) -> dict[str, float]:
    """Hours of a run by what it waits for."""

    def total(seconds: str) -> float:
        return sum(stage.steps * getattr(stage.step, seconds) for stage in estimate.stages) / 3600

    return {
        "sampling": total("sample"),
        "verification": total("verify"),
        "training": total("old_logp") + total("update"),
        "evaluation": estimate.evaluation_hours,
        "the batch's way to the ranks and the records": total("batch") + total("record"),
        "the weights' way to the servers": total("weights") + total("switch"),
        "checkpoints": estimate.num_checkpoints * estimate.checkpoint_s / 3600,
    }


def limit_sentence(name: str, estimate: RunEstimate) -> str:
    """What limits a run, in one sentence."""
    parts = parts_of_hours(estimate)
    longest = max(parts, key=parts.__getitem__)
    share = percent(parts[longest] / sum(parts.values()))
    reasons = {
        "sampling": sampling_reason(estimate.stages),
        "training": f"{estimate.num_trainers} device{'' if estimate.num_trainers == 1 else 's'} train",
        "verification": "more sandboxes shorten it",
    }
    reason = f": {reasons[longest]}" if longest in reasons else ""
    return f"{name}: {longest} limits the run, with {share} of its hours{reason}."


def sampling_reason(stages: Sequence[Stage]) -> str:
    first = stages[0]
    busy = first.server_share * first.step_s / first.step.collect
    recomputed = first.num_recomputed / max(first.num_tokens, 1)
    why = "more servers shorten it" if busy > MOSTLY_BUSY else "the longest responses end alone"
    again = f", and {percent(recomputed)} of the tokens are computed twice" if recomputed > 0.02 else ""
    return f"its servers are busy {percent(busy)} of that time ({why}){again}"
