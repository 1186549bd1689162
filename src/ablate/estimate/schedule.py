"""Which steps, evaluations and checkpoints a run makes: the rules of the loop and the session, counted."""

from __future__ import annotations

from collections.abc import Iterator

from ablate.config import RunConfig
from ablate.config.schedule import due_contexts, saves_checkpoint


def steps_of(config: RunConfig) -> Iterator[tuple[int, int, bool]]:
    """Every step that the run makes itself, its stage, and whether it is the last one there; a fork begins later."""
    step = 0
    for number, stage in enumerate(config.context.stages):
        for index in range(1, stage.steps + 1):
            step += 1
            if step > (config.fork.step or 0):
                yield step, number, index == stage.steps


def num_steps(config: RunConfig, stage: int) -> int:
    """Steps that the run makes itself in one context stage."""
    return sum(number == stage for _, number, _ in steps_of(config))


def num_evaluations(config: RunConfig) -> dict[int, int]:
    """Evaluations of a run by context. The selected checkpoint is evaluated last, where it was not yet."""
    lengths = [each.length for each in config.eval.contexts]
    counts = dict.fromkeys(lengths, int(config.eval.at_start and not config.fork.step))
    for step, _, is_last in steps_of(config):
        for length in due_contexts(config.eval, step, is_last):
            counts[length] += 1
    if config.eval.every > 0 and config.checkpoint.keep_best:  # the selected step is seldom a stage's last step
        for each in config.eval.contexts:
            counts[each.length] += each.every == 0
    return counts


def num_checkpoints(config: RunConfig) -> int:
    """Checkpoints of a run, without those of steps that become the best."""
    return sum(is_last or saves_checkpoint(config.checkpoint, step) for step, _, is_last in steps_of(config))
