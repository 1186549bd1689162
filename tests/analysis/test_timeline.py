"""What a step waits for and who works, from traces whose seconds are known; and the chart of one step."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from ablate.process.activity import ENGINE, VERIFIER, Work
from ablate.records.timeline import span
from ablate.records.trace import Trace, name_of_row
from ablate_analysis import gantt, overlap
from ablate_analysis.figures import timeline
from ablate_analysis.load import load_experiment, read_run
from ablate_analysis.pages.timeline import whole_run
from ablate_analysis.render import plain
from ablate_analysis.timeline import (
    both,
    mean,
    measured_steps,
    read_spans,
    speed_up_bound,
    step_seconds,
    trained_steps,
)

PERIOD_S = {0: 15.0, 1: 10.5}  # of a step, by lag
NUM_STEPS = 4


def write_trace(path: Path, lag: int) -> None:
    """Each batch: sampled for 8 s by two requests, verified from second 4 to 10 by one sandbox at a time.

    Each step trains for 4.5 s and hands over weights in 0.5 s. Then the next batch begins: the one that the trainer
    waits for, or with lag 1 the one after it.
    """
    path.unlink(missing_ok=True)
    rows = [json.dumps(name_of_row("trainer", 0))]
    for step in range(1, NUM_STEPS + 1):
        begin = 1e9 + PERIOD_S[lag] * step
        spans = {
            0: {"weights": (0, 0.5), "wait_batch": (0.5, 10.5), "update": (10.5, 15)},
            1: {"wait_batch": (0, 5.5), "weights": (5.5, 6), "update": (6, 10.5)},
        }[lag]
        for name, (start, stop) in spans.items():
            rows.append(json.dumps({**span(name, (begin + start, begin + stop), {"step": step}), "tid": 0}))
    path.write_text("[\n" + "".join(row + ",\n" for row in rows))
    for step in range(1, NUM_STEPS + 1):
        batch = 1e9 + PERIOD_S[lag] * step + (0.5 if lag == 0 else -4.5)
        work = [Work(ENGINE, batch, batch + 8, tokens=80), Work(ENGINE, batch, batch + 6, tokens=60)]
        work += [Work(VERIFIER, batch + 4, batch + 7), Work(VERIFIER, batch + 7, batch + 10)]
        Trace(path.parent).add_batch(work, step, version=step - 1 - lag, purpose="training")


@pytest.fixture
def timed_runs(copied_runs):
    """GRPO with lag 0, DAPO's directory as GRPO with lag 1, and the other cells without rows."""
    for cell, lag in (("grpo", 0), ("dapo", 1)):
        for directory in (copied_runs / cell).iterdir():
            write_trace(directory / "trace.json", lag)
            config = yaml.safe_load((copied_runs / "grpo" / directory.name / "config.yaml").read_text())
            config["rollout"]["lag"] = lag
            config["cell"] = cell
            (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return load_experiment(copied_runs)


def run_of(experiment, cell):
    return experiment.runs_of(cell)[0]


def test_without_lag_all_sampling_is_exposed_and_verification_hides_behind_it(timed_runs):
    seconds = step_seconds(read_spans(run_of(timed_runs, "grpo")), 2)
    assert (seconds.wall, seconds.waited, seconds.training) == pytest.approx((15, 10, 5))
    assert (seconds.generation, seconds.sampling, seconds.sampling_exposed) == pytest.approx((10, 8, 8))
    assert (seconds.verification, seconds.verification_exposed) == pytest.approx((6, 2))
    assert (seconds.requests, seconds.programs) == pytest.approx((14, 6))


def test_with_lag_what_happens_while_the_trainer_works_is_hidden(timed_runs):
    seconds = step_seconds(read_spans(run_of(timed_runs, "dapo")), 2)
    assert (seconds.wall, seconds.waited, seconds.training) == pytest.approx((10.5, 5.5, 5))
    assert (seconds.sampling, seconds.sampling_exposed) == pytest.approx((8, 3.5))
    assert (seconds.verification, seconds.verification_exposed) == pytest.approx((6, 2))


def test_a_step_in_which_no_program_ran_has_no_verification(timed_runs):
    run = run_of(timed_runs, "grpo")
    begin = 1e9 + 15 * (NUM_STEPS + 1)
    with run.directory.trace.path.open("a") as file:
        for name, (start, stop) in {"wait_batch": (0, 8), "update": (8, 12)}.items():
            file.write(
                json.dumps({**span(name, (begin + start, begin + stop), {"step": NUM_STEPS + 1}), "tid": 0}) + ",\n"
            )
    Trace(run.directory.path).add_batch([Work(ENGINE, begin, begin + 8)], NUM_STEPS + 1)  # every verdict was known
    steps = measured_steps(read_spans(run))
    assert (steps[-1].generation, steps[-1].verification, steps[-1].verification_exposed) == pytest.approx((8, 0, 0))
    assert not math.isnan(mean(steps).verification)


def test_the_bound_is_the_sum_of_the_stages_over_the_longer_ones(timed_runs):
    steps = measured_steps(read_spans(run_of(timed_runs, "grpo")))
    assert len(steps) == NUM_STEPS - 1, "the first step warms up"
    assert speed_up_bound(steps) == pytest.approx((10 + 5) / 10)
    assert math.isnan(speed_up_bound(steps[:1]))
    assert mean(steps).wall == pytest.approx(15)


def test_a_step_that_was_repeated_counts_once_with_its_last_times(timed_runs):
    run = run_of(timed_runs, "grpo")
    lines = run.directory.trace.path.read_text()
    later = json.dumps({**span("weights", (2e9 - 1, 2e9), {"step": 2}), "tid": 0}) + ",\n"
    later += json.dumps({**span("wait_batch", (2e9, 2e9 + 3), {"step": 2}), "tid": 0}) + ",\n"
    later += json.dumps({**span("update", (2e9 + 3, 2e9 + 4), {"step": 2}), "tid": 0}) + ",\n"
    run.directory.trace.path.write_text(lines + later)
    Trace(run.directory.path).add_batch([Work(ENGINE, 2e9, 2e9 + 2), Work(VERIFIER, 2e9 + 1, 2e9 + 3)], 2)
    spans = read_spans(run)
    assert trained_steps(spans) == [1, 2, 3, 4]
    seconds = step_seconds(spans, 2)
    assert (seconds.wall, seconds.generation, seconds.verification_exposed) == pytest.approx((5, 3, 1))


def test_evaluations_and_checkpoints_are_no_part_of_a_step(timed_runs):
    run = run_of(timed_runs, "grpo")
    begin = 1e9 + 15 * 2 + 15  # when step 2 has ended
    extra = [
        ("evaluate", begin, begin + 30),
        ("records", begin + 29, begin + 30),
        ("checkpoint", begin + 30, begin + 31),
    ]
    with run.directory.trace.path.open("a") as file:
        for name, start, stop in extra:
            file.write(json.dumps({**span(name, (start, stop), {"step": 2}), "tid": 0}) + ",\n")
    Trace(run.directory.path).add_batch([Work(ENGINE, begin, begin + 29)], 2, purpose="evaluation")
    seconds = step_seconds(read_spans(run), 2)
    assert (seconds.wall, seconds.generation) == pytest.approx((15, 10))


def test_an_old_trace_without_rows_still_tells_the_time_of_a_step(recorded, main_runs):
    run = run_of(main_runs, "grpo")
    seconds = step_seconds(read_spans(run), 3)
    assert seconds.wall == pytest.approx(0.9)
    assert math.isnan(seconds.verification)
    assert overlap.overlap_tables(main_runs) == []
    assert gantt.charted_run(main_runs) is None
    assert read_run(recorded / "main", run.directory.path).name == run.name


def test_the_tables_show_the_cells_with_rows_and_the_speed_up_over_their_cell_without_lag(timed_runs):
    hidden, busy = overlap.overlap_tables(timed_runs)
    rows = [[plain(cell) for cell in row] for row in hidden.rows]
    assert [row[3:5] + row[6:8] + row[9:] for row in rows] == [
        ["8 s", "0%", "2 s", "67%", "–", "1.50 x"],
        ["3.5 s", "56%", "2 s", "67%", "1.43 x", "1.50 x"],
    ]
    without_lag = [plain(cell) for cell in busy.rows[0]][1:]
    assert without_lag[:2] == ["33%", "67%"]  # the trainer: 5 of 15 s
    assert without_lag[2:5] == ["53%", "47%", f"{100 * 14 / (64 * 15):.0f}%"]
    assert without_lag[5:] == ["40%", "60%", f"{100 * 6 / (2 * 15):.0f}%"]


def test_the_chart_has_a_row_for_every_resource_and_shows_the_longest_lag(timed_runs):
    run = gantt.charted_run(timed_runs)
    assert run.cell == "dapo"
    figure, step = gantt.gantt(run)
    assert step in range(1, NUM_STEPS + 1)
    bars, requests, programs = figure.axes
    assert [label.get_text() for label in bars.get_yticklabels()] == ["trainer", ENGINE, VERIFIER]
    assert {text.get_text() for text in bars.texts} >= {str(step), str(step + 1)}, "the next batch, during this step"
    assert (requests.get_ylabel(), programs.get_ylabel()) == ("running\nrequests", "running\nsandboxes")
    assert f"Step {step} of dapo/seed" in timeline(run).note


def test_points_of_time_in_both():
    assert both([(0, 4), (6, 8)], [(1, 2), (3, 7)]) == [(1, 2), (3, 4), (6, 7)]


def test_the_whole_run_is_drawn_without_the_time_between_attempts_and_idle_is_what_nobody_worked(tmp_path):
    trace = Trace(tmp_path)
    names = [name_of_row("trainer", 0), name_of_row("engine", 1)]
    later = 5000.0  # a second attempt
    spans = [
        {**span("wait_batch", (0.0, 4.0), {"step": 1}), "tid": 0},
        {**span("sample", (0.0, 4.0), {"step": 1}), "tid": 1},
        {**span("update", (4.0, 5.0), {"step": 1}), "tid": 0},
        {**span("update", (later, later + 5.0), {"step": 2}), "tid": 0},
    ]
    trace.path.write_text("[\n" + "".join(json.dumps(event) + ",\n" for event in (*names, *spans)))
    whole = whole_run(trace)
    assert whole["seconds"] == pytest.approx(10.0)
    assert whole["cuts"] == [pytest.approx(5.0)]
    assert {row["name"]: row["idle"] for row in whole["rows"]} == {
        "trainer": pytest.approx(0.4),
        "engine": pytest.approx(0.6),
    }
    assert [step for step, *_ in whole["steps"]] == [1, 2]
    assert [bar[2] for bar in whole["rows"][0]["bars"]] == ["wait_batch", "update"], "what is adjacent is one bar"
