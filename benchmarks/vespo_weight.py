"""From which response length on is VESPO's weight 0? Token values of the laboratory, as responses of any length.

    python -m ablate.laboratory rollouts=R/rollouts checkpoint=R moment=during objectives=[vespo] tokens=true
    python benchmarks/vespo_weight.py R/laboratory/tokens/*.parquet

Longer responses are recorded ones put end to end: their log-ratios to the engine add up. That keeps the drift and the
spread of a response, and assumes that its parts are independent.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.parquet as pq

LENGTHS = [round(10 ** (exponent / 10)) for exponent in range(20, 61)]  # tokens, 100 to 1,000,000
SIGNS = {"A >= 0": (2.0, 3.0), "A < 0": (3.0, 2.0)}  # k and lambda of conf/objective/vespo.yaml
ZERO = 1e-6
NUM_DRAWS = 20_000


def weight(log_x: np.ndarray, k: float, rate: float) -> np.ndarray:
    """phi = exp(lambda + k log x - lambda x) (arXiv 2602.10693)."""
    return np.exp(rate + k * log_x - rate * np.exp(np.minimum(log_x, 80.0)))


def half_length(log_x: np.ndarray, num_tokens: np.ndarray, sign: str) -> int | None:
    """The shortest of LENGTHS at which half of the responses have weight 0."""
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        count = max(1, round(length / num_tokens.mean()))
        noise = log_x.std() * np.sqrt(count) * rng.standard_normal(NUM_DRAWS)  # a sum of many responses
        if (weight(count * log_x.mean() + noise, *SIGNS[sign]) < ZERO).mean() >= 0.5:
            return length
    return None


def main(paths: list[str]) -> None:
    print("| responses | mean log-ratio of a token | std, per root of a token | half are 0: A >= 0 | A < 0 |")
    print("|---" * 5 + "|")
    for path in paths:
        table = pq.read_table(path, columns=["logp", "rollout_logp"]).to_pydict()
        log_x = np.array([sum(a) - sum(b) for a, b in zip(table["logp"], table["rollout_logp"], strict=True)])
        num_tokens = np.array([len(row) for row in table["logp"]])
        spread = np.sqrt(((log_x - log_x.mean()) ** 2).sum() / num_tokens.sum())
        halves = [half_length(log_x, num_tokens, sign) for sign in SIGNS]
        words = " | ".join("longer" if half is None else f"{half:,}" for half in halves)
        print(f"| {len(log_x)} | {log_x.sum() / num_tokens.sum():.1e} | {spread:.3f} | {words} |")


if __name__ == "__main__":
    main(sys.argv[1:])
