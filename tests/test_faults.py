"""The fault campaign's own parts: mutated inputs are refused in one sentence, and a span that a kill cut is seen."""

from __future__ import annotations

import random

import pytest
import torch

from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.records import RunDirectory
from ablate.records.trace import Trace
from ablate.train import disk_faults_in_one_sentence
from benchmarks.faults import malformed
from benchmarks.faults.table import Trial, TrialFile, table


@pytest.mark.parametrize("kind", ["problem_file", "submissions", "verdict_file", "replay_cases"])
def test_a_mutated_input_is_accepted_or_refused_in_one_sentence_and_stays_as_it_is(kind, tmp_path):
    outcomes = set()
    for number in range(40):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        read = getattr(malformed, kind)(scratch, random.Random(f"suite/{number}"))
        before = malformed.contents(scratch)
        outcome, said = malformed.outcome_of(read)
        assert outcome in ("accepted", "refused in one sentence"), f"{number}: {said}"
        assert outcome == "accepted" or malformed.contents(scratch) == before
        outcomes.add(outcome)
    assert outcomes


def test_a_shape_of_the_wrong_type_is_refused_in_one_sentence():
    outcome, said = malformed.outcome_of(lambda: malformed.check(["model.architecture.num_heads=[]"]))
    assert outcome == "refused in one sentence", said
    assert "num_heads must be a whole number above 0" in said


def test_a_span_log_has_a_begin_without_an_end_where_a_run_was_killed(tmp_path, monkeypatch):
    log = tmp_path / "spans"
    monkeypatch.setenv("ABLATE_SPAN_LOG", str(log))
    trace = Trace(tmp_path)
    with trace.timed("rollout", 1):
        assert [line.split()[:3] for line in log.read_text().splitlines()] == [["begin", "rollout", "1"]]
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["begin", "end"]


def test_trials_of_several_pieces_add_up_to_one_table(tmp_path):
    for is_hit in (True, False):
        TrialFile(tmp_path / "trials.jsonl").append(Trial("kills", "update", is_hit, "equal, clean"))
    assert "| kills | update | 2 | 1 | 2 equal, clean |" in table(TrialFile(tmp_path / "trials.jsonl").read())


def test_a_full_disk_is_one_sentence_where_torch_hides_it(tmp_path):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # every write to it fails as on a full disk
    with (
        pytest.raises(UserError, match="no space is left for"),
        disk_faults_in_one_sentence(RunDirectory(tmp_path)),
        full.open("wb") as file,
    ):
        torch.save({"weights": torch.zeros(1 << 20)}, file)


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    write_atomic(path, "old")
    monkeypatch.setattr("ablate.files.scratch_path", lambda path: tmp_path / "scratch")
    (tmp_path / "scratch").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        write_atomic(path, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["manifest.json"]
    assert path.read_text() == "old"
