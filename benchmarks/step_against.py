"""A whole step of this checkout against one of another: python benchmarks/step_against.py OTHER_CHECKOUT

    git worktree add /tmp/before 8ad375d
    python benchmarks/step_against.py /tmp/before --rounds 40

Both sides take the steps of their own benchmarks/step.py (rollouts by vLLM, verdicts by the sandbox, old
log-probabilities, updates, weights to the engine) with the same model, prompts and seeds, in turn, the first of a round
being the second of the next. A round is a pair; quote the median of the pairs' ratios and its interval. CPU seconds are
those of the thread that runs the loop, so other work on the machine moves them less than the wall seconds.

Differences below a few per cent drown in the model's own passes. So each side also times what updates do next to them
(batch, rows, weights, loss and metrics) on batches of the same size, least of many tries, and the last line is the
difference of these in per cent of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from step_peer import one_step

HERE = Path(__file__).resolve().parent
NUM_WARM = 3
RESAMPLES = 2000
TRIES = 10  # a round
STEP, NEXT_TO_MODEL = "CPU s of a step", "CPU s next to the model"
TRAINING = ("old log-probabilities", "update")  # the stages in which an objective acts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the root of the other checkout")
    parser.add_argument("--rounds", type=int, default=20, help=f"measured, after {NUM_WARM} that are not")
    parser.add_argument("--override", nargs="*", default=[], help="configuration, of both sides")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # a child of this command: a directory
    options = parser.parse_args()
    if options.serve:
        return serve(options.other, Path(options.serve), options.override)
    with tempfile.TemporaryDirectory() as scratch:
        before, after = measure(Path(scratch), options)
    print(f"{options.rounds} pairs of steps, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'this / other':<40}{'median':>8}   95 % interval of the median    median s, this and other")
    for name in after[0]:
        print_ratio(name, [row[name] for row in after], [row[name] for row in before])
    least = [min(row[NEXT_TO_MODEL] for row in rows) for rows in (after, before)]
    share = (least[0] - least[1]) / statistics.median(row[STEP] for row in before)
    print(f"{NEXT_TO_MODEL}, least: {least[0]:.5f} and {least[1]:.5f}, a difference of {share:+.2%} of a step")


def measure(scratch: Path, options: argparse.Namespace) -> tuple[list[dict], list[dict]]:
    """(rows of the other checkout, rows of this one), a row per round: seconds by name."""
    roots = {"other": options.other.resolve(), "this": HERE.parent}
    sides = {}
    for side, root in roots.items():
        command = [sys.executable, str(HERE / "step_against.py"), str(root), "--serve", str(scratch / side)]
        (scratch / side).mkdir()
        sides[side] = subprocess.Popen(
            [*command, *(["--override", *options.override] if options.override else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(scratch / f"{side}.log").open("w"),
            text=True,
            env={**os.environ, "PYTHONPATH": str(root / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
    rows: dict[str, list[dict]] = {side: [] for side in sides}
    try:
        for number in range(NUM_WARM + options.rounds):
            for side in list(sides)[:: 1 if number % 2 else -1]:
                rows[side].append(one_step(sides[side], scratch / f"{side}.log"))
    finally:
        for process in sides.values():
            process.stdin.close()
            process.wait(60)
    if [row["tokens"] for row in rows["this"]] != [row["tokens"] for row in rows["other"]]:
        sys.exit("the two sides sampled different responses, so their steps do not pair")
    return tuple([{k: row[k] for k in row if k != "tokens"} for row in rows[side][NUM_WARM:]] for side in roots)


def serve(root: Path, directory: Path, overrides: list[str]) -> None:
    """One side: takes a step of ``root`` for each line of its input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    sys.path.insert(0, str(root / "benchmarks"))
    sys.modules.pop("step", None)  # step_peer has imported this checkout's
    import step

    tokenizer = step.save_random_model(directory, can_end=True)
    config = step.compose(directory, overrides)
    steps = step.open_steps(directory, config, step.prompts_of_equal_length(config, tokenizer))
    next_to_model = timed_bookkeeping(config)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.thread_time()
        clock, num_tokens = next(steps)
        training = [sum(seconds[stage] for stage in TRAINING) for seconds in (clock.cpu_s, clock.wall_s)]
        row = {
            STEP: time.thread_time() - cpu,
            "CPU s of old log-probabilities, update": training[0],
            "wall s of a step": time.perf_counter() - wall,
            "wall s of old log-probabilities, update": training[1],
            NEXT_TO_MODEL: min(next_to_model() for _ in range(TRIES)),
            "tokens": num_tokens,
        }
        answers.write(json.dumps(row) + "\n")
        answers.flush()
    steps.close()


def timed_bookkeeping(config):
    """A function that does all of a batch and its updates but the passes of the model, and returns CPU seconds."""
    import trainer as rollouts  # benchmarks/trainer.py of the side

    from ablate import objectives
    from ablate.objectives import metrics
    from ablate.objectives.batch import select_rows, update_batch
    from ablate.trainer import updates
    from ablate.trainer.batching import make_batch, rows_of_updates

    objective, groups = objectives.build(config.objective), rollouts.rollout_groups()

    def once() -> float:
        start = time.thread_time()
        batch = make_batch(groups, objective)
        rows_of_each = rows_of_updates(batch.num_rows, config.optim.updates_per_batch, seed=0)
        updates.rows_without_own_pass(batch, rows_of_each, objective, for_records=True)
        for rows in rows_of_each:
            part = updates.training_part(batch, rows, objective)
            objective.loss(part.old_logp_BT.clone().requires_grad_(), part).backward()
            metrics.step_metrics(objective, part.old_logp_BT, part)
            whole = update_batch(batch, rows, objective)  # 8ad375d weighs twice; today's train_on does so once
            metrics.row_metrics(whole)
            if hasattr(metrics, "selection_metrics"):
                metrics.selection_metrics(whole, select_rows(batch, rows))
        return time.thread_time() - start

    torch.set_num_threads(1)
    return once


def print_ratio(name: str, mine: list[float], others: list[float]) -> None:
    ratios = [one / other for one, other in zip(mine, others, strict=True)]
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    low, high = medians[RESAMPLES // 40], medians[-RESAMPLES // 40]
    seconds = f"{statistics.median(mine):.3f}, {statistics.median(others):.3f}"
    print(f"{name:<40}{statistics.median(ratios):>8.3f}   {low:.3f} to {high:.3f}{seconds:>30}")


if __name__ == "__main__":
    main()
