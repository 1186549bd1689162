"""The shared schedule with the real loop and client, and servers that take as long as the estimate's engines.

The estimate of a part of nouscoder_14b (so many GPUs, and as many problems for each of them) gives the seconds of an
engine's step, of the updates, of sleep and hand-off. Servers and updates sleep as long, divided by the scale. What the
real loop makes of them is compared with the estimate's seconds of a step.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ablate.estimate.estimator import Estimator
from benchmarks.overlap.measure import Schedule, measure
from benchmarks.overlap.servers import batching_servers

NUM_GPUS = 4
NUM_PROMPTS = 5  # 64 for 48 GPUs
SHARED = Schedule("by turns", words=("rollout.engine.share_gpus=true",))


def estimator() -> Estimator:
    """Of the reference run on ``NUM_GPUS`` of its GPUs, with programs as fast as the tiny problems' are here."""
    from ablate.cli import compose
    from ablate.config import parse
    from ablate.estimate.settings import estimate_settings

    words = ["experiment=nouscoder_14b", "objective=dapo", f"parallel.world_size={NUM_GPUS}"]
    config = parse(compose([*words, f"rollout.prompts_per_step={NUM_PROMPTS}", "rollout.max_draws=55"]))
    # What moves tokens between processes and to the disk happens for real; sandboxes are this machine's.
    here = ["verify_s=1", "verify_sigma=0.3", "batch_token_s=0", "record_token_s=0", "step_s=0"]
    return Estimator(
        config, *estimate_settings(["device=b200", *(f"assumptions.{word}" for word in here)]), drops_groups=True
    )


@contextmanager
def setting(scale: float, outputs: Path, model: Path, num_updates: int):
    """The words of ablate.train and the options of one_run."""
    made = estimator()
    step, assumed = made.stage(0).step, made.assumptions
    spec = {
        "speed": asdict(made.pool().speed),
        "max_num_seqs": made.config.rollout.engine.max_num_seqs,
        "lengths": asdict(assumed.lengths),
        "context": made.config.context.stages[0].length,
        "kept_share": assumed.kept_share,
        "switch_s": step.switch,
        "weights_s": step.weights,
        "scale": scale,
    }
    words = [f"model.path={model}", f"rollout.prompts_per_step={NUM_PROMPTS}", "rollout.max_draws=55", "objective=dapo"]
    options = ["--logp-s", str(step.old_logp / scale), "--update-s", str(step.update / num_updates / scale)]
    with batching_servers(NUM_GPUS, model, json.dumps(spec), outputs) as urls:
        yield [*words, f"rollout.engine.max_num_seqs={spec['max_num_seqs']}"], options, urls


def compare(scale: float, steps: int, words: Sequence[str], outputs: Path, model: Path, num_updates: int) -> str:
    """Make the run; return the comparison in one line."""
    expected = estimator().stage(0)
    with setting(scale, outputs, model, num_updates) as (own, options, urls):
        places = ["rollout.engine.placement=servers", f"rollout.engine.urls=[{','.join(urls)}]"]
        all_words = [*words, *own, *places, f"context.steps={steps}"]
        measured = measure(SHARED, all_words, options, outputs)
    seconds, stages = measured.step_s * scale, measured.stages
    return (
        f"by turns on {NUM_GPUS} GPUs, {NUM_PROMPTS} problems: a step takes {seconds:.0f} s, the estimate says "
        f"{expected.step_s:.0f} s ({seconds / expected.step_s - 1:+.1%}); sampling {stages.sampling * scale:.0f} and "
        f"{expected.step.sample:.0f} s, training {stages.training * scale:.0f} and {expected.step.train:.0f} s"
    )
