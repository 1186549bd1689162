"""A device (``conf/device/NAME.yaml``) and the assumptions about a run (``conf/estimate.yaml``)."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.errors import UserError

GIB = 1024**3
SHARES = ("bandwidth_share", "decode_share", "prefill_share", "train_share", "link_share")


@dataclass
class DeviceConfig:
    """Data sheet and achieved shares of one device: a GPU, or the cores of this machine."""

    name: str
    is_cpu: bool
    per_node: int
    memory_gib: float  # as its driver reports it
    bandwidth_gb_s: float  # of its memory
    bf16_tflops: float  # dense
    fp32_tflops: float  # as torch multiplies fp32 matrices by default
    link_gb_s: float  # to another device of the node, one direction
    network_gb_s: float  # to another node, one direction, for each device
    collective_s: float  # of a collective with nothing to carry
    bandwidth_share: float  # of bandwidth_gb_s that decoding achieves
    decode_share: float  # of the FLOP/s that decoding achieves where arithmetic bounds it
    prefill_share: float  # of the FLOP/s that a long prompt achieves
    train_share: float  # of the FLOP/s that the trainer achieves between its collectives
    link_share: float  # of link_gb_s and network_gb_s that a collective achieves
    host_gb_s: float  # of the host's memory that an optimizer there achieves, for each device of the node
    engine_step_s: float  # of every engine step: scheduler, launch, sampler
    engine_sequence_s: float  # of every engine step, for each running sequence
    engine_batch_s: float  # of every call of the engine with a batch of requests
    engine_gib: float  # in addition to weights and cache: activations, CUDA graphs, communicators
    micro_batch_s: float  # of every micro-batch of a forward pass; a backward pass takes twice this
    update_s: float  # of every update: optimizer, metrics, and what does not depend on the rows
    runtime_gib: float  # CUDA, cuBLAS, cuDNN, NCCL in a trainer's rank
    fragmentation: float  # share that the allocator loses

    def tflops(self, dtype: str) -> float:
        return self.bf16_tflops if dtype in ("bf16", "bfloat16") else self.fp32_tflops

    @property
    def memory_bytes(self) -> float:
        return self.memory_gib * GIB


@dataclass
class LengthsConfig:
    """Response tokens: a lognormal, cut at the context."""

    median: float
    sigma: float  # of the logarithm
    prompt: int  # tokens of a prompt


@dataclass
class PowerConfig:
    """Variances of Pass@1 from which the detectable difference follows; shares of 1."""

    confidence: float
    power: float
    seed_sd: float  # of a run around its cell
    sample_variance: float  # p (1 - p) of a sample, mean over problems
    problem_sd: float  # of a problem's true difference between two cells


@dataclass
class AssumptionsConfig:
    """What no configuration says and no device knows. Every value can be overridden: ``assumptions.kept_share=0.3``."""

    servers: int  # engine servers, where rollout.engine.urls does not say
    lengths: LengthsConfig
    kept_share: float  # of groups with both outcomes: dynamic sampling drops the others, and they have no gradient
    repeat_share: float  # of groups with one outcome, after one of the same problem: only data.history asks
    train_problems: int  # where data.train is not here: only data.history asks
    eval_problems: int  # where eval.expected_problems does not say
    program_share: float  # of the responses that end before the context does: they hold a program
    verify_s: float  # mean seconds of a program in its sandbox
    verify_sigma: float  # of their logarithm: some programs take ten times as long
    cached_share: float  # of programs whose verdict is known, with verify.cache
    free_cores: float | None  # a CPU: cores that run sandboxes while the engine samples; null: every worker has its own
    batch_token_s: float  # to send one token of a batch to every rank and lay it out
    metrics_token_s: float  # for each token of an update
    record_token_s: float  # to write one token of a rollout
    rollout_token_bytes: float  # of a rollout's token on disk
    weights_gb_s: float  # of a broadcast to the servers
    weights_s: float  # of every hand-off: pause, resume, versions
    switch_s: float  # for servers on the trainer's GPUs to fall asleep and to wake, once a step
    step_s: float  # of every step: records, bookkeeping
    disk_gb_s: float  # of the shared disk
    pinned_gb_s: float  # from a device to its host's memory
    context_switch_s: float  # of an evaluation: positions, caches, start and end
    seed: int  # of what is drawn here
    power: PowerConfig


def check_settings(device: DeviceConfig, assumptions: AssumptionsConfig) -> None:
    """Raise ``UserError`` for a share outside 0 to 1, and for a count or a rate that is not above 0."""
    shares = {f"device.{name}": getattr(device, name) for name in SHARES}
    of_run = ("kept_share", "repeat_share", "program_share")
    shares |= {f"assumptions.{name}": getattr(assumptions, name) for name in of_run}
    for key, value in shares.items():
        if not 0 < value <= 1:
            raise UserError(f"{key} must be above 0 and at most 1, not {value}: give a share")
    rates = ("servers", "train_problems", "eval_problems", "verify_s", "weights_gb_s", "disk_gb_s", "pinned_gb_s")
    positive = {f"assumptions.{name}": getattr(assumptions, name) for name in rates}
    positive["assumptions.lengths.median"] = assumptions.lengths.median
    for key, value in positive.items():
        if not value > 0:
            raise UserError(f"{key} must be above 0, not {value}: give a larger number")
