"""The table of the laboratory's length cosines, from values that are known."""

import math

import pandas as pd

from ablate_analysis.length_push import length_tables, mean_over_seeds
from ablate_analysis.load import load_experiment


def laboratory(values):
    """What ``ablate.replay`` leaves for one run: (step, toggle) -> cosine, and a row that is no length cosine."""
    rows = [
        {"objective": "grpo", "step": step, "toggle": toggle, "measure": "length_cosine_parameters", "value": value}
        for (step, toggle), value in values.items()
    ]
    return pd.DataFrame([*rows, {**rows[0], "measure": "loss"}, {**rows[0], "toggle": "no clip"}])


def test_a_mode_has_its_mean_over_seeds_and_its_paired_difference_from_the_configured_one(copied_runs):
    for seed, shift in enumerate((-0.1, 0.0, 0.1)):
        folder = copied_runs / "grpo" / f"seed{seed}" / "laboratory"
        folder.mkdir()
        cosines = {(step, "as configured"): 0.3 + shift for step in (5, 10)}
        cosines |= {(step, "overlong=train"): -0.4 + 0.1 * step / 5 + shift for step in (5, 10)}
        laboratory(cosines).to_parquet(folder / "laboratory.parquet")
    [table] = length_tables(load_experiment(copied_runs))
    assert table.rows == (
        ("grpo", "as configured", "+0.30 ± 0.25", "–"),
        ("grpo", "overlong=train", "-0.25 ± 0.25", "-0.55 ± 0.00"),
    )
    assert "GRPO at steps 5, 10, 3 seeds" in table.note


def test_without_laboratory_results_there_is_no_table(main_runs):
    assert length_tables(main_runs) == []


def test_a_gradient_of_zero_has_no_direction_and_is_left_out():
    assert mean_over_seeds(pd.Series([0.5, math.nan])) == "+0.50"
    assert mean_over_seeds(pd.Series([math.nan])) == "–"
