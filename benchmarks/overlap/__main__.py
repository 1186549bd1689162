"""Seconds of a step when its stages follow one another, and when they overlap: python -m benchmarks.overlap MODE

real       the tiny run, with a child engine or with two vLLM servers on this machine's cores. Nothing else may run.
simulated  the real loop, collector, client and verifier, with 4 servers and updates that sleep as long as they would
           take on 48 B200s, divided by --scale: 345 s for the longest response, 40 s for old log-probabilities and
           165 s for the updates (estimates). Every program really runs.
by_turns   the real loop, client and verifier with servers on the trainer's GPUs (rollout.engine.share_gpus): servers,
           updates, sleep and hand-off last as long as the estimate of nouscoder_14b says for four of its GPUs, divided
           by --scale. Its step is compared with the estimate's.

Each schedule is a run of its own:

one after the other  a batch is sampled, then verified, then trained on
lag 0                a response is verified while others are sampled; then the batch is trained on
lag 1                in addition, the next batch is sampled and verified while the trainer works
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ablate_analysis.overlap import hidden
from benchmarks.overlap import turns
from benchmarks.overlap.measure import SCHEDULES, Measured, longest_stage, measure, table
from benchmarks.overlap.servers import sleeping_servers, vllm_servers

# Seconds of a step of nouscoder_14b on 48 B200s: estimates.
LONGEST_RESPONSE_S, OLD_LOGP_S, UPDATES_S = 345.0, 40.0, 165.0
NUM_UPDATES = 2
TINY = (
    *("experiment=tiny", "setting=arithmetic", "objective=grpo", "seed=0", "eval.at_start=false", "eval.at_end=false"),
    *("eval.contexts=[{length:160,every:0}]", f"optim.updates_per_batch={NUM_UPDATES}", "checkpoint.every=0"),
    *("logging.display=plain", "logging.wandb=disabled"),
    "verify.cache=false",  # every schedule runs every program
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("real", "simulated", "by_turns"))
    parser.add_argument("--engine", choices=("child", "servers"), default="child", help="of a real run")
    parser.add_argument("--steps", type=int, default=12, help="of each run; the first two warm up")
    parser.add_argument("--scale", type=float, default=60.0, help="of a simulation")
    names = [schedule.name for schedule in SCHEDULES]
    parser.add_argument("--schedules", nargs="*", choices=names, default=names)
    parser.add_argument("--out", type=Path, help="keep the runs here; default: a temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        outputs = options.out or Path(scratch)
        outputs.mkdir(parents=True, exist_ok=True)
        if options.mode == "by_turns":
            print(turns.compare(options.scale, options.steps, TINY, outputs.resolve(), tiny_model(), NUM_UPDATES))
            return
        setting = simulated(options.scale, outputs) if options.mode == "simulated" else real(options.engine, outputs)
        rows: dict[str, Measured] = {}
        with setting as (words, one_run_options):
            for schedule in SCHEDULES:
                if schedule.name in options.schedules:
                    all_words = [*TINY, *words, f"context.steps={options.steps}"]
                    rows[schedule.name] = measure(schedule, all_words, one_run_options, outputs)
    print_result(rows)


@contextmanager
def real(engine: str, outputs: Path) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """The words of ablate.train and the options of one_run for a run with a real engine."""
    if engine == "child":
        yield ["rollout.engine.placement=child"], []
        return
    with vllm_servers(2, [*TINY, f"model.path={tiny_model()}", "rollout.engine.kv_cache_gib=0.25"], outputs) as urls:
        yield [*at(urls), f"model.path={tiny_model()}"], []


@contextmanager
def simulated(scale: float, outputs: Path) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """The words of ablate.train and the options of one_run for a run in which engine and updates sleep."""
    words = [f"model.path={tiny_model()}", "rollout.engine.max_num_seqs=16"]  # 64 responses on 4 servers
    words += ["rollout.engine.weight_transfer=file", f"rollout.engine.weights_dir={outputs}"]
    options = ["--logp-s", str(OLD_LOGP_S / scale), "--update-s", str(UPDATES_S / NUM_UPDATES / scale)]
    with sleeping_servers(4, tiny_model(), LONGEST_RESPONSE_S / scale, outputs) as urls:
        yield [*at(urls), *words], options


def at(urls: Sequence[str]) -> list[str]:
    return ["rollout.engine.placement=servers", f"rollout.engine.urls=[{','.join(urls)}]"]


def tiny_model() -> Path:
    from ablate.cli import compose
    from ablate.config import parse
    from ablate.warm_start import ensure_model

    return ensure_model(parse(compose([])))


def print_result(rows: dict[str, Measured]) -> None:
    num_cores = os.cpu_count() or 1
    print(table(rows, num_cores))
    print(f"\nMeans over the steps after the first two. Load average {os.getloadavg()[0]:.1f} on {num_cores} cores.")
    if "lag 1" in rows:
        row = rows["lag 1"]
        longest = longest_stage(row.stages)
        print(f"lag 1: a step takes {row.step_s / longest:.2f} x its longest stage ({longest:.3f} s).")
        share = hidden(row.stages.verification_exposed, row.stages.verification)
        print(f"lag 1: {share:.1%} of verification is hidden.")


if __name__ == "__main__":
    main()
