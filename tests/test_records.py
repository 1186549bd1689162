"""A run's records survive a kill at any byte, and belong to one configuration and one process."""

import contextlib
import json
import multiprocessing
import os
import signal
import time

import pytest
import yaml

from ablate.errors import UserError
from ablate.records import RunDirectory, owner
from ablate.records.eval_texts import EvalTexts
from ablate.records.provenance import config_changes, facts
from ablate.types import EvalRow


def eval_row(step):
    return EvalRow(step, 160, "p0", "easy", 0, 17, True, True, "accepted")


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "tiny" / "grpo" / "seed0")


def fill(run, num_steps):
    run.path.mkdir(parents=True, exist_ok=True)
    run.steps.append_eval([eval_row(0)])
    for step in range(1, num_steps + 1):
        run.steps.append_metrics(step, {"train/loss": step / 3, "a": 1.0})
        run.steps.write_rollouts(step, [{"step": step, "prompt_ids": [1, 2]}])
        run.steps.append_eval([eval_row(step)])


def test_metrics_come_back_exactly_as_they_were_written(run):
    fill(run, 3)
    assert [row["train/loss"] for row in run.steps.metrics()] == [1 / 3, 2 / 3, 1.0]


def test_records_later_than_the_checkpoint_are_dropped_and_the_rest_is_untouched(run):
    fill(run, 2)
    steps = run.steps
    before = steps.metrics_path.read_bytes(), steps.rollouts_file(2).read_bytes(), steps.eval_rows()
    fill_three = {"train/loss": 1.0, "a": 1.0}
    run.steps.append_metrics(3, fill_three)
    run.steps.write_rollouts(3, [{"step": 3, "prompt_ids": [1]}])
    run.steps.append_eval([eval_row(3)])
    repairs = run.steps.keep_through(2)
    assert len(repairs) == 3
    assert (
        run.steps.metrics_path.read_bytes(),
        run.steps.rollouts_file(2).read_bytes(),
        run.steps.eval_rows(),
    ) == before
    assert not run.steps.rollouts_file(3).exists()


def test_a_checkpoint_vouches_for_the_rollouts_of_its_steps_whatever_an_evaluation_left(run):
    fill(run, 2)
    run.steps.write_failed_tests(2, [{"rollout": 0, "input": "1"}])
    EvalTexts(run.path).failed_file(0, 128).touch()
    sizes = run.steps.vouched(2, is_evaluated=True)["rollouts"]
    assert list(sizes) == [
        "rollouts/step_00001.parquet", "rollouts/step_00002.parquet", "failed_tests/step_00002.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("num_bytes", [1, 10, 25])
def test_a_half_written_line_is_dropped_and_reported(run, num_bytes):
    fill(run, 2)
    whole = run.steps.metrics_path.read_bytes()
    run.steps.metrics_path.write_bytes(whole + b'{"step": 3, "train/loss": 0.12345'[:num_bytes])
    assert any("metrics.jsonl" in repair for repair in run.steps.keep_through(2))
    assert run.steps.metrics_path.read_bytes() == whole
    assert run.steps.keep_through(2) == []


@pytest.mark.parametrize("broken", [b'{"step": 1, "tra', b'["a"]', b"\xff"])
def test_a_broken_line_before_the_last_is_named_and_nothing_is_dropped(run, broken):
    content = broken + b'\n{"step": 2}\n'
    run.path.mkdir(parents=True)
    run.steps.metrics_path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 1, has no JSON object"):
        run.steps.keep_through(2)
    assert run.steps.metrics_path.read_bytes() == content


def test_without_a_checkpoint_nothing_is_kept(run):
    fill(run, 2)
    run.steps.keep_through(-1)
    assert run.steps.metrics() == []
    assert run.steps.eval_rows() == []


def hold(path, locked, release):
    run = RunDirectory(path)
    run.owner.lock()
    locked.set()
    release.wait(30)


def test_a_second_process_on_the_same_cell_says_so(run):
    context = multiprocessing.get_context("spawn")
    locked, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(run.path, locked, release))
    process.start()
    try:
        assert locked.wait(30)
        with pytest.raises(UserError, match=f"process {process.pid} on"):
            run.owner.lock()
        assert run.owner.is_locked()
    finally:
        release.set()
        process.join(30)
    run.owner.lock()
    run.owner.unlock()
    assert not run.owner.is_locked()


@pytest.fixture
def outlive(run):
    """Lock the run in a process that ends at once, and return its child, which keeps the lock for some seconds."""
    children = []

    def start(seconds: float) -> int:
        reader, writer = os.pipe()
        leader = os.fork()
        if leader == 0:
            run.owner.lock()
            child = os.fork()
            if child == 0:
                time.sleep(seconds)
            else:
                os.write(writer, str(child).encode())
            os._exit(0)
        os.waitpid(leader, 0)
        children.append(int(os.read(reader, 20)))
        return leader

    yield start
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_lock_whose_process_is_gone_is_waited_for(run, outlive):
    outlive(0.5)
    assert run.owner.is_locked()
    run.owner.lock()
    run.owner.unlock()


