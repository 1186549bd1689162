"""Seconds per RL step, by stage: python benchmarks/step.py

8 prompts x 8 samples x 128 response tokens on a Qwen3 of 0.7M random parameters: sampled by vLLM, verified in the real
sandbox, trained by Megatron-Core; every part as a run has it. Random weights write no programs, so the verifier is
given the problem's reference (every second sample) or a wrong program in place of what was sampled.

--lengths equal    every response has 128 tokens
--lengths natural  a response may end earlier (the end of sequence is one of 104 tokens)

benchmarks/step_peer.py compares these steps with TRL's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, cycle, islice
from pathlib import Path

import torch

CONF_DIR = str(Path(__file__).resolve().parents[1] / "conf")
NUM_PROMPTS, NUM_SAMPLES, NUM_RESPONSE_TOKENS = 8, 8, 128
WRONG_PROGRAM = "print(input() * 7)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=7, help="measured, after 2 that are not")
    parser.add_argument("--lengths", choices=["equal", "natural"], default="equal")
    parser.add_argument("--override", nargs="*", default=[], help="configuration, such as parallel.num_threads=2")
    parser.add_argument("--json", help="also write the measurements to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model_dir = Path(scratch)
        tokenizer = save_random_model(model_dir, can_end=options.lengths == "natural")
        config = compose(model_dir, options.override)
        steps = open_steps(model_dir, config, prompts_of_equal_length(config, tokenizer))
        measured = list(islice(steps, options.steps + 2))[2:]
        steps.close()
    clocks, tokens = [clock for clock, _ in measured], [num_tokens for _, num_tokens in measured]
    print_table(clocks, tokens, options.lengths)
    if options.json:
        steps = [{"wall_s": clock.wall_s, "cpu_s": clock.cpu_s} for clock in clocks]
        Path(options.json).write_text(json.dumps({"steps": steps, "tokens": tokens, "lengths": options.lengths}))


def prompts_of_equal_length(config, tokenizer) -> list[tuple]:
    """The first problems, each with its prompt, all cut to the length of the shortest."""
    from ablate.data.problems import load_problems
    from ablate.data.prompts import make_prompts
    from ablate.data.templates import make_templates

    problems = load_problems(config.data.train)[:NUM_PROMPTS]
    prompts = make_prompts(problems, tokenizer, make_templates(config.data))
    length = min(len(prompt.token_ids) for prompt in prompts)
    prompts = [replace(prompt, token_ids=prompt.token_ids[:length]) for prompt in prompts]
    return list(zip(problems, prompts, strict=True))


def open_steps(model_dir: Path, config, tasks: list[tuple]) -> Iterator[tuple[Clock, int]]:
    """Take one step after the other; yields the clock of each, and its number of response tokens."""
    from ablate import objectives
    from ablate.rollout.open import open_engine
    from ablate.trainer.trainer import Trainer
    from ablate.verify.verifier import open_verifier

    length = len(tasks[0][1].token_ids) + NUM_RESPONSE_TOKENS
    trainer = Trainer(
        model_dir,
        config.model,
        config.parallel,
        config.optim,
        context_length=length,
        total_updates=100,
        temperature=config.rollout.temperature,
    )
    engine = open_engine(model_dir, config.rollout.engine, length, length)
    objective = objectives.build(config.objective)
    with open_verifier(config.verify) as opened:
        verifier = EverySecondRight(opened)
        for step in count():
            clock = Clock()
            yield clock, one_step(clock, config, engine, verifier, tasks, trainer, objective, length, step)


def one_step(clock, config, engine, verifier, tasks, trainer, objective, length: int, step: int) -> int:
    """One step as in ablate.loop; returns how many response tokens it trained on."""
    from ablate.rollout.collect import collect_groups
    from ablate.rollout.draws import Conditions
    from ablate.rollout.in_flight import Sampler
    from ablate.trainer.batching import make_batch, rows_of_updates
    from ablate.trainer.updates import rows_without_own_pass, train_on, with_old_policy

    timed_engine = TimedEngine(engine, clock)
    with clock("rollout"):
        groups, _ = collect_groups(
            Sampler(timed_engine, verifier, decode=str),
            Conditions(length, config.rollout.temperature, config.rollout.top_p, config.rollout.infrastructure_retries),
            cycle(tasks),
            config=config.rollout,
            keeps=lambda rewards: True,
            seed=0,
            step=step,
        )
    # what the sandbox adds after the last token: all else of it went on while others were sampled
    for seconds in (clock.wall_s, clock.cpu_s):
        seconds["verify (tail)"] = seconds.pop("rollout") - seconds["generate"]
    batch = make_batch(groups, objective)
    rows_of_each = rows_of_updates(batch.num_rows, config.optim.updates_per_batch, seed=step)
    with clock("old log-probabilities"):
        rows = rows_without_own_pass(batch, rows_of_each, objective, for_records=True)
        batch = with_old_policy(trainer, batch, rows, objective)
    with clock("update"):
        train_on(trainer, batch, rows_of_each, objective, is_on_policy=True)
    with clock("weights to engine"):
        trainer.gather_weights(engine.load_weights)
    return int(batch.mask_BT.sum())


class Clock:
    """Seconds by stage, of the wall and of this thread's processor time: ``with clock("update"): ...``."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.wall_s[stage] = time.perf_counter() - wall
        self.cpu_s[stage] = time.thread_time() - cpu


