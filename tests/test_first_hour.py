"""What a new user types: words with mistakes get the nearest name, and no advice is refused by the next call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ablate.__main__ import COMMANDS, page
from ablate.cli import CONF_DIR, help_page
from ablate.config import RunConfig, keys_of
from ablate.nearest import did_you_mean, nearest

ROOT = Path(__file__).parents[1]
SCREEN_LINES = 40


@pytest.mark.parametrize(
    ("word", "known", "first"),
    [
        ("gpso", ["dapo", "grpo", "gspo", "gspo_plus"], "gspo"),
        ("steps", ["objective.eps", "context.steps", "context"], "context.steps"),
        ("objective.clip_hgih", ["objective.clip_low", "objective.clip_high"], "objective.clip_high"),
        ("exprimnt", ["experiment", "seed"], "experiment"),
        ("trian", list(COMMANDS), "train"),
    ],
)
def test_the_nearest_name_comes_first(word, known, first):
    assert nearest(word, known)[0] == first
    assert did_you_mean(word, known).startswith(f": did you mean {first}")


def test_where_nothing_is_near_nothing_is_suggested():
    assert did_you_mean("zzz", ["experiment", "seed"]) == ""


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ablate.train", "steps=3"), "there is no key steps: did you mean context.steps?"),
        (("ablate.train", "+steps=3"), "there is no key steps: did you mean context.steps?"),
        (("ablate.train", "objective=gpso"), "there is no objective gpso: did you mean gspo"),
        (("ablate.train", "objective=_toggles"), "objective=_toggles is a part of other files"),
        (("ablate.plan", "exprimnt=tiny"), "exprimnt is not a key: did you mean experiment?"),
        (("ablate.curate", "source.nouscodre=x", "out=y"), "did you mean source.nouscoder?"),
        (("ablate.report", "rusn=x"), "rusn is no key: did you mean runs?"),
        (("ablate", "trian"), "trian is not a command: did you mean train?"),
    ],
)
def test_a_mistyped_word_is_one_sentence_with_the_nearest_name(words, sentence, tmp_path):
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert "+steps" not in result.stderr, "advice that the schema refuses"


def test_every_suggested_key_is_one_that_the_schema_has():
    known = keys_of(RunConfig, "")
    assert {"context.stages", "eval.save_samples", "rollout.engine.placement"} <= set(known)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_begins_with_an_example_and_fits_a_screen(command, tmp_path):
    result = run(f"ablate.{command}", "--help", cwd=tmp_path)
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert lines[0].startswith("    ")
    assert f"ablate.{command}" in lines[0]
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= 120


def test_the_list_of_commands_names_every_command_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert {name for name in COMMANDS if f"python -m ablate.{name}" in readme} == set(COMMANDS)
    assert all(name in page() for name in COMMANDS)
    assert Path(CONF_DIR).is_dir()


def test_a_page_of_help_shows_examples_before_it_explains():
    assert help_page("What it is.\n\n    python -m x\n\nMore.").startswith("    python -m x\n\nWhat it is.")
