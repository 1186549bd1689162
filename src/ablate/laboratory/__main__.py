"""``python -m ablate.laboratory``: recorded rollouts under other objectives, without a training run.

    python -m ablate.laboratory rollouts=RUN/rollouts checkpoint=RUN/checkpoints objectives=[grpo,dapo,gspo,gspo_plus]

takes a run's rollouts, recomputes their log-probabilities with the trainer at one checkpoint or several, and pushes
them through every objective and toggle. It writes laboratory.parquet, laboratory.md and figures into out=DIR
(RUN/laboratory).

checkpoint=DIR is a checkpoint, or a run (its best checkpoint, or its newest while none is known to be best), as in
ablate.evaluate and ablate.export; here it may also be RUN/checkpoints (all of them) or a list [A,B].

    moment=after    (the default) each checkpoint meets the whole rollout batch it was just trained on
    moment=during   each checkpoint meets the next batch at its last update; the updates before it are repeated
    steps=[10,20]   use these rollouts instead of those that the moment implies
    tokens=true     also write what each objective does with each token; the run's page of ablate.report then shows it

Every other word is an override: objective.clip_high=0.3 and 'hydra.searchpath=[file://my_conf]' for the objectives,
laboratory.parameter_space=false for conf/laboratory.yaml; other sections change the run's own configuration:
parallel.max_tokens_per_micro_batch=4096.
"""

from __future__ import annotations

from ablate.check_run import objective_with
from ablate.cli import read_words, run_main, searchpath_of

NEEDED = ("rollouts", "checkpoint", "objectives")


def main() -> None:
    words = read_words(__doc__, (*NEEDED, "out", "steps", "moment", "tokens"), required=NEEDED)
    from ablate.laboratory.command import run_command
    from ablate_analysis.gradient_plots import write_figures
    from ablate_analysis.laboratory_tables import markdown

    out, paths = run_command(words.own, words.overrides, objective_with, print, markdown)
    path = searchpath_of(words.overrides)
    print(*paths, *write_figures(out, lambda name: objective_with(name, path)["label"]), sep="\n")


if __name__ == "__main__":
    run_main(main)
