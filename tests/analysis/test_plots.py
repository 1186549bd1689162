"""Figures: an objective looks the same everywhere, nothing depends on colour alone, every cell is drawn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ablate_analysis import plots, style
from ablate_analysis.compare import compare
from ablate_analysis.curves import compute_spent, curve, curve_band

# Linear-light RGB as a person without L, M or S cones sees it (Machado et al. 2009, severity 1).
DEFICIENCIES = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def linear(colour: str) -> np.ndarray:
    channel = np.array(to_rgb(colour))
    return np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_four_cells_stay_apart_for_the_colour_blind(deficiency):
    matrix = np.array(DEFICIENCIES[deficiency])
    seen = [np.clip(matrix @ linear(look.colour), 0, 1) ** (1 / 2.2) for look in style.LOOKS[:4]]
    for first, second in combinations(seen, 2):
        assert np.linalg.norm(first - second) > 0.1


def test_every_colour_is_visible_on_white_paper():
    for look in style.LOOKS:
        assert (1.05) / (luminance(look.colour) + 0.05) > 2.2, look


def test_nothing_depends_on_colour_alone():
    for first, second in combinations(style.LOOKS, 2):
        assert first.marker != second.marker
        assert first.dash != second.dash


def test_a_cell_looks_the_same_in_every_figure_of_an_experiment(main_runs, settings):
    look, comparison = style.looks(main_runs.names), compare(main_runs, settings)
    few = comparison.frame[comparison.frame["cell"].isin(["grpo", "gspo"])]
    figure = plots.score_by_context(few, comparison.names, "Pass@1")
    colours = {container.get_label(): container.lines[0].get_color() for container in figure.axes[0].containers}
    assert colours == {"GRPO": look["grpo"].colour, "GSPO": look["gspo"].colour}


def test_more_cells_than_colours_still_look_different():
    looks = style.looks([f"cell{index}" for index in range(12)])
    assert len({(look.colour, look.marker) for look in looks.values()}) == 12


def test_a_long_legend_makes_the_figure_higher_and_not_the_axes_smaller():
    def height_of_the_axes(num_cells):
        figure, (axis,) = style.new_figure(1, 1, style.WIDTH, 3.3)
        for cell in range(num_cells):
            axis.plot([0, 1], [cell, cell], label=f"a cell with quite a long name, of which there are many: {cell}")
        plots.legend_below(figure, axis)
        figure.draw_without_rendering()
        return axis.get_position().height * figure.get_figheight()

    assert height_of_the_axes(12) > 0.9 * height_of_the_axes(2)


def forest_of(comparison):
    return plots.forest(comparison.frame, comparison.names, comparison.settings.baseline)


def legend_of(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_every_cell_is_in_every_legend(main_runs, settings):
    comparison, names = compare(main_runs, settings), main_runs.names
    for figure in (
        plots.score_by_context(comparison.frame, comparison.names, "Pass@1"),
        plots.decomposition(comparison.frame, comparison.names),
        plots.length_and_truncation(main_runs.metrics, names, 3),
        plots.clip_fraction(main_runs.metrics, names, 3),
        plots.compute_axes(main_runs.metrics, compute_spent(main_runs), names, 3),
    ):
        assert {"GRPO", "DAPO", "GSPO", "GSPO+"} <= set(legend_of(figure))


def test_learning_curves_have_a_panel_per_cell_with_every_seed(main_runs):
    figure = plots.learning_curves(main_runs.metrics, main_runs.names, "rollout/pass_rate", 3, 0.95, "pass rate")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["GRPO", "DAPO", "GSPO", "GSPO+"]
    for axis in figure.axes:
        assert len(axis.lines) == 3 + 3 + 1  # the other means, the seeds, the mean


def test_a_forest_plot_has_a_row_per_cell_but_the_baseline(main_runs, settings):
    figure = forest_of(compare(main_runs, settings))
    labels = [[tick.get_text() for tick in axis.get_yticklabels()] for axis in figure.axes]
    assert labels[0] == ["GSPO+", "GSPO", "DAPO"]  # from below


def test_evaluations_are_not_averaged_over_each_other(main_runs):
    """Two evaluations 40 steps apart: their mean is no score of the trained model."""
    name = "eval/pass@1/160"
    metrics = main_runs.metrics.assign(name=main_runs.metrics["name"].replace({"train/loss": name}))
    raw, shown = (curve(metrics, name, window) for window in (1, 5))
    assert shown["value"].tolist() == raw["value"].tolist()
    assert raw.groupby(["cell", "seed"])["value"].nunique().max() > 1


def test_a_curve_looks_back_only(main_runs):
    raw, smooth = (curve(main_runs.metrics, "train/loss", window) for window in (1, 4))
    of_run = (raw["cell"] == "gspo") & (raw["seed"] == 1)
    assert smooth[of_run]["value"].iloc[0] == raw[of_run]["value"].iloc[0]
    assert smooth[of_run]["value"].iloc[5] == pytest.approx(raw[of_run]["value"].iloc[2:6].mean())


def test_a_band_is_students_around_the_mean_and_needs_two_seeds(main_runs):
    curves = curve(main_runs.metrics, "train/loss", 1)
    band = curve_band(curves, 0.95)
    assert (band["low"] < band["mean"]).all()
    assert (band["mean"] < band["high"]).all()
    assert curve_band(curves[curves["seed"] == 0], 0.95)["low"].isna().all()


def test_spent_tokens_are_groups_times_samples_times_length(main_runs):
    spent = compute_spent(main_runs)
    first = spent[(spent["run"] == "grpo/seed0") & (spent["step"] == 1)].iloc[0]
    metrics = main_runs.metrics
    row = metrics[(metrics["run"] == "grpo/seed0") & (metrics["step"] == 1)].set_index("name")["value"]
    assert first["tokens"] == pytest.approx(row["rollout/length_mean"] * 8 * 8)
    assert first["seconds"] == pytest.approx(0.9)


def test_a_figure_is_written_as_png_and_svg_and_equal_figures_give_equal_files(main_runs, settings, tmp_path):
    comparison = compare(main_runs, settings)
    for name in ("first", "second"):
        style.save(plots.score_by_context(comparison.frame, comparison.names, "Pass@1"), tmp_path, name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert (tmp_path / "first.svg").read_text() == (tmp_path / "second.svg").read_text()


def test_the_warm_start_is_not_a_cell_of_the_forest(main_runs, settings):
    figure = forest_of(compare(main_runs, settings))
    assert "Warm start" not in [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_a_legend_of_long_names_does_not_squeeze_the_axes(crossed_runs, settings):
    comparison = compare(crossed_runs, settings)
    figure = plots.score_by_context(comparison.frame, comparison.names, "Pass@1")
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.75


def test_ticks_that_stand_apart_have_labels_that_differ():
    shares = (0.0, 0.001, 0.01, 0.29, 0.925, 0.95, 0.975, 1.0)
    assert [style.percent_label(share) for share in shares] == [
        *("0%", "0.1%", "1%", "29%", "92.5%", "95%", "97.5%", "100%")
    ]
