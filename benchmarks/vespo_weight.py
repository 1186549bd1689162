"""From which response length on is VESPO's weight 0? Token values of the laboratory, as responses of any length.

    python -m ablate.laboratory rollouts=R/rollouts checkpoint=R/checkpoints objectives=[vespo] steps=[5] tokens=true
    python benchmarks/vespo_weight.py R/laboratory/tokens/step_00005_checkpoint_000006.parquet

Longer responses are recorded ones, drawn at random and put end to end: their log-ratios to the engine add up. That
keeps the drift and the spread of a response, and assumes that its parts are independent.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

LENGTHS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
SIGNS = {"A >= 0": (2.0, 3.0), "A < 0": (3.0, 2.0)}  # k and lambda of conf/objective/vespo.yaml
ZERO = 1e-6
NUM_DRAWS = 4000


def weight(log_x: np.ndarray, k: float, rate: float) -> np.ndarray:
    """phi = exp(lambda + k log x - lambda x) (arXiv 2602.10693)."""
    return np.exp(rate + k * log_x - rate * np.exp(np.minimum(log_x, 80.0)))


def main(path: Path) -> None:
    table = pq.read_table(path, columns=["logp", "rollout_logp"]).to_pydict()
    log_x = np.array([sum(a) - sum(b) for a, b in zip(table["logp"], table["rollout_logp"], strict=True)])
    num_tokens = np.array([len(row) for row in table["logp"]])
    print(f"{len(log_x)} responses; mean log-ratio {log_x.sum() / num_tokens.sum():.2e} nats a token")
    print(
        "| tokens | mean log x | its std | weight 0, A >= 0 | weight 0, A < 0 | beyond 80 nats |\n" + "|---" * 6 + "|"
    )
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        count = round(length / num_tokens.mean())
        total = log_x[rng.integers(0, len(log_x), (NUM_DRAWS, max(count, 1)))].sum(axis=1)
        gone = [f"{np.mean(weight(total, *SIGNS[sign]) < ZERO):.0%}" for sign in SIGNS]
        beyond = f"{np.mean(np.abs(total) > 80):.0%}"
        print(f"| {length:,} | {total.mean():.2f} | {total.std():.2f} | {' | '.join(gone)} | {beyond} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
