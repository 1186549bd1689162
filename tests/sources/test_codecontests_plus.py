"""CodeContests+: a row becomes a problem whose testlib checker runs in the sandbox; what lacks is named."""

from __future__ import annotations

import shutil

import pytest

from ablate.errors import UserError
from ablate.sources.base import Rejected, SourceConfig, read
from ablate.sources.choices import SOURCES
from ablate.sources.hub import locate

NAME = "codecontests_plus"


def test_a_row_is_a_problem_with_a_checker_of_two_files(rows):
    row = rows[NAME, "1x", 0]
    assert (row.id, row.platform, row.time_limit_s, row.kind) == (
        f"{NAME}/Codeforces/3001_A",
        "codeforces",
        2.0,
        "stdin",
    )
    assert [name for name, _ in row.checker.files] == ["checker.cpp", "testlib.h"]
    assert row.checker.kind == "testlib"
    assert [program.splitlines()[-1] for program in (*row.references, *row.wrong)] == ["print(1, n)", "print(2, n)"]


def test_rows_that_break_a_rule_name_it(rows):
    found = [each.reason for key, each in rows.items() if key[0] == NAME and isinstance(each, Rejected)]
    assert found == ["no_tests", "bad_column"]


def test_without_testlib_the_user_is_told_what_to_put_where(public_sets, tmp_path):
    directory = shutil.copytree(public_sets[NAME], tmp_path / NAME)
    (directory / "testlib.h").unlink()
    nothing = SourceConfig(hub="made/here", revision=None, license=None, float_tolerance=None, rows={})
    place, facts = locate(str(directory), nothing)
    with pytest.raises(UserError, match=r"holds no testlib\.h"):
        list(read(SOURCES[NAME], place, facts))
