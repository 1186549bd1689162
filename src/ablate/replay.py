"""Replay: push given rollouts through objectives, without a training run.

    python -m ablate.replay cases=IN.json out=OUT.json   advantages, losses and gradients of a list of cases

    python -m ablate.replay rollouts=RUN/rollouts checkpoint=RUN/checkpoints objectives=[grpo,dapo,gspo,gspo_plus]

is the laboratory. It takes a run's rollouts, recomputes their log-probabilities with the trainer at one checkpoint or
several, and pushes them through every objective and toggle. It writes laboratory.parquet,
laboratory.md and figures into out=DIR (RUN/laboratory).

checkpoint=DIR is a checkpoint, or a run (its best checkpoint, or its newest while none is known to be best), as in
ablate.evaluate and ablate.export; here it may also be RUN/checkpoints (all of them) or a list [A,B].

    moment=after    (the default) each checkpoint meets the whole rollout batch it was just trained on
    moment=during   each checkpoint meets the next batch at its last update; the updates before it are repeated
    steps=[10,20]   use these rollouts instead of those that the moment implies
    tokens=true     also write what each objective does with each token; the run's page of ablate.report then shows it

Every other word is an override: objective.clip_high=0.3 and 'hydra.searchpath=[file://my_conf]' for the objectives; in
the laboratory laboratory.parameter_space=false changes conf/laboratory.yaml, and other sections change the run's own
configuration: parallel.max_tokens_per_micro_batch=4096.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ablate.check_run import objective_with
from ablate.cli import read_words, run_main, searchpath_of
from ablate.errors import UserError

NEEDED = {"cases": {"out"}, "rollouts": {"checkpoint", "objectives"}}
OPTIONAL = {"cases": set(), "rollouts": {"out", "steps", "moment", "tokens"}}
OWN_KEYS = ("cases", "rollouts", "checkpoint", "objectives", "out", "steps", "moment", "tokens")


def main() -> int:
    words = read_words(__doc__, OWN_KEYS)
    own, overrides = words.own, words.overrides
    mode = next((name for name in NEEDED if name in own), None)
    if mode is None:
        raise UserError("replay needs cases= or rollouts=: see python -m ablate.replay --help")
    missing, unknown = sorted(NEEDED[mode] - set(own)), sorted(set(own) - NEEDED[mode] - OPTIONAL[mode] - {mode})
    if missing:
        raise UserError(f"replay {mode}=... also needs {', '.join(f'{key}=' for key in missing)}: see --help")
    if unknown:
        known = ", ".join(sorted({mode} | NEEDED[mode] | OPTIONAL[mode]))
        raise UserError(f"replay {mode}=... does not know {', '.join(unknown)}: use {known}")
    return replay_cases(own, overrides) if mode == "cases" else replay_rollouts(own, overrides)


def replay_cases(own: dict[str, str], overrides: Sequence[str]) -> int:
    from ablate.objectives.laws.cases import replay_file

    num_cases = replay_file(Path(own["cases"]), Path(own["out"]), lambda name: objective_with(name, overrides))
    print(f"{num_cases} cases replayed into {own['out']}")
    return 0


def replay_rollouts(own: dict[str, str], overrides: Sequence[str]) -> int:
    """The laboratory."""
    from ablate.laboratory.command import run_command
    from ablate_analysis.gradient_plots import write_figures

    out, paths = run_command(own, overrides, objective_with, print)
    print(*paths, *write_figures(out, lambda name: objective_with(name, searchpath_of(overrides))["label"]), sep="\n")
    return 0


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
