"""Which evaluations and checkpoints a run makes: the rules of ``ablate.loop`` and ``ablate.session``, counted."""

from __future__ import annotations

from ablate.config import RunConfig
from ablate.config.schedule import due_contexts, is_due


def num_evaluations(config: RunConfig) -> dict[int, int]:
    """Evaluations of a run by context. The selected checkpoint is evaluated last, where it was not yet."""
    lengths = [each.length for each in config.eval.contexts]
    counts = dict.fromkeys(lengths, int(config.eval.at_start))
    step = 0
    for stage in config.context.stages:
        for index in range(1, stage.steps + 1):
            for length in due_contexts(config.eval, step + index, index == stage.steps):
                counts[length] += 1
        step += stage.steps
    for each in config.eval.contexts:
        if each.every == 0 and config.eval.every > 0:  # the selected step is seldom a stage's last step
            counts[each.length] += 1
    return counts


def num_checkpoints(config: RunConfig) -> int:
    """Checkpoints of a run, without those of steps that become the best."""
    every, step, count = config.checkpoint.every, 0, 0
    for stage in config.context.stages:
        count += sum(index == stage.steps or is_due(every, step + index) for index in range(1, stage.steps + 1))
        step += stage.steps
    return count
