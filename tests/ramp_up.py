"""The commands of docs/cluster.md, "From a new machine to 48 GPUs", for the tests that execute them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
SECTION = re.compile(r"^## From a new machine to 48 GPUs.*?(?=^## )", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
IN_A_SENTENCE = re.compile(r"`(slurm/submit\.sh [^`]+)`")
PYTHON = ".venv/bin/python -m"
EXECUTED = (  # each is the beginning of one command, which a test executes; the GPU forms as dry runs
    f"{PYTHON} ablate.doctor",  # tests/doctor
    f"{PYTHON} ablate.verify",  # tests/verify/test_judge_cases.py
    f"{PYTHON} ablate.estimate",  # tests/estimate/test_estimates.py
    "slurm/submit.sh --doctor",  # this and what follows: tests/slurm/test_dry_run.py
    "export",
    "slurm/onenode.sbatch",
    "slurm/submit.sh --onenode",
    "slurm/submit.sh experiment=main",
    "slurm/submit.sh --multinode",
    f"{PYTHON} pytest -m gpu",  # only where there is a GPU
)


def commands() -> list[list[str]]:
    """The words of every command of the section."""
    (section,) = SECTION.findall(PAGE.read_text())
    lines = "".join(BLOCK.findall(section)).replace("\\\n", " ").splitlines() + IN_A_SENTENCE.findall(section)
    return [shlex.split(line, comments=True) for line in lines]


def words_after(beginning: str) -> list[str]:
    """The words that follow this beginning in the one command that has it."""
    (words,) = (words for words in commands() if " ".join(words).startswith(beginning))
    return words[len(beginning.split()) :]
