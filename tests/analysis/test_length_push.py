"""The table of the laboratory's length cosines, from values that are known."""

import math

import pandas as pd

from analysis.length_push import length_tables, mean_over_seeds
from analysis.load import load_experiment


def laboratory(values):
    """What ``ablate.replay`` leaves for one run: (step, toggle) -> cosine, and a row that is no length cosine."""
    rows = [
        {"objective": "grpo", "step": step, "toggle": toggle, "measure": "length_cosine_parameters", "value": value}
        for (step, toggle), value in values.items()
    ]
    return pd.DataFrame([*rows, {**rows[0], "measure": "loss"}, {**rows[0], "toggle": "no clip"}])


def test_each_mode_has_one_line_with_the_mean_over_seeds_at_each_step(copied_runs):
    root = copied_runs
    for seed, shift in enumerate((-0.1, 0.0, 0.1)):
        folder = root / "grpo" / f"seed{seed}" / "laboratory"
        folder.mkdir()
        cosines = {(5, "as configured"): 0.3 + shift, (5, "overlong=train"): -0.4 + shift, (10, "overlong=train"): 0.2}
        laboratory(cosines).to_parquet(folder / "laboratory.parquet")
    [table] = length_tables(load_experiment(root))
    assert table.header == ("objective", "overlong mode", "step 5", "step 10")
    assert table.rows == (
        ("grpo", "as configured", "+0.30 ± 0.25", "–"),
        ("grpo", "overlong=train", "-0.40 ± 0.25", "+0.20 ± 0.00"),
    )
    assert "GRPO, 3 seeds" in table.note


def test_without_laboratory_results_there_is_no_table(main_runs):
    assert length_tables(main_runs) == []


def test_a_gradient_of_zero_has_no_direction_and_is_left_out():
    assert mean_over_seeds(pd.Series([0.5, math.nan]).dropna()) == "+0.50"
    assert mean_over_seeds(pd.Series([math.nan]).dropna()) == "–"
