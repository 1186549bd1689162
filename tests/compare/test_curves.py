"""Learning curves: readers, fits with a known truth, and sentences that claim no asymptote too early."""

from __future__ import annotations

import csv
import json
import struct

import numpy as np
import pytest

from ablate_analysis import sigmoid
from ablate_analysis.results.curves import read_curves

TRUTH = sigmoid.Fit(start=0.4, asymptote=0.62, midpoint=900.0, exponent=1.6, largest=9000.0, rms=0.0)


def points(reach: float, noise: float, seed: int, num: int = 25):
    x = np.linspace(reach * TRUTH.midpoint / num, reach * TRUTH.midpoint, num)
    return x, TRUTH.at(x) + np.random.default_rng(seed).normal(0, noise, num)


def write_runs(path, reach, noise, seeds, scale=1.0):
    path.mkdir()
    for seed in seeds:
        x, y = points(reach, noise, seed)
        rows = [
            {"step": 0, "score": 0.4 * scale},
            *({"step": a, "score": b * scale} for a, b in zip(x, y, strict=True)),
        ]
        run = path / f"run{seed}"
        run.mkdir()
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_curve_without_noise_gives_its_parameters_back():
    x, y = points(10, 0, 0)
    found = sigmoid.fit(x, y, 0.4)
    assert (found.asymptote, found.midpoint, found.exponent) == pytest.approx((0.62, 900, 1.6), rel=1e-3)
    assert found.compute_to(float(TRUTH.at(500.0))) == pytest.approx(500, rel=1e-3)


def test_an_asymptote_is_identified_only_past_the_bend():
    assert sigmoid.fit(*points(10, 0.002, 1), 0.4).is_identified
    assert not sigmoid.fit(*points(1, 0.002, 1), 0.4).is_identified


def test_the_first_half_of_a_curve_without_noise_predicts_the_second():
    found = sigmoid.extrapolation(*points(10, 0, 0), 0.4)
    assert found.rms == pytest.approx(0, abs=1e-5)
    assert found.num_points == 13


def test_intervals_over_runs_hold_the_true_asymptote():
    """Three runs that differ by a standard deviation of 0.008 in A; points of a run have errors of 0.005."""
    held = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        fits = []
        for _ in range(3):
            x = np.linspace(360, 9000, 25)
            truth = sigmoid.Fit(0.4, 0.62 + rng.normal(0, 0.008), 900 * np.exp(rng.normal(0, 0.1)), 1.6, 9000, 0)
            fits.append(sigmoid.fit(x, truth.at(x) + rng.normal(0, 0.005, 25), 0.4).asymptote)
        interval = sigmoid.over_runs(fits).interval(0.95)
        held += interval.low <= 0.62 <= interval.high
    assert held >= 53


def test_runs_are_fitted_and_compared(tmp_path, compare):
    first = write_runs(tmp_path / "a", 10, 0.003, (0, 1, 2))
    second = write_runs(tmp_path / "b", 10, 0.003, (3, 4, 5))
    out = " ".join(compare(f"a={first}", f"b={second}", "curves=score").split())
    assert "a: asymptote 6" in out
    assert "over 3 runs" in out
    assert "no difference in the steps to a common score is detectable" in out


def test_too_short_a_run_prints_a_bound_and_no_asymptote(tmp_path, compare):
    path = write_runs(tmp_path / "a", 1.2, 0.003, (0, 1, 2))
    out = " ".join(compare(f"a={path}", "curves=score").split())
    assert "the asymptote is not identified" in out
    assert "at least" in out


def test_one_run_has_no_interval_over_runs(tmp_path, compare):
    path = write_runs(tmp_path / "a", 10, 0.003, (0,))
    assert "one run: no interval over training runs" in " ".join(compare(f"a={path}", "curves=score").split())


def test_percent_is_read_as_percent(tmp_path, compare):
    path = write_runs(tmp_path / "a", 10, 0.0, (0,), scale=100)
    assert "a: asymptote 62.0 %" in " ".join(compare(f"a={path}", "curves=score").split())


def test_a_repeated_step_keeps_the_last_attempt(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps({"step": s, "score": v}) + "\n" for s, v in ((1, 0.1), (2, 0.9), (2, 0.2))))
    (curve,) = read_curves(path, "score", "steps")
    assert curve.score == (0.1, 0.2)


def test_verls_file_logger_holds_its_metrics_one_level_down(tmp_path):
    path = tmp_path / "verl.jsonl"
    rows = [{"step": step, "data": {"critic/score/mean": 0.1 * step, "val/acc": 0.5}} for step in (1, 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (curve,) = read_curves(path, "critic/score/mean", "steps")
    assert (curve.compute, curve.score) == ((1.0, 2.0), (0.1, 0.2))


def test_a_wandb_chart_gives_a_curve_a_run_without_its_spread(tmp_path):
    path = tmp_path / "chart.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Step", "r1 - eval/score", "r1 - eval/score__MIN", "r1 - eval/score__MAX", "r2 - eval/score"])
        writer.writerows([[1, 0.1, 0, 1, ""], [2, 0.2, 0, 1, 0.5]])
    assert {curve.run: curve.score for curve in read_curves(path, None, "steps")} == {"r1": (0.1, 0.2), "r2": (0.5,)}


def test_another_axis_of_a_chart_must_be_named(tmp_path, compare):
    path = tmp_path / "chart.csv"
    path.write_text("Relative Time,r1 - score\n1,0.5\n")
    assert "the axis of" in compare(f"a={path}", "curves=score")
    assert read_curves(path, "score", "Relative Time")[0].compute == (1.0,)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def event(step: int, tag: str, value: float, as_tensor: bool) -> bytes:
    number = struct.pack("<f", value)
    tensor = varint(1 << 3) + varint(1) + message(4, number)
    held = message(8, tensor) if as_tensor else varint(2 << 3 | 5) + number
    data = varint(2 << 3) + varint(step) + message(5, message(1, message(1, tag.encode()) + held))
    return struct.pack("<Q", len(data)) + b"\0" * 4 + data + b"\0" * 4


def test_tensorboards_scalars_of_both_kinds_are_read_and_a_cut_record_is_left_out(tmp_path):
    data = b"".join(event(step, "score", step / 10, as_tensor=step > 2) for step in (1, 2, 3, 300))
    (tmp_path / "events.out.tfevents.1.host").write_bytes(data[:-5])
    (curve,) = read_curves(tmp_path, None, "steps")
    assert curve.compute == (1, 2, 3)
    assert curve.score == pytest.approx((0.1, 0.2, 0.3))


def test_our_runs_have_axes_of_tokens_and_of_device_hours(tmp_path):
    from pathlib import Path

    run = Path(__file__).parents[1] / "analysis" / "fixture_outputs" / "tiny" / "gspo" / "seed0"
    for axis in ("steps", "tokens", "hours"):
        (curve,) = read_curves(run, "eval/pass@1/160", axis)
        assert curve.compute[0] == 0
        assert curve.compute[-1] > 0
