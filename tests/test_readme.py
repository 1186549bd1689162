"""The code blocks of README and docs/experiments.md: every line is typed here, with small settings."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import ablate.plan.__main__
import ablate.report
import ablate_analysis.finished
from ablate.session.fork import words_that_continue
from ablate.sweep import planned_runs

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "analysis" / "fixture_outputs" / "tiny"
BLOCK = re.compile(r"^ *```(?:sh|bash|console)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"`(my_experiments/[^`]+)`:\n\n```yaml\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"(\.venv/bin/)?python -m ")
# tests/test_export.py exports real checkpoints
MAKE = {"make ablation", "make test"}  # what the continuous integration runs, with everything


def lines_of(page: str) -> list[str]:
    text = (ROOT / page).read_text().replace("\\\n", " ")
    return [line.partition("  #")[0].strip() for block in BLOCK.findall(text) for line in block.splitlines() if line]


LINES = [line for page in ("README.md", "docs/experiments.md") for line in lines_of(page)]
TRAIN = [line for line in LINES if "ablate.train" in line]
OTHERS = [line for line in LINES if PYTHON.match(line) and "ablate.train" not in line]


def words_of(line: str) -> list[str]:
    return shlex.split(PYTHON.sub("", line))[1:]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the page's files, in which a user types."""
    for name, text in YAML.findall((ROOT / "docs/experiments.md").read_text()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_line_is_typed_by_one_of_the_tests():
    make = [line for line in LINES if line.startswith("make ")]
    assert {re.sub(r"\s+#.*", "", line) for line in make} <= MAKE
    assert len(make) + len(TRAIN) + len(OTHERS) == len(LINES)
    assert len(TRAIN) >= 6


@pytest.mark.parametrize("line", TRAIN)
def test_every_line_that_trains_stands_for_runs_that_may_start(line, place):
    words = [word for word in words_of(line) if word not in ("-m", "hydra/launcher=local")]
    if finished := [word.partition("=")[2] for word in words if word.startswith("start_from=")]:
        shutil.copytree(RECORDED / "gspo" / "seed1", finished[0])
        (Path(finished[0]) / "checkpoints" / "step_000040").mkdir(parents=True)
        words = [word for word in words if not word.startswith("start_from=")] + words_that_continue(finished[0], words)
    runs = planned_runs([*words, *(["seed=0"] if not any(word.startswith("seed=") for word in words) else [])])
    assert len({run.directory for run in runs}) == len(runs) >= 1
    assert ("-m" in words_of(line)) == (len(runs) > 1)


@pytest.mark.parametrize("line", [line for line in OTHERS if "ablate.export" not in line])
def test_every_other_line_ends_well(line, recorded_runs, monkeypatch, capsys):
    """In this process and without the figures for print, which take most of a report's time."""
    command = PYTHON.sub("", line).split()[0]
    small = {"ablate.report": ["report.resamples=200", "report.run_pages=false"]}.get(command, [])
    words = [word for word in words_of(line) if word != "live=true"]  # which waits for the end of the sweep
    monkeypatch.setattr(sys, "argv", [command, *words, *small])
    monkeypatch.setattr(ablate_analysis.finished, "all_figures", lambda *_: [])
    {"ablate.report": ablate.report, "ablate.plan": ablate.plan.__main__}[command].main()
    assert capsys.readouterr().out


@pytest.fixture
def recorded_runs(place: Path) -> Path:
    """The recorded runs, under the names that the lines give them."""
    shutil.copytree(RECORDED, place / "outputs" / "tiny")
    shutil.copytree(RECORDED / "dapo", place / "outputs" / "wide_clip" / "dapo")  # one cell, one factor
    for cell in ("grpo", "gspo"):
        shutil.copytree(RECORDED / cell / "seed1", place / "outputs" / "scratch" / cell / "seed3")
    return place
