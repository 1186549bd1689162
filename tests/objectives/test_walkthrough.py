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
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def commands():
    return [line for match in COMMANDS.finditer(PAGE.read_text()) for line in match["text"].splitlines()]


def test_the_page_has_its_two_files_and_three_commands(folder):
    assert (folder / "my_objectives/halfway.py").exists()
    assert (folder / "my_objectives/objective/halfway.yaml").exists()
    assert len(commands()) == 3


@pytest.mark.parametrize("command", commands())
def test_every_command_runs_and_every_law_it_checks_holds(folder, command):
    result = run(folder, command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 broken, of " in result.stdout


def test_training_composes_with_it(folder):
    words = "python -m ablate.train objective=halfway 'hydra.searchpath=[file://my_objectives]' --cfg job -p objective"
    result = run(folder, words)
    assert result.returncode == 0, result.stderr
    assert "source: my_objectives/halfway.py" in result.stdout
    assert "power: 0.5" in result.stdout


def test_a_knob_that_it_does_not_read_is_an_error(folder):
    result = run(
        folder,
        "python -m ablate.replay laws=halfway 'hydra.searchpath=[file://my_objectives]' +objective.temperature=2",
    )
    assert result.returncode == 2
    assert "never reads temperature=2" in result.stderr
