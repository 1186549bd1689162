"""Work in progress: what it belongs to, who does it, and what is left of it when something stops it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from curate_support import configured
from public_sets.deepcoder import taco_program
from public_sets.example import TRAIN, stdin_pairs
from public_sets.write import write_parquet

from ablate.curate.progress import Progress
from ablate.curate.run import curate
from ablate.curate.work import locked
from ablate.errors import UserError

SLOW = "import time\nwhile time.process_time() < 0.4: pass\n"


@pytest.fixture
def small(public_sets, tmp_path):
    """The words of a curation of two programs, the second of which takes 0.4 s of CPU time a test."""
    source = tmp_path / "source"
    rows = [taco_program(TRAIN[n].statement, stdin_pairs(TRAIN[n])[:4], f"{TRAIN[n].program}") for n in (0, 1)]
    rows[1]["solutions"] = [SLOW + each for each in rows[1]["solutions"]]
    write_parquet(source / "taco" / "train-00000-of-00001.parquet", rows)
    (source / "source.json").write_text(json.dumps({"revision": "made", "rows": {"taco": 2}}))
    benchmark = shutil.copytree(public_sets["livecodebench"], tmp_path / "benchmark")
    return [
        *(f"source.deepcoder={source}", f"source.livecodebench={benchmark}"),
        *(f"out={tmp_path / 'set'}", f"verify.cache_dir={tmp_path / 'verdicts'}", "train.min_tests=2"),
    ]


def test_a_decision_under_other_limits_is_made_again_and_the_manifest_names_the_limits_that_hold(small, tmp_path):
    assert curate(configured(*small, "verify.time_limit_s=0.2"), "", (0, 1), Progress()) is None
    manifest = curate(configured(*small, "verify.time_limit_s=10"), "", None, Progress())
    assert manifest["references"]["verify"]["time_limit_s"] == 10
    assert manifest["counts"]["verified_references"] == manifest["counts"]["train"] == 2
    assert "reference_too_slow" not in manifest["counts"]["reasons"]


def test_a_corrected_number_of_rows_continues_with_the_decoded_rows(small, tmp_path):
    config = configured(*small, "references.run=false")
    facts = tmp_path / "benchmark" / "source.json"
    right = facts.read_text()
    facts.write_text(right.replace('"v6": ', '"v6": 1'))
    with pytest.raises(UserError, match=r"config v6 in .* has \d+ rows, not 1\d+"):
        curate(config, "", None, Progress())
    blocks = tmp_path / "set.partial" / "blocks"
    decoded = {path: path.stat().st_mtime_ns for path in blocks.iterdir()}
    assert len(decoded) >= 10
    with pytest.raises(UserError, match=r"train\.min_tests is 2 there and 1 here"):
        curate(configured(*small, "references.run=false", "train.min_tests=1"), "", None, Progress())
    facts.write_text(right)
    curate(config, "", (0, 1), Progress())
    assert {path: path.stat().st_mtime_ns for path in decoded} == decoded


def test_the_same_command_twice_at_once_is_refused_and_names_the_process_that_works(small, tmp_path):
    out, partial = tmp_path / "set", tmp_path / "set.partial"
    config = configured(*small, "references.run=false")
    for held, shares in ((None, (None, (0, 2))), ((0, 2), (None, (0, 2)))):
        with locked(out, partial, held):
            for share in shares:
                with pytest.raises(UserError, match=f"process {os.getpid()} on .* works in .*partial: wait for it"):
                    curate(config, "", share, Progress())
            with contextlib.nullcontext() if held else pytest.raises(UserError), locked(out, partial, (1, 2)):
                pass
    out.mkdir()  # another command ended in the meantime
    with pytest.raises(UserError, match="exists already"), locked(out, partial, None):
        pass


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in path.read_text().split()] if path.exists() else []
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def stopped(words: list[str], blocks: Path, how: str) -> tuple[int, str]:
    """The exit code and the last words of a command that a killed worker, a full disk or a Ctrl-C stops."""

    def limit() -> None:
        if how == "disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "ablate.curate", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=limit, start_new_session=True)
    while how != "disk" and process.poll() is None:
        if how == "worker" and children_of(process.pid):
            os.kill(children_of(process.pid)[0], signal.SIGKILL)
            break
        if how == "interrupt" and list(blocks.glob("*.jsonl")):
            os.killpg(process.pid, signal.SIGINT)
            break
        time.sleep(0.01)
    return process.wait(), process.stderr.read()


def test_whatever_stops_a_curation_is_one_sentence_and_what_was_done_is_kept(small, tmp_path):
    words = [*small, "references.run=false", "workers=1"]
    blocks = tmp_path / "set.partial" / "blocks"
    for how, code, said in (
        ("worker", 2, "a process that decodes rows was killed"),
        ("disk", 2, "file too large: make room and repeat this command"),
        ("interrupt", 130, "what is done is kept: the same command continues"),
    ):
        found, text = stopped(words, blocks, how)
        while how == "interrupt" and found == 0:  # it was done before the signal came
            shutil.rmtree(tmp_path / "set")
            found, text = stopped(words, blocks, how)
        assert (found, "Traceback" in text) == (code, False), text
        assert said in text
    assert list(blocks.glob("*.jsonl"))
    assert curate(configured(*words), "", None, Progress())["counts"]["train"] == 2
