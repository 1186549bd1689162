"""Real contest submissions get the verdict that their contest gave them, through ``python -m ablate.verify``.

judge_cases.jsonl: problems and submissions of Kodsport, KEPPNI and the Kattis export repositories, CC BY-SA; each row
names its source and licence.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ramp_up import PYTHON, words_after

from ablate.errors import UserError
from ablate.verify.verdict_file import keep_finished

CASES = Path(__file__).parent / "judge_cases.jsonl"
# The programs that run out of 15 s do so at 1.5 s too. An accepted program of these problems needs at most 0.03 s, a
# fiftieth, so a slow or busy machine changes no verdict. The one of hotdogdeals needs 0.4 to 2 s; its limit is its own.
SCALED = ["verify.time_limit_s=1.5", "verify.cache_dir=unused"]


def verify(*arguments: object, expect: int = 0, cwd: Path | None = None) -> str:
    command, environment = (
        [sys.executable, "-m", "ablate.verify", *map(str, arguments)],
        os.environ | {"COLUMNS": "200"},
    )
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
    assert done.returncode == expect, done.stderr
    return done.stderr


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The file of verdicts, by the command of docs/cluster.md."""
    directory = tmp_path_factory.mktemp("judge")
    (directory / "tests").symlink_to(CASES.parents[1])
    return directory / "verdicts.jsonl", verify(*words_after(f"{PYTHON} ablate.verify"), *SCALED, cwd=directory)


def test_real_submissions_get_their_contests_verdict(judged):
    wanted = {(row["id"], entry["file"]): entry["passes"] for row in read_rows(CASES) for entry in row["submissions"]}
    found = {(row["id"], row["file"]): row["passed"] for row in read_rows(judged[0])}
    assert found == wanted
    assert len(found) == 28


def test_an_output_line_says_what_happened(judged):
    for row in read_rows(judged[0]):
        assert row["passed"] == (row["verdict"] == "accepted") == (row["num_passed"] == row["num_tests"])
        assert (row["first_failed"] is None) == row["passed"]
        assert row["cpu_s"] > 0 < row["wall_s"]
        assert row["peak_mib"] > 1


def test_a_second_run_verifies_nothing_twice(judged):
    out, _ = judged
    before = out.read_text()
    assert "28 known from before" in verify(f"cases={CASES}", f"out={out}", *SCALED)
    assert out.read_text() == before


ROW = {"id": "add", "tests": [{"input": "1 2", "output": "3"}], "submissions": [{"file": "a", "code": "print(3)"}]}


def test_broken_lines_are_named_and_the_rest_goes_on(tmp_path):
    lines = [
        json.dumps(ROW),
        "{not json",
        json.dumps({**ROW, "tests": []}),
        json.dumps({**ROW, "tests": [{"input": 1, "output": "3"}]}),
        json.dumps({**ROW, "input_mode": "functional"}),
        json.dumps({**ROW, "id": "late", "submissions": [{"file": "b"}, {"file": "c", "code": "print(4)"}]}),
        "\udcff",
    ]
    cases, out = tmp_path / "cases.jsonl", tmp_path / "out.jsonl"
    cases.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
    said = verify(f"cases={cases}", f"out={out}", *SCALED)
    for number, word in ((2, "not JSON"), (3, "tests"), (4, "input"), (5, "fn_name"), (6, "code"), (7, "not JSON")):
        assert any(f"cases.jsonl:{number}:" in line and word in line for line in said.splitlines()), said
    assert [(row["id"], row["file"], row["passed"]) for row in read_rows(out)] == [
        ("add", "a", True),
        ("late", "c", False),
    ]


def test_a_half_written_line_and_an_infrastructure_error_are_verified_again(tmp_path):
    cases, out = tmp_path / "cases.jsonl", tmp_path / "out.jsonl"
    cases.write_text(json.dumps(ROW))
    out.write_text('{"key": "k", "verdict": "infrastructure_error"}\n{"key": "x", "verd')
    verify(f"cases={cases}", f"out={out}", *SCALED)
    assert [row["verdict"] for row in read_rows(out)] == ["accepted"]


@pytest.mark.parametrize("content", ["notes\n", '{"id": "a"}\n', "notes"])
def test_a_file_that_holds_no_verdicts_is_never_written_over(tmp_path, content):
    (tmp_path / "notes").write_text(content)
    with pytest.raises(UserError, match="contains lines that are not verdicts"):
        keep_finished(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == content


def test_answers_with_fences_are_extracted_on_request(tmp_path):
    cases, out = tmp_path / "cases.jsonl", tmp_path / "out.jsonl"
    answers = [{"file": "a", "code": "So:\n```python\nprint(3)\n```"}, {"file": "b", "code": "print(3)"}]
    cases.write_text(json.dumps({**ROW, "submissions": answers}))
    verify(f"cases={cases}", f"out={out}", "extract=true", *SCALED)
    assert [row["verdict"] for row in read_rows(out)] == ["accepted", "no_code"]


def test_a_flake_rate_is_measured_on_demand(tmp_path):
    cases, out = tmp_path / "cases.jsonl", tmp_path / "out.jsonl"
    coin = {"file": "coin", "code": "import os\nprint(3 + os.urandom(1)[0] % 2)"}
    cases.write_text(json.dumps({**ROW, "submissions": [*ROW["submissions"], coin]}))
    said = verify(f"cases={cases}", f"out={out}", "recheck=24", *SCALED)
    assert "flake rate: 0.5000 of 2 submissions" in said
    assert len(read_rows(out)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["out=o.jsonl"], "cases"),
        (["cases=nowhere.jsonl", "out=o.jsonl"], "nowhere.jsonl is not a file"),
        ([f"cases={CASES}", "out=o.jsonl", "verify.time_limit_s=soon"], "verify.time_limit_s"),
        ([f"cases={CASES}", "out=o.jsonl", "verify.comparison=fuzzy"], "verify.comparison=fuzzy"),
        ([f"cases={CASES}", "out=o.jsonl", "verify.workers=0"], "verify.workers"),
    ],
)
def test_a_users_mistake_is_one_sentence(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    said = verify(*arguments, expect=2)
    assert words in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1
