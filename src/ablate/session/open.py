"""Open everything that one run needs: records, trainer, and the leader's sampling side.

A process that runs several cells (a sweep) keeps its engines, trainer and verifier.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import yaml

from ablate import objectives
from ablate.collector import open_collector
from ablate.config import RunConfig
from ablate.display import Display, SweepClock, open_display
from ablate.process.preemption import Preempted, noted_signals
from ablate.records import RunDirectory
from ablate.rollout.open import open_engine
from ablate.rollout.weights.shared import SharedHandOff
from ablate.sampling import open_sampling
from ablate.session.fork import parent_config
from ablate.session.session import Session
from ablate.tracking import Mirror, open_mirror
from ablate.trainer.open import open_trainer
from ablate.trainer.parallel.failure import ending_together
from ablate.verify.shared import shared_verifier
from ablate.warm_start import ensure_model

MIB = 1024**2


@contextmanager
def open_session(
    config: RunConfig, config_yaml: str, run: RunDirectory, is_leader: bool, sweep: SweepClock | None = None
) -> Iterator[Session]:
    """Open the parts of a run and close what is not kept for the next cell of the process."""
    objective = objectives.build(config.objective)  # first, so that a mistake is reported before anything slow
    num_steps, lag = config.context.num_steps, config.rollout.lag
    with ExitStack() as stack:
        received_signals = stack.enter_context(noted_signals())
        mirror, display = Mirror(), Display()
        if is_leader:  # before anything slow: W&B may refuse, and every wait is shown
            mirror = open_mirror(config.logging, run.path, yaml.safe_load(config_yaml))
            stack.callback(mirror.close)
            display = open_display(config.logging.display, f"{config.cell} seed {config.seed}", num_steps, sweep)
            stack.callback(display.close)
            display.wait("loading the model and the problems")
        verifier = shared_verifier(config.verify) if is_leader and not lag else None
        model_dir = ensure_model(config)
        scheduled = parent_config(config)
        num_updates = scheduled.context.num_steps * scheduled.optim.updates_per_batch
        engine = config.rollout.engine
        if is_leader and engine.share_gpus:  # before the trainer needs the memory
            contexts = config.context.longest, config.model.original_context, config.longest_context
            open_engine(model_dir, engine, *contexts).sleep()
        trainer = open_trainer(config, model_dir, num_updates)
        stack.callback(trainer.checkpoints.discard_save)
        stack.enter_context(ending_together(trainer.world.watch, Preempted))
        sampling = None
        if is_leader and lag:
            sampling = stack.enter_context(open_collector(config, model_dir, run.path))
        elif is_leader:
            sampling = open_sampling(config, model_dir, verifier, run.trace)
        if is_leader and config.rollout.groups_from == "atropos":
            from ablate.atropos.source import taking_from_api

            sampling = taking_from_api(sampling, run.path)
        world, shared = trainer.world, None
        if engine.share_gpus:
            by_file = engine.weight_transfer == "file"
            shared = SharedHandOff(engine.bucket_mib * MIB, world.gathered, world.rank, by_file=by_file)
        session = Session(config, run, objective, trainer, sampling, display, mirror, received_signals, shared)
        stack.callback(session.writer.shutdown)
        yield session
        trainer.checkpoints.finish_save()