def test_a_process_that_outlives_its_run_with_the_lock_can_be_found(run, outlive, monkeypatch):
    monkeypatch.setattr(owner, "LOCK_PATIENCE_S", 0.2)
    leader = outlive(60)
    with pytest.raises(UserError, match=f"process {leader} on .* is gone, .* with fuser -v {run.owner.lock_path}"):
        run.owner.lock()


def test_a_directory_belongs_to_one_configuration(run):
    old, new = "optim: {lr: 0.1}\nverify: {workers: 2}\n", "optim: {lr: 0.2}\nverify: {workers: 4}\n"
    run.claim(old, [])
    fill(run, 1)
    assert config_changes(old, new) == ["optim.lr: 0.1 -> 0.2"], "where it runs may change, what it computes may not"
    with pytest.raises(UserError, match=r"optim\.lr: 0\.1 -> 0\.2.*cell=NAME"):
        run.claim(new, config_changes(old, new))
    assert run.config_path.read_text() == old


def test_a_start_that_failed_before_its_first_step_does_not_block_the_corrected_command(run):
    run.claim("data: {train: empty.jsonl}\n", [])
    run.begin_attempt({"commit": "abc"}, "")
    run.end_attempt("failed", "data.train=empty.jsonl holds no problems")
    run.claim("data: {train: full.jsonl}\n", ["data.train: empty.jsonl -> full.jsonl"])
    assert run.config() == {"data": {"train": "full.jsonl"}}
    assert run.manifest.read() == {}


@pytest.mark.parametrize("change", ["transformer_engine: true", "attention: fused", "fp8: e4m3", "precision: bf16"])
def test_a_run_continues_with_the_kernels_and_the_rounding_it_began_with(run, change):
    old = "parallel: {tensor: 1, transformer_engine: false, attention: auto, fp8: none, precision: fp32}\n"
    key, value = change.split(": ")
    began = yaml.safe_load(old)["parallel"]
    new = yaml.safe_dump({"parallel": began | {key: yaml.safe_load(value), "tensor": 2}})
    run.claim(old, [])
    fill(run, 1)
    with pytest.raises(UserError, match=rf"parallel\.{key}: {began[key]} -> .*cell=NAME"):
        run.claim(new, config_changes(old, new))


@pytest.mark.parametrize(
    ("installed", "name"),
    [
        ("transformer_engine_torch", "transformer-engine-torch"),
        ("flashinfer_python", "flashinfer-python"),
        ("flash_attn", "flash-attn"),
        ("nvidia_cudnn_cu13", "nvidia-cudnn-cu13"),
        ("triton", "triton"),
    ],
)
def test_the_manifest_names_the_version_of_a_package_that_computes(tmp_path, monkeypatch, installed, name):
    about = tmp_path / f"{installed}-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {installed}\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert facts("seed: 0\n")["packages"][name] == "9.9"


def test_the_manifest_keeps_every_attempt(run):
    run.begin_attempt({"commit": "abc", "host": "a"}, "diff --git")
    run.end_attempt("failed", "ValueError: no\n")
    assert run.state().name == "failed"
    assert run.state().error == "ValueError: no\n"
    run.begin_attempt({"commit": "def", "host": "b"}, "")
    assert run.state().name == "interrupted", "running, and no process holds the lock: it was killed"
    run.end_attempt("done")
    manifest = run.manifest.read()
    assert manifest["commit"] == "abc"
    assert [attempt["status"] for attempt in manifest["attempts"]] == ["failed", "done"]
    assert run.manifest.diff_path.read_text() == "diff --git"
    assert run.state().name == "done"


def test_the_trace_of_a_finished_run_is_json_however_often_it_was_resumed(run):
    run.begin_attempt({}, "")
    with run.trace.timed("rollout", 1), run.trace.timed("inner", 1):
        pass
    with run.trace.path.open("a") as file:
        file.write('{"name": "cut by a ki')  # the process is killed here
    run.begin_attempt({}, "")
    with run.trace.timed("rollout", 2):
        pass
    run.end_attempt("preempted")
    run.begin_attempt({}, "")
    with run.trace.timed("rollout", 3):
        pass
    run.end_attempt("done")
    events = json.loads(run.trace.path.read_text())
    assert run.trace.events() == events
    name, *spans = events
    assert name == {"name": "thread_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": "trainer"}}
    steps = [(span["name"], span["args"]["step"]) for span in spans]
    assert steps == [("inner", 1), ("rollout", 1), ("rollout", 2), ("rollout", 3)]
    assert all(span["dur"] >= 0 and span["tid"] == 0 for span in spans)
    assert run.trace.spans() == spans


def test_a_cell_that_the_scheduler_will_run_is_queued_and_not_submitted_again(run):
    run.owner.mark_queued("17_3")
    assert run.state(frozenset({"17_3"})).name == "queued"
    assert not run.state(frozenset({"17_3"})).needs_a_run
    assert run.state(frozenset({"17_4"})).name == "missing", "the task left the queue and the run never began"
