"""A run directory that is damaged, unfinished, moved or of another version: one sentence, or it works."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ablate.cli import recorded
from ablate.errors import UserError
from ablate.objectives import build, canonical
from ablate.records import RunDirectory
from ablate_analysis.load import load_experiment

FIXTURE = Path(__file__).parent / "analysis" / "fixture_outputs" / "tiny"


@pytest.fixture
def experiment(tmp_path) -> Path:
    """Two finished runs, and two whose records a test may damage."""
    for cell in ("grpo", "dapo"):
        shutil.copytree(FIXTURE / cell, tmp_path / "tiny" / cell)
    return tmp_path / "tiny"


@pytest.fixture
def run(experiment) -> RunDirectory:
    return RunDirectory(experiment / "grpo" / "seed0")


def cut_in_half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


READERS = {
    "manifest.json": lambda run: run.state(),
    "config.yaml": lambda run: recorded(run.config_path, []),
    "eval.parquet": lambda run: run.steps.eval_rows(),
    "heartbeat.json": lambda run: run.state(),
    "selected.json": lambda run: run.selected(),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", ["cut in half", "other bytes", "empty"])
def test_a_damaged_record_is_named_in_one_sentence(name, damage, run):
    path = run.path / name
    if name in ("heartbeat.json", "selected.json"):
        path.write_text('{"step": 12}')
    if damage == "cut in half":
        cut_in_half(path)
        if name == "config.yaml":
            path.write_text(path.read_text() + "\n  [: ")  # half of a YAML file may be a whole one
    else:
        path.write_bytes(b"" if damage == "empty" else b"\xff\xfe\x00{[")
    with pytest.raises(UserError, match=name) as refusal:
        READERS[name](run)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml", "eval.parquet"])
def test_a_report_on_damaged_runs_names_the_file(name, run, experiment):
    (run.path / name).write_bytes(b"\xff\xfe\x00{[")
    with pytest.raises(UserError, match=f"seed0/{name}"):
        load_experiment(experiment)


def test_a_report_while_runs_are_going_on_holds_the_finished_ones(run, experiment):
    with run.steps.metrics_path.open("a") as file:
        file.write('{"step": 31, "half')
    manifest = run.manifest.read()
    run.manifest.path.write_text(json.dumps({**manifest, "status": "running"}))
    run.steps.eval_path.write_bytes(b"PAR1")
    (experiment / "dapo" / "seed7").mkdir()
    (experiment / "dapo" / "seed7" / "lock").write_text("process 1 on elsewhere")
    shutil.copy(run.config_path, experiment / "dapo" / "seed7" / "config.yaml")  # before its first attempt is noted
    found = load_experiment(experiment)
    assert "grpo/seed0" not in {each.name for each in found.runs}
    assert set(found.skipped) == {"grpo/seed0 is running", "dapo/seed7 is missing"}


def test_a_run_that_was_copied_from_another_machine_is_interrupted_and_not_running(run):
    manifest = run.manifest.read()
    run.manifest.path.write_text(json.dumps({**manifest, "status": "running", "host": "elsewhere"}))
    run.owner.lock_path.write_text("process 4711 on elsewhere")
    run.owner.heartbeat_path.write_text('{"step": 3, "of": 40}')  # with the words of another version
    assert run.state().name == "interrupted"
    run.owner.lock()
    run.owner.unlock()


def test_a_manifest_of_another_version_needs_a_run(run):
    run.manifest.path.write_text('{"version": 9, "state": "complete"}')
    assert run.state().name == "unknown"
    assert run.state().needs_a_run


def test_a_configuration_with_keys_that_nobody_knows_is_refused_with_their_names(run):
    values = yaml.safe_load(run.config_path.read_text())
    values["rollout"]["warp"] = 9
    values["telepathy"] = {"on": True}
    run.config_path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"another version, whose .*rollout\.warp.* this version does not know"):
        recorded(run.config_path, [])
    with pytest.raises(UserError, match="telepathy"):
        recorded(run.config_path, [])


def test_a_report_on_a_run_of_another_version_names_what_it_lacks(run, experiment):
    values = yaml.safe_load(run.config_path.read_text())
    del values["objective"]["label"], values["comparison"]
    run.config_path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"another version: it has no objective\.label, comparison\.factors"):
        load_experiment(experiment)


def test_a_python_objective_with_a_syntax_error_is_one_sentence(tmp_path, run):
    part = tmp_path / "mine.py"
    part.write_text("def my_weight(batch:\n    return 1\n")
    objective = {**yaml.safe_load(run.config_path.read_text())["objective"], "weight": f"{part}:my_weight"}
    for call in (build, canonical):
        with pytest.raises(UserError, match=r"mine\.py cannot be loaded \(SyntaxError: .*correct the file") as refusal:
            call(objective)
        assert "\n" not in str(refusal.value)


OPEN_FILES = """
import resource, sys
from ablate.cli import compose, run_main
from ablate.config import parse
from ablate.config.open_files import allow_open_files
soft, hard, *sys.argv[1:] = (int(word) if word.isdecimal() else word for word in sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
run_main(lambda: allow_open_files(parse(compose(sys.argv[1:]))))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "code", "said"),
    [
        (256, 4096, 0, "(1568, 4096)"),
        (256, 1024, 2, "16 servers x 64 requests and 8 sandboxes need 1568 open files, but the hard limit is 1024"),
    ],
)
def test_the_leader_may_open_as_many_files_as_its_servers_and_sandboxes_need(soft, hard, code, said):
    urls = ",".join(f"http://node:{port}" for port in range(8000, 8016))
    words = [f"rollout.engine.urls=[{urls}]", "verify.workers=8"]
    command = [sys.executable, "-c", OPEN_FILES, str(soft), str(hard), *words]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    assert said in result.stdout + result.stderr
