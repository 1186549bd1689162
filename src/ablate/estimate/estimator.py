"""Everything together: seconds of a step by stage, hours of a run and its disk, from a configuration and a device."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import harmonic_mean, mean
from typing import Any

from ablate.config import RunConfig
from ablate.estimate.collect import BatchWork, Collected, Lengths, Pool, collect
from ablate.estimate.decode import NUM_BYTES, engine_speed
from ablate.estimate.device import AssumptionsConfig, DeviceConfig
from ablate.estimate.kept import kept_shares
from ablate.estimate.lengths import lognormal, programs, resampled
from ablate.estimate.memory import checkpoint_bytes
from ablate.estimate.problems import num_eval_problems
from ablate.estimate.run import RunEstimate, Stage, StepSeconds
from ablate.estimate.schedule import num_checkpoints, num_evaluations, num_steps
from ablate.estimate.shape import Shape, shape_of
from ablate.estimate.training import TrainerSpeed, layout_of, rows_of_passes

NUM_SIMULATED = 12  # steps of each stage: refills differ from step to step, and the mean of three is off by up to 10 %
BOUND_BY_SAMPLING = 1.01  # enough sandboxes make a batch at most this much slower than unlimited ones


class Estimator:
    """Estimates one run; every random number comes from ``assumptions.seed``.

    Args:
        recorded: tokens of prompt and response of recorded rollouts, in place of the assumed lengths.
        drops_groups: whether the objective replaces groups of one outcome (``keep: mixed_outcomes``).
        num_cells: cells that cost the same as this one, with itself.
    """

    def __init__(
        self,
        config: RunConfig,
        device: DeviceConfig,
        assumptions: AssumptionsConfig,
        *,
        drops_groups: bool,
        recorded: Sequence[tuple[int, int]] = (),
        num_cells: int = 1,
        simulated: dict[Any, Collected] | None = None,
    ) -> None:
        self.config, self.device, self.assumptions = config, device, assumptions
        self.recorded, self.drops_groups, self.num_cells = recorded, drops_groups, num_cells
        self.simulated = {} if simulated is None else simulated
        self.shape: Shape = shape_of(config.model.architecture)
        self.trainer = TrainerSpeed(self.shape, layout_of(config.parallel), config.parallel, device)
        self.kept_shares = kept_shares(config, assumptions, drops_groups)

    # --- parts ------------------------------------------------------------------------------------------------------

    @property
    def num_servers(self) -> int:
        engine = self.config.rollout.engine
        if engine.share_gpus:
            return self.trainer.layout.world_size // engine.tensor_parallel
        return (len(engine.urls) or self.assumptions.servers) if engine.placement == "servers" else 1

    def lengths(self, context: int, purpose: str) -> Lengths:
        rng = random.Random(f"{self.assumptions.seed} lengths {purpose}")
        if self.recorded:
            return resampled(self.recorded, context, rng)
        return lognormal(self.assumptions.lengths, context, rng)

    def pool(self, num_sandboxes: int | None = None) -> Pool:
        engine, workers, cores = self.config.rollout.engine, self.config.verify.workers, self.assumptions.free_cores
        return Pool(
            engine_speed(self.shape, engine, self.device),
            self.num_servers,
            engine.max_num_seqs,
            workers if num_sandboxes is None else num_sandboxes,
            self.device.engine_batch_s,
            cores=math.inf if cores is None else cores,
            cores_alone=math.inf if cores is None else self.device.per_node,
        )

    def kept_share(self, index: int) -> float:
        """Of the draws of one context stage: a batch needs as many draws as 1 / share, so that is what is averaged."""
        first = sum(stage.steps for stage in self.config.context.stages[:index])
        return harmonic_mean(self.kept_shares[first : first + self.config.context.stages[index].steps])

    def batch(self, index: int, step: int, num_sandboxes: int | None = None) -> Collected:
        """One simulated rollout batch of a context stage."""
        rollout, context = self.config.rollout, self.config.context.stages[index].length
        purpose = f"stage {index} step {step}"
        outcomes = random.Random(f"{self.assumptions.seed} outcomes {purpose}")
        kept_share = self.kept_share(index) if self.drops_groups else 1.0
        work = BatchWork(
            rollout.prompts_per_step,
            rollout.samples_per_prompt,
            self.lengths(context, purpose),
            self.programs(purpose),
            keeps=lambda: outcomes.random() < kept_share,
            kept_share=kept_share,
            max_draws=rollout.max_draws,
            context=context,
        )
        return self.collected(purpose, work, num_sandboxes)

    def collected(self, purpose: str, work: BatchWork, num_sandboxes: int | None = None) -> Collected:
        """The simulation of this work, unless an estimator with the same assumptions has made it."""
        pool = self.pool(num_sandboxes)
        key = (purpose, pool, *(value for value in vars(work).values() if not callable(value)))
        if key not in self.simulated:
            self.simulated[key] = collect(pool, work)
        return self.simulated[key]

    def programs(self, purpose: str) -> Callable[[], float]:
        assumed, rng = self.assumptions, random.Random(f"{self.assumptions.seed} programs {purpose}")
        run_s = programs(assumed.verify_s, assumed.verify_sigma, rng)
        cached_share = assumed.cached_share if self.config.verify.cache else 0.0
        run_share = assumed.program_share * (1 - cached_share)
        return run_s if run_share == 1 else lambda: run_s() if rng.random() < run_share else 0.0

    def evaluation(self, context: int) -> Collected:
        """One simulated evaluation."""
        config, purpose = self.config.eval, f"evaluation {context}"
        count = num_eval_problems(self.config, self.assumptions)
        lengths, run_s = self.lengths(context, purpose), self.programs(purpose)
        return self.collected(purpose, BatchWork(count, config.samples_per_problem, lengths, run_s, context=context))

    def step_of(self, index: int, collected: Collected) -> StepSeconds:
        """The parts of a step of a context stage that trains on ``collected``."""
        assumed, optim, lengths = self.assumptions, self.config.optim, collected.kept_lengths
        tokens = sum(lengths)
        records = self.config.logging.save_rollouts
        trained_share = 1.0 if self.drops_groups else self.kept_share(index)  # the other groups have no gradient
        own_pass, per_update = rows_of_passes(lengths, optim.updates_per_batch, trained_share, records)
        return StepSeconds(
            sample=collected.sampled_s,
            verify=collected.exposed_verification_s,
            batch=tokens * assumed.batch_token_s,
            old_logp=self.trainer.logp_s(own_pass) if optim.old_logp == "trainer" else 0.0,
            update=sum(self.trainer.update_s(rows, assumed.metrics_token_s) for rows in per_update),
            record=assumed.step_s + (tokens * assumed.record_token_s if records else 0.0),
            weights=self.weights_s(),
            switch=assumed.switch_s if self.config.rollout.engine.share_gpus else 0.0,
        )

    def weights_s(self) -> float:
        """Seconds to hand every weight to the servers; on shared GPUs through the host's memory, out and in."""
        num_bytes = self.shape.num_parameters * NUM_BYTES[self.config.rollout.engine.dtype]
        if self.config.rollout.engine.share_gpus:
            return self.assumptions.weights_s + 2 * num_bytes / (self.assumptions.pinned_gb_s * 1e9)
        return self.assumptions.weights_s + num_bytes / (self.assumptions.weights_gb_s * 1e9)

    def checkpoint_write_s(self) -> float:
        return checkpoint_bytes(self.shape, self.config.parallel.precision) / (self.assumptions.disk_gb_s * 1e9)

    def checkpoint_s(self) -> float:
        """Seconds for which the run stops: the copy to the host's memory, and the writing unless it is asynchronous."""
        of_rank = checkpoint_bytes(self.shape, self.config.parallel.precision) / self.trainer.layout.world_size
        copy_s = of_rank / (self.assumptions.pinned_gb_s * 1e9)
        return copy_s if self.config.checkpoint.asynchronous else copy_s + self.checkpoint_write_s()

    # --- whole ------------------------------------------------------------------------------------------------------

    @property
    def lag(self) -> int:
        return self.config.rollout.lag

    def core_s(self, step: StepSeconds, collected: Collected) -> float:
        """Seconds of a step by its work alone, where engine, sandboxes and trainer share cores; else 0."""
        if self.assumptions.free_cores is None:
            return 0.0
        ranks_s = self.trainer.layout.world_size * (step.old_logp + step.update) + step.batch + step.record
        return (collected.server_busy_s + collected.program_s + ranks_s) / self.device.per_node

    def stage(self, index: int) -> Stage:
        """The mean of a few simulated steps of one context stage."""
        stage, workers = self.config.context.stages[index], self.config.verify.workers
        batches = [self.batch(index, step) for step in range(NUM_SIMULATED)]
        steps = [self.step_of(index, batch) for batch in batches]
        step = StepSeconds(*(mean(values) for values in zip(*(vars(each).values() for each in steps), strict=True)))
        step_s = step.seconds(self.lag, mean(self.core_s(step, batch) for batch in batches))
        return Stage(
            stage.length,
            num_steps(self.config, index),
            step,
            step_s,
            server_share=mean(batch.server_busy_s for batch in batches) / (self.num_servers * step_s),
            trainer_share=(step.old_logp + step.update) / step_s,
            sandbox_share=mean(batch.sandbox_busy_s for batch in batches) / (workers * step_s),
            num_responses=mean(batch.num_responses for batch in batches),
            num_tokens=mean(batch.num_tokens for batch in batches),
            num_trained_tokens=mean(sum(batch.kept_lengths) for batch in batches),
            num_recomputed=mean(batch.num_recomputed for batch in batches),
        )

    def run(self) -> RunEstimate:
        config, assumed = self.config, self.assumptions
        stages = tuple(self.stage(index) for index in range(len(config.context.stages)))
        counts = num_evaluations(config)
        evaluation_s = {
            length: self.evaluation(length).seconds + assumed.context_switch_s for length, count in counts.items()
        }
        last = stages[-1].step
        hidden_s = max(0.0, last.train - last.collect) if self.lag else 0.0
        num_bytes = checkpoint_bytes(self.shape, config.parallel.precision)
        keep = config.checkpoint
        kept = keep.keep + keep.keep_best + len(keep.keep_steps) + 1  # and the one that is being written
        rollouts = sum(stage.steps * stage.num_trained_tokens for stage in stages) * config.logging.save_rollouts
        return RunEstimate(
            stages=stages,
            evaluation_s=evaluation_s,
            evaluations=counts,
            evaluation_extra_s={length: max(0.0, seconds - hidden_s) for length, seconds in evaluation_s.items()},
            checkpoint_s=self.checkpoint_s(),
            checkpoint_write_s=self.checkpoint_write_s(),
            num_checkpoints=num_checkpoints(config),
            num_trainers=self.trainer.layout.world_size,
            num_samplers=self.num_servers * config.rollout.engine.tensor_parallel if self.has_own_devices else 0,
            num_servers=self.num_servers,
            kv_tokens=self.pool().speed.kv_tokens,
            checkpoint_bytes=num_bytes,
            disk_bytes=kept * num_bytes + rollouts * assumed.rollout_token_bytes,
        )

    @property
    def has_own_devices(self) -> bool:
        """Whether the servers have devices that do not train."""
        engine = self.config.rollout.engine
        return engine.placement == "servers" and not engine.share_gpus

    def sandboxes_needed(self) -> int:
        """Sandboxes at once, above which the first stage's batch is bound by sampling alone."""

        def seconds(count: int) -> float:
            return self.batch(0, 0, count).seconds

        most = self.config.rollouts_per_step * 2
        limit = BOUND_BY_SAMPLING * seconds(most)
        low, high = 1, most
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if seconds(middle) <= limit else (middle + 1, high)
        return low
