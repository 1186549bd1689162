"""``ablate COMMAND``, which is ``python -m ablate.COMMAND``. Without a command it lists them."""

from __future__ import annotations

import runpy
import sys

from ablate.nearest import did_you_mean

COMMANDS = {
    "train": ("objective=gspo seed=1", "train one run, or a sweep with -m"),
    "plan": ("experiment=tiny", "every run of a sweep: missing, running, done or failed"),
    "report": ("experiment=tiny", "what was learned, whether it is real, and pages to read every sample"),
    "evaluate": ("checkpoint=RUN", "Pass@k of a checkpoint, a run or a Hugging Face model"),
    "rating": ("samples=FILE contests=FILE", "the CodeElo rating of samples, with an interval"),
    "compare": ("A=FILE B=FILE", "anyone's results, problem by problem"),
    "estimate": ("experiment=NAME device=b200", "seconds, device hours, memory and disk"),
    "laboratory": ("rollouts=DIR checkpoint=DIR", "recorded rollouts under other objectives"),
    "laws": ("laws=NAME", "which laws an objective keeps"),
    "conform": ("FILE.py:function", "which objective your own loss function computes"),
    "replay": ("cases=IN.json out=OUT.json", "advantages, loss and gradients of given rollouts"),
    "verify": ("cases=IN.jsonl out=OUT.jsonl", "programs in the sandbox"),
    "curate": ("source.NAME=DIR out=DIR", "a training and an evaluation set from public data sets"),
    "export": ("checkpoint=RUN out=DIR", "a Hugging Face model with its card"),
    "serve": ("experiment=NAME", "the engine servers of a configuration"),
    "doctor": ("experiment=NAME", "what to run first on a new machine"),
}


def page() -> str:
    width = max(len(f"{name} {words}") for name, (words, _) in COMMANDS.items())
    lines = [f"  {f'{name} {words}':{width}}  {said}" for name, (words, said) in COMMANDS.items()]
    return "\n".join(
        [
            "    ablate train objective=gspo debug=short     the whole path in a minute or two",
            "    ablate report runs=outputs/scratch          a page of what it did",
            "",
            *lines,
            "",
            "Every command explains itself: ablate COMMAND --help. ablate COMMAND is python -m ablate.COMMAND.",
        ]
    )


def main() -> None:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(page())
        return
    command, *rest = words
    if command not in COMMANDS:
        print(
            f"error: {command} is not a command{did_you_mean(command, COMMANDS) or ': ablate lists them'}",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.argv = [f"ablate.{command}", *rest]
    runpy.run_module(f"ablate.{command}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
