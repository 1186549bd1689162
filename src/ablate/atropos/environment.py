"""Our problems, sampling and verifier as an Atropos environment: it posts groups to run-api until the run is over.

The engine starts from the model of the configuration. Before each batch it takes the newest checkpoint that the trainer
has written, if the server names a directory that this process sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.atropos.api import Api
from ablate.atropos.scored import to_scored

if TYPE_CHECKING:
    from ablate.config import RunConfig
    from ablate.sampling import Sampling

PAUSE_S = 0.5  # while the trainer has not registered, or the queue is full


class Environment:
    """One environment process."""

    def __init__(self, config: RunConfig, sampling: Sampling, model_dir: Path, say: Callable[[str], None]) -> None:
        self.config, self.sampling, self.model_dir, self.say = config, sampling, model_dir, say
        self.api = Api(config.rollout.atropos.url)
        self.answer: dict[str, Any] = {}  # to our registration
        self.weights: Path | None = None

    def register(self) -> None:
        """Wait for a trainer, and register."""
        rollout = self.config.rollout
        body = {
            "max_token_length": self.config.context.longest,
            "desired_name": f"ablate-{self.config.data.name}",
            "weight": 1.0,
            "group_size": rollout.samples_per_prompt,
        }
        while (answer := self.api.call("POST", "/register-env", body))["status"] != "success":
            time.sleep(PAUSE_S)
        self.answer = answer

    def serve(self) -> None:
        """Post batches until the trainer has taken its last one."""
        self.register()
        state, number = None, self.answer["starting_step"] + 1
        while not self.is_over():
            if self.is_far_enough_ahead():
                time.sleep(PAUSE_S)
                continue
            state = self.post_batch(state, number)
            number += 1

    def post_batch(self, state: dict[str, Any] | None, number: int) -> dict[str, Any]:
        """Sample, verify and post the groups of one step; the seeds are those of a run that samples by itself."""
        config = self.config
        length = context_at(config, number)
        self.use_newest_weights(length)
        batch = self.sampling.collect(state, number, length)
        scored = [to_scored(group, config.rollout.temperature) for group in batch.groups]
        self.api.call("POST", "/scored_data_list", [each | {"env_id": self.answer["env_id"]} for each in scored])
        self.say(f"batch {number}: {len(scored)} groups posted")
        return batch.problem_order

    def is_over(self) -> bool:
        return self.api.call("GET", "/status")["current_step"] >= self.answer["num_steps"]

    def is_far_enough_ahead(self) -> bool:
        limit = self.config.rollout.atropos.max_batches_ahead * self.config.rollout.prompts_per_step
        return self.api.call("GET", "/status")["queue_size"] >= limit

    def use_newest_weights(self, context_length: int) -> None:
        from ablate.trainer.checkpoint.directory import COMPLETE, newest_first, step_of
        from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors

        root = Path(self.answer["checkpoint_dir"])
        newest = next((root / name for name in newest_first(root) if (root / name / COMPLETE).is_file()), None)
        if newest is not None and newest != self.weights:
            tensors = checkpoint_tensors(newest, self.model_dir, self.config.parallel, context_length)
            self.sampling.load_weights(context_length, (0, step_of(newest.name)), list(tensors))
            self.weights = newest
            self.say(f"weights of {newest.name}")


def context_at(config: RunConfig, step: int) -> int:
    """The context of the stage that ``step`` belongs to; the last stage's context after the final step."""
    last = 0
    for stage in config.context.stages:
        last += stage.steps
        if step <= last:
            return stage.length
    return config.context.stages[-1].length
