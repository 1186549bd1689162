"""What programs may import and look up: chosen packages, the locale, time zones."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.local import sandbox_view
from ablate.verify.packages import find_packages
from ablate.verify.verifier import open_verifier

SEVEN = Problem("p", "", (TestCase("", "7"),), "easy")
SORTED = "from sortedcontainers import SortedList\nprint(len(SortedList(range(7))))"
NUMPY = "import numpy\nprint(numpy.arange(8)[7])"
ELSEWHERE = "import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', {!r}], text=True))"


@pytest.fixture(scope="module")
def generous(make_config):
    with open_verifier(make_config(packages=["sortedcontainers", "numpy"], workers=1)) as opened:
        yield opened


@pytest.mark.parametrize("program", [SORTED, NUMPY, ELSEWHERE.format(SORTED)])
def test_chosen_packages_can_be_imported_and_others_cannot(verifier, generous, program):
    assert generous.submit(SEVEN, program).result().kind is VerdictKind.accepted
    assert verifier.submit(SEVEN, program).result().kind is VerdictKind.runtime_error
    verdict = generous.submit(SEVEN, "import hypothesis").result()
    assert verdict.detail == "ModuleNotFoundError: No module named 'hypothesis'"


def test_shown_packages_cannot_be_changed(generous):
    program = "import sortedcontainers\nopen(sortedcontainers.__file__, 'a')"
    assert generous.submit(SEVEN, program).result().detail.startswith(("PermissionError", "OSError: [Errno 30]"))


def test_verdicts_are_kept_by_the_versions_of_the_packages(verifier, generous):
    assert generous.prepare(SEVEN, SORTED, use_cache=False).job.packages == (
        f"numpy=={metadata.version('numpy')}",
        f"sortedcontainers=={metadata.version('sortedcontainers')}",
    )
    assert verifier.prepare(SEVEN, SORTED, use_cache=False).job.packages == ()


@pytest.mark.parametrize(
    ("wanted", "here", "words"),
    [
        ("no_such_package", True, "which is not installed here: pip install no_such_package, or leave it out"),
        ("numpy==0.1", True, "install that version, or name this one"),
        ("no_such_package", False, "give its version, as in no_such_package==1.0"),
    ],
)
def test_a_package_that_is_not_there_is_named(wanted, here, words):
    with pytest.raises(UserError, match=words):
        find_packages([wanted], must_be_here=here)


def test_elsewhere_a_version_is_enough():
    assert find_packages(["no_such_package==1.0"], must_be_here=False)[0].pin == "no_such_package==1.0"


PLACES = {
    "the locale of the environment": "import locale\nlocale.setlocale(locale.LC_ALL, '')\nprint(7)",
    "the locale C.UTF-8": "import locale\nlocale.setlocale(locale.LC_ALL, 'C.UTF-8')\nprint(locale.str(7.0))",
    "numbers of the locale": "import locale\nlocale.setlocale(locale.LC_ALL, '')\nprint(locale.atoi('7'))",
    "a zone": "import datetime, zoneinfo\nd = datetime.datetime(2024, 7, 1, 5, tzinfo=zoneinfo.ZoneInfo('UTC'))\n"
    "print(d.astimezone(zoneinfo.ZoneInfo('Europe/Berlin')).hour)",
    "all zones": "import zoneinfo\nprint(7 if len(zoneinfo.available_timezones()) > 100 else 0)",
    "a zone of the C library": "import os, time\nos.environ['TZ'] = 'Europe/Berlin'\ntime.tzset()\n"
    "print(5 + time.localtime(1719792000).tm_hour)",
}


@pytest.mark.parametrize("name", PLACES)
def test_the_locale_and_time_zones_are_there(verifier, name):
    verdict = verifier.submit(SEVEN, PLACES[name]).result()
    assert verdict.kind is VerdictKind.accepted, verdict


def test_zones_come_from_the_machine_else_from_the_package(monkeypatch, tmp_path):
    assert sandbox_view.zone_binds()[0][1] == "/usr/share/zoneinfo"
    (tmp_path / "tzdata" / "zoneinfo").mkdir(parents=True)
    (tmp_path / "tzdata" / "__init__.py").touch()
    monkeypatch.setattr(sandbox_view, "ZONES", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "tzdata", raising=False)
    assert sandbox_view.zone_binds() == [(str(tmp_path / "tzdata" / "zoneinfo"), str(tmp_path / "none"))]


def test_without_locale_data_the_environment_names_none(monkeypatch):
    assert sandbox_view.find_view().environment["LANG"] in ("C.UTF-8", "C")
    monkeypatch.setattr(sandbox_view, "LOCALES", ())
    view = sandbox_view.find_view([("/x", "/packages/x")])
    assert view.environment["LANG"] == "C"
    assert view.environment["PYTHONPATH"] == "/packages"
    assert not any(Path(place).is_relative_to("/usr/lib/locale") for _, place in view.binds)
