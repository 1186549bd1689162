"""Every command of docs/compare.md runs as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from other_files import WRITERS

from ablate.compare import main

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def files(tmp_path, passed, monkeypatch):
    """The files that the page names, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("base", "tuned")):
        WRITERS["livecodebench"][0](tmp_path, passed[place]).rename(f"{name}_eval_all.json")
    for place, name in enumerate(("grpo", "dapo")):
        for seed in (0, 1):
            WRITERS["csv"][0](tmp_path, np.roll(passed[place], seed, axis=1)).rename(f"{name}_{seed}.csv")
        steps = "".join(f"{step},{0.4 + 0.02 * step * (step < 6)}\n" for step in range(10))
        Path(f"wandb_{name}.csv").write_text(f"Step,{name} - eval/score\n" + steps)
    return tmp_path


@pytest.mark.parametrize("command", [each for each in COMMANDS if "outputs/" not in each])
def test_a_command_of_the_page_runs(command, files, capsys):
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "ablate.compare"]
    main(words[3:])
    assert "Read:" in capsys.readouterr().out


def test_the_page_lists_every_format():
    from ablate_analysis.results.formats import FORMATS

    rows = [line.split("|")[1].strip().lower() for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    for module in FORMATS:
        assert any(module.NAME.split("-")[0] in row for row in rows), module.NAME
