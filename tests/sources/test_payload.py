"""Private tests of LiveCodeBench: decoded without running anything, or refused by name."""

import base64
import pickle
import zlib
from pathlib import Path

import pytest
from public_sets.example import HELD_OUT, stdin_pairs
from public_sets.livecodebench import broken_payloads, packed, program_row
from public_sets.write import write_jsonl

from ablate.errors import UserError
from ablate.sources import payload
from ablate.sources.base import RawRow, SourceConfig, read
from ablate.sources.choices import SOURCES
from ablate.sources.reasons import Reason, Refused

TRACE = "trace of a pickle that was run"
PAYLOADS = broken_payloads(TRACE)
GOOD = program_row(1, "2024-09-01", stdin_pairs(HELD_OUT[0]), HELD_OUT[0].statement, "packed")


def raw(**columns) -> RawRow:
    return RawRow("livecodebench", "v1", 0, None, {**GOOD, **columns})


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_broken_payload_is_refused_by_its_own_reason_and_never_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, reason = PAYLOADS[name]
    with pytest.raises(Refused) as refused:
        SOURCES["livecodebench"].decode(raw(private_test_cases=text))
    assert refused.value.reason == reason
    assert list(tmp_path.iterdir()) == []


def test_the_hostile_pickle_is_one_that_unpickling_would_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, _ = PAYLOADS["a pickle that runs a command"]
    pickle.loads(zlib.decompress(base64.b64decode(text)))
    assert Path(TRACE).is_dir()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["[]", "[" + '"ü\\n", ' * 40_000 + '"\U0001f40f"]'], ids=["short", "long"])
def test_a_pickled_string_is_read_in_every_protocol(protocol, text):
    data = pickle.dumps(text, protocol)
    assert payload.pickled_text(data) == text


def test_a_payload_beyond_the_limit_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(payload, "MAX_BYTES", 1000)
    with pytest.raises(Refused) as refused:
        payload.decode_tests(packed("[" + "1," * 5000 + "1]"))
    assert refused.value.reason == Reason.too_large


def test_an_evaluation_set_with_a_row_that_cannot_be_decoded_is_an_error(tmp_path):
    facts = SourceConfig(hub="", revision=None, license=None, float_tolerance=None, rows={"v1": 2})
    broken = {**GOOD, "question_id": "other", "private_test_cases": "****"}
    write_jsonl(tmp_path / "test.jsonl", [GOOD, broken])
    with pytest.raises(UserError, match=r"row 1 of v1 cannot be decoded .*bad_json.*must be complete"):
        list(read(SOURCES["livecodebench"], tmp_path, facts))


def test_an_evaluation_problem_without_any_test_is_an_error(tmp_path):
    facts = SourceConfig(hub="", revision=None, license=None, float_tolerance=None, rows={"v1": 1})
    write_jsonl(tmp_path / "test.jsonl", [{**GOOD, "public_test_cases": "[]", "private_test_cases": "[]"}])
    with pytest.raises(UserError, match="no_tests"):
        list(read(SOURCES["livecodebench"], tmp_path, facts))


def test_an_evaluation_problem_that_occurs_twice_is_an_error(tmp_path):
    facts = SourceConfig(hub="", revision=None, license=None, float_tolerance=None, rows={"v1": 1, "v2": 1})
    write_jsonl(tmp_path / "test.jsonl", [GOOD])
    write_jsonl(tmp_path / "test2.jsonl", [GOOD])
    with pytest.raises(UserError, match="tiny_001 occurs twice"):
        list(read(SOURCES["livecodebench"], tmp_path, facts))
