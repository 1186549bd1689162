"""What one run needs: seconds of a step by stage, hours, devices and disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepSeconds:
    """The stages of one step, in the order in which they happen at ``rollout.lag=0``."""

    sample: float  # until the last completion
    verify: float  # until the last verdict after that
    batch: float  # the batch to every rank
    old_logp: float
    update: float
    record: float
    weights: float
    switch: float = 0.0  # servers on the trainer's devices fall asleep, and wake

    @property
    def collect(self) -> float:
        return self.sample + self.verify

    @property
    def train(self) -> float:
        return self.batch + self.old_logp + self.update + self.record

    def seconds(self, lag: int, core_s: float = 0.0) -> float:
        """At lag 1 and 2 a batch is collected while another trains; the weights change between batches.

        Args:
            core_s: what the work of a step takes at least, where both share cores.
        """
        if lag:
            return max(self.collect, self.train, core_s) + self.weights
        return self.collect + self.train + self.weights + self.switch


@dataclass(frozen=True)
class Stage:
    """One context stage: its mean step, and how busy each resource is."""

    context: int
    steps: int
    step: StepSeconds
    step_s: float
    server_share: float
    trainer_share: float
    sandbox_share: float
    num_responses: float
    num_tokens: float  # sampled
    num_trained_tokens: float
    num_recomputed: float


@dataclass(frozen=True)
class RunEstimate:
    """What one run needs."""

    stages: tuple[Stage, ...]
    evaluation_s: dict[int, float]  # of one evaluation, by context
    evaluations: dict[int, int]
    checkpoint_s: float  # of which the run stops for one checkpoint
    checkpoint_write_s: float
    num_checkpoints: int
    num_trainers: int
    num_samplers: int  # devices of the servers
    num_servers: int
    kv_tokens: float
    checkpoint_bytes: float
    disk_bytes: float
    evaluation_extra_s: dict[int, float]  # by which one evaluation lengthens the run

    @property
    def training_hours(self) -> float:
        steps_s = sum(stage.steps * stage.step_s for stage in self.stages)
        return (steps_s + self.num_checkpoints * self.checkpoint_s) / 3600

    @property
    def evaluation_hours(self) -> float:
        return sum(self.evaluation_extra_s[length] * count for length, count in self.evaluations.items()) / 3600

    @property
    def hours(self) -> float:
        return self.training_hours + self.evaluation_hours

    @property
    def device_hours(self) -> float:
        return self.hours * (self.num_trainers + self.num_samplers)
