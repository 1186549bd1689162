"""Compare results of any models, trainers and benchmarks, problem by problem.

    python -m ablate.compare base=base_eval_all.json tuned=tuned_eval_all.json out=comparison
    python -m ablate.compare A=run_a.csv B=run_b.csv columns.problem=task columns.passed=ok
    python -m ablate.compare A=outputs/tiny/grpo B=outputs/tiny/dapo context=320
    python -m ablate.compare A=a.csv B=b.csv curves=eval/score axis=steps

NAME=PATH[,PATH]  an arm: files of LiveCodeBench, EvalPlus, lm-eval, lighteval, Inspect, verl, TRL, verifiers, prime-rl,
                  runs of ablate, or CSV, JSON lines and parquet; docs/compare.md lists what is read of each
out=DIR           also write compare.html, compare.md and a CSV for each table
baseline=NAME     compare with this arm (default: the first); pairs=all compares every two
runs_are=seeds|samples   what several files of one arm are
format= metric= filter= task= model= step= context=   which of several; metric.NAME= and the like for one arm
columns.problem= columns.passed= columns.sample= columns.seed= columns.finished= columns.tokens= columns.cluster=
pass_at_least=X   scores from X on count as passed     samples=first:N  keep the first N samples of a problem
effect=0.02       a difference of interest, for what it would take     hours_per_run=H  for its cost
confidence=0.95   power=0.8     curves=METRIC axis=steps|tokens|hours|COLUMN start=R0 from=X   fits learning curves
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ablate.cli import help_page, stop
from ablate.errors import UserError


def main(words: Sequence[str] | None = None) -> None:
    """Read, compare, print, and write where ``out`` says so; a mistake of the user is one sentence and exit code 2."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or {"-h", "--help"} & set(words):
        print(help_page(__doc__))
        return
    from ablate_analysis.results.command import document_of

    try:
        document, out = document_of(words)
        print(document.text(), end="")
        if out is not None:
            written = document.write(out)
            print(f"\nwritten: {written[0]} (open it in a browser) and {len(written) - 1} more files next to it")
    except UserError as error:
        stop(str(error))
    except OSError as error:
        stop(f"{error.filename}: {(error.strerror or 'cannot be read').lower()}: name a file that can be used")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
