"""verify.time_scale: limits of CPU time for cores of another speed."""

from __future__ import annotations

import pytest

from ablate.errors import UserError
from ablate.types import Problem, TestCase
from ablate.verify import speed
from ablate.verify.cache import verdict_key
from ablate.verify.choices import check_verify
from ablate.verify.jobs import WALL_MARGIN_S, make_job
from ablate.verify.verifier import open_verifier

PROBLEM = Problem("p", "", (TestCase("", "1"),), "easy")
BURN = "import time\nwhile time.process_time() < 1: pass\nprint(1)"


@pytest.mark.parametrize(("scale", "kind"), [(1, "time_limit"), (40, "accepted")])
def test_limits_of_cpu_time_are_multiplied(make_config, scale, kind):
    with open_verifier(make_config(workers=1, time_limit_s=0.3, time_scale=scale)) as verifier:
        assert verifier.submit(PROBLEM, BURN).result().kind.value == kind


@pytest.mark.parametrize("own_s", [None, 0.5])
def test_a_problems_own_limit_is_scaled_too_and_the_wall_limit_with_it(make_config, own_s):
    config = make_config(time_limit_s=2.0, wall_factor=4)
    job = make_job(config, Problem("p", "", PROBLEM.tests, "easy", time_limit_s=own_s), "")
    scaled = speed.scaled(job, 3)
    assert scaled.time_limit_s == 3 * (own_s or 2.0)
    assert scaled.wall_limit_s - WALL_MARGIN_S == 3 * (job.wall_limit_s - WALL_MARGIN_S)
    assert speed.scaled(job, 1) is job


def test_auto_compares_the_cores_with_the_reference(make_config, monkeypatch):
    monkeypatch.setattr(speed, "measured_here_s", lambda: 0.9)
    config = make_config(time_scale="auto", reference_speed_s=0.3)
    assert speed.time_scale(config, None) == pytest.approx(3)


def test_the_fixed_program_is_measured_where_programs_run(make_config, verifier):
    assert 0 < speed.measured_by_s(verifier.backends[0], make_config()) < 60


def test_cores_that_cannot_be_measured_are_an_error_in_one_sentence(make_config, verifier, monkeypatch):
    monkeypatch.setattr(speed, "PROGRAM", "print(0)")
    with pytest.raises(UserError, match=r"could not measure the cores .*: set verify.time_scale"):
        speed.measured_by_s(verifier.backends[0], make_config())


def test_a_kept_verdict_does_not_depend_on_the_measurement_but_on_the_rule(make_config):
    keys = [verdict_key(make_job(make_config(time_scale=scale), PROBLEM, BURN)) for scale in (1, 1.0, 2, "auto")]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("scale", [0, -1, "soon", float("inf"), float("nan")])
def test_another_scale_is_refused(make_config, scale):
    with pytest.raises(UserError, match="is not auto or a number above 0"):
        check_verify(make_config(time_scale=scale))
