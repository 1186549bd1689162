"""What a person sees on a terminal during a sweep."""

import re

import pytest

from ablate import display
from ablate.display import (
    Clock,
    SweepClock,
    closing_line,
    completion_lines,
    is_live,
    minutes,
    open_display,
    print_grid,
)
from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind


@pytest.fixture
def time(monkeypatch):
    """A clock that a test sets, in seconds."""
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (250, "4:10"), (3599.6, "1:00:00"), (7384, "2:03:04")])
def test_seconds_are_shown_as_minutes_and_hours(seconds, text):
    assert minutes(seconds) == text


def test_the_time_left_of_a_sweep_counts_the_runs_that_are_still_to_come(time):
    sweep = SweepClock(num_runs=3)
    sweep.begin_run()  # done already, and skipped
    sweep.begin_run()
    first = Clock(10, sweep)
    assert first.eta(1) == "first step; run 2 of 3"
    time[0] = 10.0
    assert first.eta(6) == "2.00 s/step, 0:08 left; run 2 of 3, 0:26 left"  # 8 s, and a run of 18 s like this one
    time[0] = 40.0
    sweep.end_run()
    sweep.begin_run()
    second = Clock(10, sweep)
    second.eta(1)
    time[0] = 42.0
    assert second.eta(2) == "2.00 s/step, 0:16 left; run 3 of 3, 0:16 left"


def test_a_line_of_a_log_names_the_position_in_the_sweep(capsys, time):
    sweep = SweepClock(8)
    sweep.begin_run()
    open_display("plain", "grpo seed 0", 40, sweep).step(1, {"rollout/pass_rate": 0.5})
    assert capsys.readouterr().out == "[grpo seed 0] step 1/40  pass 0.50  (first step; run 1 of 8)\n"


def test_the_states_of_a_sweep_are_a_grid_of_cells_and_seeds(capsys):
    running = ("running", "step 12/40 at 2026-05-17T09:30:00 on node1")
    states = {("grpo", "0"): ("done", "step 40/40 at"), ("grpo", "1"): running, ("[red]x", "1"): ("missing", "")}
    print_grid(states, width=80)
    lines = [re.split(r" {2,}", line.rstrip()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [["cell", "seed 0", "seed 1"], ["grpo", "✓ done", "▶ running step 12/40"], ["[red]x", "· missing"]]


@pytest.mark.parametrize(("term", "shows_a_bar"), [("dumb", False), ("xterm-256color", True)])
def test_a_dumb_terminal_gets_lines(monkeypatch, term, shows_a_bar):
    monkeypatch.setattr(display.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    assert is_live("auto") == shows_a_bar


def test_a_wait_is_one_line_of_a_log(capsys):
    open_display("plain", "grpo seed 0", 40).wait("starting the engine")
    assert capsys.readouterr().out == "[grpo seed 0] starting the engine …\n"


def group_with(text: str) -> RolloutGroup:
    completions = tuple(Completion("p1", sample, 0, (1,), (2,), (0.0,), text, finished=True) for sample in range(3))
    kinds = (VerdictKind.accepted, VerdictKind.wrong_answer, VerdictKind.no_code)
    verdicts = tuple(Verdict(kind, 0, 1, None, 0.0, 0.0, 0.0) for kind in kinds)
    return RolloutGroup(Problem("p1", "", (), "easy"), completions, verdicts)


def test_completions_show_verdict_and_reward_and_fit_the_width():
    lines = completion_lines([group_with("a\nb" * 100)] * 2, 4, width=60)
    assert [line.split("  ")[2:4] for line in lines] == [
        ["accepted", "+1"], ["wrong answer", "-1"], ["no code", "-1"], ["accepted", "+1"],
    ]  # fmt: skip
    assert {len(line) for line in lines} == {60}
    assert all("\n" not in line for line in lines)


def test_no_letter_of_a_completion_moves_the_cursor():
    (line,) = completion_lines([group_with("\x1b[2J\r\x07\u202e")], 1, width=200)
    assert line.isprintable()


def test_a_finished_run_says_where_it_is_and_its_scores_in_percent(tmp_path):
    metrics = {
        "eval/pass@1/320": 0.5,
        "eval/pass@1/320/low": 0.25,
        "eval/pass@1/320/high": 0.75,
        "eval/pass@1/160": 0.1,
    }
    line = closing_line(tmp_path, metrics)
    assert line == f"done: {tmp_path}: Pass@1 10.0 % at 160 tokens, 50.0 % [25.0, 75.0] at 320 tokens"
    assert closing_line(tmp_path, {}) == f"done: {tmp_path}"
