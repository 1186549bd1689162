"""Notebooks run on recorded runs, hold no outputs and define nothing."""

from __future__ import annotations

import ast
import shutil
import sys

import nbformat
import pytest

from ablate_analysis import notebooks
from ablate_analysis.notebooks import NOTEBOOKS, execute

NAMES = ["01_main_table", "02_learning_curves", "03_ratio_x_weight", "04_clipping_and_truncation", "05_same_rollouts"]


def test_there_are_five():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs_and_defines_no_function(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None
        definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not any(isinstance(node, definitions) for node in ast.walk(ast.parse(cell.source)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_on_recorded_runs_and_shows_something(path, recorded):
    executed = execute(path, recorded / ("ratio_x_weight" if "ratio" in path.stem else "tiny"))  # tiny: real runs
    shown = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not any(output.output_type == "error" for output in shown)
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert "image/png" in kinds
    assert "text/html" in kinds


def test_a_notebook_that_has_nothing_to_show_says_why_and_stops_no_other(copied_runs, monkeypatch, capsys):
    """An experiment without four cells has no 2 x 2."""
    shutil.rmtree(copied_runs / "dapo")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", [path for path in NOTEBOOKS if "ratio" in path.stem])
    monkeypatch.setattr(sys, "argv", ["notebooks", "experiment=main", f"outputs={copied_runs.parent}"])
    notebooks.main()
    assert "03_ratio_x_weight.ipynb: nothing to show: main: its 3 cells are not a 2 x 2" in capsys.readouterr().out
    assert not list((copied_runs / "notebooks").iterdir())
