import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data import problems
from ablate.data.problems import load_problems, parse_problem, problem_row
from ablate.errors import UserError
from ablate.types import Problem, TestCase

ROW = {"id": "add", "statement": "Print a+b.", "tests": [{"input": "1 2\n", "output": "3\n"}]}

# One row of tests/verify/judge_cases.jsonl, shortened: no difficulty, and submissions that the loader leaves alone.
CASE_ROW = {
    "id": "hotdogdeals",
    "source": "https://github.com/keppnisforritun/keppnir",
    "license": "cc by-sa",
    "statement": "At the university shop ...",
    "input_mode": "stdin",
    "float_tolerance": None,
    "tests": [{"input": "1 2\n", "output": "748\n"}],
    "submissions": [{"language": "python", "verdict": "accepted", "code": "print(748)"}],
}


def write(directory, *rows):
    path = directory / "problems.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["tiny_train.jsonl", "tiny_eval.jsonl"])
def test_shipped_problems_load(name):
    loaded = load_problems(f"shipped:{name}")
    assert len(loaded) >= 24
    assert all(isinstance(problem, Problem) for problem in loaded)


def test_a_row_of_the_judge_cases_loads_without_a_difficulty(tmp_path):
    (problem,) = load_problems(write(tmp_path, CASE_ROW))
    assert problem.difficulty == "unknown"
    assert problem.tests == (TestCase("1 2\n", "748\n"),)
    assert problem.license == "cc by-sa"


def test_blank_lines_are_skipped_and_the_order_is_kept(tmp_path):
    path = write(tmp_path, ROW, "", {**ROW, "id": "b"}, "")
    assert [problem.id for problem in load_problems(path)] == ["add", "b"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", ["JSON"]),
        ("[1]", ["list"]),
        ({"id": "x", "statement": "s"}, ["'tests'", "missing"]),
        ({**ROW, "statement": 3}, ["'statement'", "3"]),
        ({**ROW, "id": " "}, ["'id'"]),
        ({**ROW, "tests": []}, ["'tests'"]),
        ({**ROW, "tests": [{"input": "1"}]}, ["'tests[0]'"]),
        ({**ROW, "tests": [*ROW["tests"], {"input": "1", "output": 1}]}, ["'tests[1]'", "'output'"]),
        ({**ROW, "time_limit": 3}, ["'time_limit'", "unknown"]),
        ({**ROW, "time_limit_s": -1}, ["'time_limit_s'", "-1"]),
        ({**ROW, "time_limit_s": True}, ["'time_limit_s'", "true"]),
        ({**ROW, "memory_limit_mib": "64"}, ["'memory_limit_mib'", '"64"']),
        ({**ROW, "memory_limit_mib": 64.5}, ["'memory_limit_mib'", "whole"]),
        ({**ROW, "float_tolerance": float("nan")}, ["'float_tolerance'"]),
        ({**ROW, "input_mode": "socket"}, ["'input_mode'", "stdin"]),
        ({**ROW, "checker": {"kind": "lua"}}, ["'checker'", "python", "kattis"]),
        ({**ROW, "checker": {"kind": "python"}}, ["'checker'", "files"]),
        ({**ROW, "checker": {"kind": "python", "files": {"../c.py": ""}}}, ["'checker'", "relative"]),
        ({**ROW, "input_mode": "functional"}, ["'fn_name'"]),
        ({**ROW, "fn_name": "solve"}, ["'fn_name'"]),
        (ROW, ["'id'", "line 1"]),
    ],
)
def test_an_error_names_the_file_the_line_and_the_field(tmp_path, row, said):
    path = write(tmp_path, ROW, row)
    with pytest.raises(UserError) as caught:
        load_problems(path)
    message = str(caught.value)
    assert f"{path}, line 2" in message
    assert [part for part in said if part not in message] == []


def test_a_missing_file_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match=r"data\.train"):
        load_problems(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(UserError, match=r"tiny_train\.jsonl"):
        load_problems("shipped:nowhere.jsonl")


def test_a_file_without_problems_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="no problems"):
        load_problems(write(tmp_path, "", ""))


TEXT = st.text(min_size=1).filter(str.strip)


@given(
    st.builds(
        Problem,
        id=TEXT,
        statement=TEXT,
        tests=st.lists(st.builds(TestCase, input=st.text(), output=st.text()), min_size=1, max_size=3).map(tuple),
        difficulty=st.sampled_from(["easy", "unknown"]),
        input_mode=st.just("functional"),
        fn_name=TEXT,
        float_tolerance=st.none() | st.just(1e-6),
        time_limit_s=st.none() | st.floats(0.1, 100),
        memory_limit_mib=st.none() | st.integers(1, 9999),
        reference=st.none() | st.text(),
        source=st.none() | st.text(),
        license=st.none() | st.text(),
    )
)
def test_a_problem_survives_its_row(problem):
    assert parse_problem(json.dumps(problem_row(problem))) == problem


def test_every_field_of_a_problem_is_a_field_of_the_file():
    assert set(Problem.__dataclass_fields__) == {*problems.REQUIRED, *problems.OPTIONAL}


def test_a_line_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(json.dumps(ROW).encode() + b"\n\xff\n")
    with pytest.raises(UserError, match="line 2: not JSON"):
        load_problems(str(path))
