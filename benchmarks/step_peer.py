"""Seconds per RL step, ours and TRL's GRPOTrainer's, step by step in turn on the same machine.

    python3.11 -m venv SCRATCH
    SCRATCH/bin/pip install torch==2.13.0 omegaconf
    SCRATCH/bin/pip install trl==1.16.0
    python benchmarks/step_peer.py SCRATCH/bin/python

TRL needs a newer transformers than vLLM allows, so it has an environment of its own; nothing of it enters ours. Both
have two threads, the same model, prompts, batch (8 prompts x 8 samples x 128 tokens), sampling and learning rate, and
our sandbox with the same programs and two workers; TRL samples with transformers, and calls the sandbox as its reward
function. Quote the ratio: absolute seconds depend on the other work of the machine.

--lengths equal    every response has 128 tokens
--lengths natural  a response may end earlier (the end of sequence is one of 104 tokens)
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import step

HERE = Path(__file__).resolve().parent
NUM_THREADS = 2
NUM_WARM = 2
LEARNING_RATE = 1e-9  # the optimizer does all its work, and both sides go on to sample the same lengths
OURS, PEER = "ours", "TRL"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="the interpreter of TRL's environment")
    parser.add_argument("--rounds", type=int, default=9, help=f"measured, after {NUM_WARM} that are not")
    parser.add_argument("--lengths", choices=["equal", "natural"], nargs="*", default=["equal", "natural"])
    parser.add_argument("--override", nargs="*", default=[], help="of our configuration")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # a child of this command, which takes our steps
    options = parser.parse_args()
    if options.serve:
        return serve(Path(options.serve))
    for lengths in options.lengths:
        with tempfile.TemporaryDirectory() as scratch:
            prepare(Path(scratch), lengths, options.override)
            print_rounds(lengths, measure(Path(scratch), options))


def prepare(directory: Path, lengths: str, overrides: list[str]) -> None:
    """Save the model, and what both sides are given."""
    model_dir = directory / "model"
    tokenizer = step.save_random_model(model_dir, can_end=lengths == "natural")
    mine = [f"parallel.num_threads={NUM_THREADS}", f"rollout.engine.num_threads={NUM_THREADS}"]
    mine.append(f"optim.lr={LEARNING_RATE}")
    config = step.compose(model_dir, [*mine, *overrides])
    tasks = step.prompts_of_equal_length(config, tokenizer)
    given = {
        "config": config,
        "tasks": tasks,
        "problems": [problem for problem, _ in tasks],
        "prompts": [tokenizer.decode(prompt.token_ids) for _, prompt in tasks],
        "prompt_ids": [list(prompt.token_ids) for _, prompt in tasks],
        "can_end": lengths == "natural",
        "num_samples": step.NUM_SAMPLES,
        "num_response_tokens": step.NUM_RESPONSE_TOKENS,
        "temperature": config.rollout.temperature,
        "top_p": config.rollout.top_p,
        "learning_rate": config.optim.lr,
        "verify": config.verify,
        "wrong_program": step.WRONG_PROGRAM,
        "num_threads": NUM_THREADS,
    }
    (directory / "given.pickle").write_bytes(pickle.dumps(given))


def measure(directory: Path, options: argparse.Namespace) -> dict[str, list[dict]]:
    """Let both sides take steps in turn, the first of a round being the second of the next."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "src"), "HF_HUB_OFFLINE": "1"}
    commands = {
        OURS: [sys.executable, str(HERE / "step_peer.py"), "unused", "--serve", str(directory)],
        PEER: [options.peer, str(HERE / "step_peer_trl.py"), str(directory)],
    }
    threads = {OURS: "1", PEER: str(NUM_THREADS)}  # ours sets its threads itself, see ablate.cli
    sides = {
        side: subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(directory / f"{side}.log").open("w"),
            text=True,
            env={**environment, "OMP_NUM_THREADS": threads[side]},
        )
        for side, command in commands.items()
    }
    rows: dict[str, list[dict]] = {side: [] for side in sides}
    try:
        for number in range(NUM_WARM + options.rounds):
            for side in list(sides)[:: 1 if number % 2 else -1]:
                rows[side].append(one_step(sides[side], directory / f"{side}.log"))
    finally:
        for process in sides.values():
            process.stdin.close()
            process.wait(60)
    return {side: kept[NUM_WARM:] for side, kept in rows.items()}


def one_step(process: subprocess.Popen, log: Path) -> dict:
    process.stdin.write("step\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"one side ended:\n{log.read_text()[-3000:]}")
    return json.loads(answer)


def serve(directory: Path) -> None:
    """Our side: takes a step for each line of its input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    given = pickle.loads((directory / "given.pickle").read_bytes())
    steps = step.open_steps(directory / "model", given["config"], given["tasks"])
    for _ in sys.stdin:
        clock, num_tokens = next(steps)
        row = {"wall_s": clock.wall_s, "step_s": sum(clock.wall_s.values()), "tokens": num_tokens}
        answers.write(json.dumps(row) + "\n")
        answers.flush()
    steps.close()


def print_rounds(lengths: str, rows: dict[str, list[dict]]) -> None:
    tokens = {side: statistics.mean(row["tokens"] for row in rows[side]) for side in rows}
    print(f"\n{lengths} lengths; response tokens a step: {', '.join(f'{side} {tokens[side]:.0f}' for side in rows)}")
    print(f"{'median s':<24}{OURS:>10}{PEER:>10}")
    stages = list(dict.fromkeys(stage for side in rows for stage in rows[side][0]["wall_s"]))
    for stage in stages:
        print(f"{stage:<24}{middle(rows[OURS], stage):>10}{middle(rows[PEER], stage):>10}")
    steps = {side: [row["step_s"] for row in rows[side]] for side in rows}
    print(f"{'step':<24}{statistics.median(steps[OURS]):>10.3f}{statistics.median(steps[PEER]):>10.3f}")
    ratios = [ours / peer for ours, peer in zip(steps[OURS], steps[PEER], strict=True)]
    print(
        f"ours / TRL, round by round: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def middle(rows: list[dict], stage: str) -> str:
    if stage not in rows[0]["wall_s"]:
        return "-"
    return f"{statistics.median(row['wall_s'][stage] for row in rows):.3f}"


if __name__ == "__main__":
    main()
