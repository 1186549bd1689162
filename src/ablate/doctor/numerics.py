"""A digest of three steps of a small model on this CPU: where it is equal, runs repeat their numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from ablate import objectives
from ablate.cli import compose
from ablate.config import parse
from ablate.doctor.finding import NOT_NEEDED, OK, Finding
from ablate.doctor.small_model import CONTEXT, engine_config, open_trainer, sampled_groups
from ablate.records.provenance import cpu_model, instruction_set
from ablate.rollout.open import open_engine
from ablate.trainer.batching import make_batch

NUM_STEPS = 3
DIGITS = 12
PUBLISHED = Path(__file__).with_name("numerics.json")  # by instruction set: the digest, and where it was found


def numerics(model_dir: Path) -> Finding:
    """Sample, train and hand weights on three times, as the tiny run does on a CPU, and compare the digest."""
    if torch.cuda.is_available():
        return Finding("numerics", NOT_NEEDED, "digests are published for CPUs")
    found, here = digest(model_dir), instruction_set()
    published = json.loads(PUBLISHED.read_text()).get(here)
    says = f"three steps on {cpu_model()}, {here}, have the digest {found}"
    if published is None:
        return Finding(
            "numerics", OK, f"{says}; none was published for this instruction set: numbers repeat where it is equal"
        )
    if found == published["digest"]:
        return Finding("numerics", OK, f"{says}, as published: runs have the numbers of {published['device']}")
    more = f"and not {published['digest']}, that of {published['device']}: compare runs of this machine with each other"
    return Finding("numerics", OK, f"{says} {more}")


def digest(model_dir: Path) -> str:
    """Of the sampled tokens, their log-probabilities and the weights after every step, to the bit."""
    config = parse(compose([]))
    objective, found = objectives.build(config.objective), hashlib.sha256()
    engine = open_engine(model_dir, engine_config(config.rollout.engine), CONTEXT, CONTEXT)
    trainer = open_trainer(config, model_dir)
    for _ in range(NUM_STEPS):
        groups = sampled_groups(engine, config)
        trainer.update(make_batch(groups, objective), objective)
        weights: dict[str, bytes] = {}
        trainer.gather_weights(lambda parts, to=weights: to.update((n, t.detach().numpy().tobytes()) for n, t in parts))
        trainer.gather_weights(engine.load_weights)
        completions = [each for group in groups for each in group.completions]
        found.update(repr([(each.response_ids, each.logp) for each in completions]).encode())
        found.update(b"".join(weights[name] for name in sorted(weights)))
    return found.hexdigest()[:DIGITS]