class TimedEngine:
    """Times ``sample`` as the stage "generate"."""

    def __init__(self, engine, clock: Clock) -> None:
        self.engine, self.clock = engine, clock

    def sample(self, requests, on_finish, steer) -> None:
        with self.clock("generate"):
            self.engine.sample(requests, on_finish, steer)


class EverySecondRight:
    """Hands the verifier a wrong program and the reference in turn, whatever was sampled."""

    def __init__(self, verifier) -> None:
        self.verifier = verifier
        self.num_asked = 0

    def submit_answer(self, problem, text: str) -> Future:
        self.num_asked += 1
        return self.verifier.submit(problem, problem.reference if self.num_asked % 2 else WRONG_PROGRAM)


def save_random_model(directory: Path, *, can_end: bool):
    """A Qwen3 of 0.71M parameters and the tiny tokenizer; unless it ``can_end``, no token ends a response."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from ablate.data.tokenizer import character_tokenizer

    tokenizer = character_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=480,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=[tokenizer.eos_token_id] if can_end else [],
        dtype="float32",
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return tokenizer


def compose(model_dir: Path, overrides: list[str]):
    """The tiny run's configuration with one optimizer step a batch, like the peer's."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from ablate.config import parse

    sizes = [f"rollout.prompts_per_step={NUM_PROMPTS}", f"rollout.samples_per_prompt={NUM_SAMPLES}"]
    mine = [f"model.path={model_dir}", "model.original_context=512", "optim.updates_per_batch=1", *sizes]
    mine.append("verify.cache=false")  # every program is run; training itself remembers verdicts
    mine.append("objective.overlong=train")  # every response is trained on, also one that was cut
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        return parse(hydra_compose("train", [*mine, *overrides]))


def print_table(clocks: list[Clock], tokens: list[int], lengths: str) -> None:
    num_tokens, load = statistics.mean(tokens), os.getloadavg()[0]
    print(f"{NUM_PROMPTS} prompts x {NUM_SAMPLES} samples, {lengths} lengths, {num_tokens:.0f} response tokens a step")
    print(f"{'stage':<24}{'median s':>10}{'least s':>10}{'least CPU s':>14}")
    for stage in clocks[0].wall_s:
        print_row(stage, [clock.wall_s[stage] for clock in clocks], [clock.cpu_s[stage] for clock in clocks])
    print_row("step", [sum(clock.wall_s.values()) for clock in clocks], [sum(clock.cpu_s.values()) for clock in clocks])
    print(f"CPU: of the thread that runs the loop. Load average {load:.1f} on {os.cpu_count()} cores.")


def print_row(stage: str, wall_s: list[float], cpu_s: list[float]) -> None:
    print(f"{stage:<24}{statistics.median(wall_s):>10.3f}{min(wall_s):>10.3f}{min(cpu_s):>14.3f}")


if __name__ == "__main__":
    main()
