"""docs/adding_an_objective.md works as it is written: its files are made and its commands are run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "adding_an_objective.md"
FILE = re.compile(r"^`(?P<path>[\w./]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```bash\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("walkthrough")
    for match in FILE.finditer(PAGE.read_text()):
        path = directory / match["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["text"])
    return directory


def run(folder, command):
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def commands():
    return [line for match in COMMANDS.finditer(PAGE.read_text()) for line in match["text"].splitlines()]


def test_the_page_makes_an_objective_with_one_file_and_a_part_with_one_function(folder):
    files = sorted(str(path.relative_to(folder / "my_objectives")) for path in (folder / "my_objectives").rglob("*.*"))
    assert files == ["ipo.py", "objective/ipo.yaml", "objective/sequence_dapo.yaml"]
    assert len((folder / "my_objectives/ipo.py").read_text().splitlines()) == 4
    assert len((folder / "my_objectives/objective/ipo.yaml").read_text().splitlines()) == 6
    assert len(commands()) == 4


@pytest.mark.parametrize("command", [command for command in commands() if "ablate.laws" in command])
def test_every_law_that_the_page_checks_holds(folder, command):
    result = run(folder, command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 broken, of " in result.stdout
    assert ("weaker: surrogate=" in result.stdout) == ("ipo" in command)


def test_the_backend_of_the_page_verifies_a_program_and_keeps_it(folder):
    result = run(folder, commands()[-1])
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip().splitlines()[-1] == "accepted"
    assert [path.name.split("_")[1] for path in (folder / "kept").iterdir()] == ["accepted.py"]


def test_plan_checks_every_cell_of_a_sweep_with_it(folder):
    words = "experiment=main seed=0 objective=grpo,ipo,sequence_dapo 'hydra.searchpath=[file://my_objectives]'"
    result = run(folder, f"python -m ablate.plan {words} paths.outputs={folder}/outputs")
    assert result.returncode == 0, result.stderr
    assert "3 runs: 3 missing" in result.stdout


def test_a_knob_that_no_part_reads_is_an_error_that_names_the_knobs(folder):
    result = run(
        folder,
        "python -m ablate.laws laws=ipo 'hydra.searchpath=[file://my_objectives]' +objective.temperature=2",
    )
    assert result.returncode == 2
    assert "no part reads temperature: the knobs are clip_low, clip_high" in result.stderr
    assert "correction_high, max_move" in result.stderr
