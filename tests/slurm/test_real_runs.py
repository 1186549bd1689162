"""Real training on a real SLURM: queued again in mid-run, through submitit, and by the multi-node template."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ablate.records import RunDirectory, read_parquet

ROOT = Path(__file__).parents[2]
DEADLINE_S = 1200
NUM_STEPS = 5

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(2 * DEADLINE_S)]


def short_run(model_dir: Path, outputs: Path) -> list[str]:
    return [
        *(
            "experiment=tiny",
            "setting=arithmetic",
            "objective=grpo",
            "seed=0",
            f"model.path={model_dir}",
            f"paths.outputs={outputs}",
        ),
        *(f"context.steps={NUM_STEPS}", "checkpoint.every=2", "rollout.prompts_per_step=2"),
        *("rollout.samples_per_prompt=4", "rollout.engine.kv_cache_gib=0.125", "eval.samples_per_problem=1"),
        *("eval.pass_at=[1]", "eval.contexts=[{length:160,every:0}]", "verify.workers=1", "logging.display=plain"),
    ]


def settings(directory: Path, **changes: str) -> dict[str, str]:
    usual = {"ABLATE_PYTHON": sys.executable, "ABLATE_LOGS": str(directory / "logs")}
    return usual | {"ABLATE_CPUS_PER_TASK": "1", "ABLATE_TIME_LIMIT": "30"} | changes


def submit(slurm, *words: str, **variables: str) -> str:
    result = slurm.run("bash", str(ROOT / "slurm" / "submit.sh"), *words, **variables)
    assert result.returncode == 0, result.stdout + result.stderr
    return re.search(r"^job (\d+):", result.stdout, flags=re.MULTILINE)[1]


def logs(directory: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((directory / "logs").glob("*.log")))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def runs(slurm, tiny_checkpoint, tmp_path_factory):
    """One configuration in two tasks of an array; one of them is queued again after its second step."""
    directory = tmp_path_factory.mktemp("real")
    words = [*short_run(tiny_checkpoint, directory / "outputs"), "cell=unbroken,broken"]
    job = submit(slurm, *words, **settings(directory))
    cells = {name: RunDirectory(directory / "outputs" / "tiny" / name / "seed0") for name in ("unbroken", "broken")}
    deadline = time.monotonic() + DEADLINE_S
    while len(cells["broken"].steps.metrics()) < 3:  # the evaluation at the start is one
        assert time.monotonic() < deadline, logs(directory)
        time.sleep(0.02)
    slurm.run("scontrol", "requeue", f"{job}_1")
    while slurm.states(job)["1"] != "PENDING":
        assert time.monotonic() < deadline, logs(directory)
        time.sleep(0.1)
    slurm.start_now(f"{job}_1")
    states = slurm.wait(job, DEADLINE_S)
    assert set(states.values()) == {"COMPLETED"}, logs(directory)
    return directory, words, cells


def test_a_run_that_was_queued_again_leaves_the_records_of_an_unbroken_one(runs):
    _, _, cells = runs
    broken, unbroken = cells["broken"], cells["unbroken"]
    assert len(broken.manifest.read()["attempts"]) == 2
    assert len(unbroken.manifest.read()["attempts"]) == 1
    assert broken.steps.metrics_path.read_bytes() == unbroken.steps.metrics_path.read_bytes()
    assert [row["step"] for row in broken.steps.metrics()] == list(range(NUM_STEPS + 1))
    for step in range(1, NUM_STEPS + 1):
        files = [run.steps.rollouts_file(step) for run in (broken, unbroken)]
        assert files[0].exists() == files[1].exists()
        if files[0].exists():
            assert read_parquet(files[0]) == read_parquet(files[1])
    assert broken.steps.eval_rows() == unbroken.steps.eval_rows() != []


def test_what_is_done_is_not_submitted_again(runs, slurm):
    directory, words, _ = runs
    result = slurm.run("bash", str(ROOT / "slurm" / "submit.sh"), *words, **settings(directory))
    assert result.returncode == 0
    assert "nothing to submit" in result.stdout


def test_the_submitit_launcher_expands_to_the_same_cells(runs, slurm):
    """It finds both of them done: no job trains, and no other directory appears."""
    directory, words, cells = runs
    before = {name: run.manifest.read() for name, run in cells.items()}
    launcher = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1"]
    result = slurm.run(sys.executable, "-m", "ablate.train", "-m", *launcher, *words, timeout_s=DEADLINE_S)
    assert result.returncode == 0, result.stdout + result.stderr
    output = "".join(path.read_text() for path in (directory / "outputs" / "tiny" / ".submitit").rglob("*.out"))
    for name, run in cells.items():
        assert f"{run.path}: done already, not run again" in output
        assert run.manifest.read() == before[name]
    directories = {path.name for path in (directory / "outputs" / "tiny").iterdir() if path.is_dir()}
    assert directories == {*cells, ".submitit"}


def wait_for(is_true: Callable[[], object], directory: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, logs(directory)[-9000:]
        time.sleep(0.1)


def server_at(address: str, port: int) -> int | None:
    """The process of the vLLM server there, if it runs; the commands around it only end with the same words."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # a process that has ended meanwhile
            words = path.read_bytes().decode().split("\0")
            if words[1:3] == ["-m", "vllm.entrypoints.openai.api_server"] and words[-5:-1] == [
                *("--host", address, "--port", str(port))
            ]:
                return int(path.parent.name)
    return None


def sampled_in(run: RunDirectory, step: int) -> list[tuple]:
    rows = read_parquet(run.steps.rollouts_file(step))
    return [(row["problem_id"], row["response_ids"], row["rollout_logp"], row["verdict"]) for row in rows]


def servers_of_last_batch(run: RunDirectory) -> set[str]:
    """The servers that sampled the newest training batch."""
    rows = {event["tid"]: event["args"]["name"] for event in run.trace.events() if event["name"] == "thread_name"}
    args = {(rows[span["tid"]], span["args"]["step"]) for span in run.trace.spans() if is_training(span)}
    newest = max((step for _, step in args), default=0)
    return {server for server, step in args if step == newest}


def is_training(span: dict) -> bool:
    return span["name"] == "sample" and span["args"]["purpose"] == "training"


def test_the_multi_node_template_survives_a_dead_server_and_is_queued_again_when_asked_to_stop(
    runs, slurm, tiny_checkpoint, tmp_path
):
    """Two tensor ranks and two CPU servers on three nodes. USR1 goes from SLURM through srun to the ranks."""
    _, _, cells = runs
    words = [
        *short_run(tiny_checkpoint, tmp_path / "outputs"),
        "parallel.tensor=2",
        "rollout.lag=1",
        "context.steps=1000",
    ]
    form = {"ABLATE_TRAINER_NODES": "1", "ABLATE_GENERATION_NODES": "2", "ABLATE_PROCESSES_PER_NODE": "2"}
    port = free_port()
    form |= {"ABLATE_GPUS_PER_NODE": "0", "ABLATE_SERVER_PORT": str(port), "ABLATE_SERVER_PAUSE_S": "0"}
    job = submit(slurm, "--multinode", *words, **settings(tmp_path, ABLATE_RENDEZVOUS_PORT=str(free_port()), **form))
    run = RunDirectory(tmp_path / "outputs" / "tiny" / "grpo" / "seed0")
    both = {f"http://127.0.0.{number}:{port}" for number in (2, 3)}
    wait_for(lambda: len(run.steps.metrics()) >= 2 and servers_of_last_batch(run) == both, tmp_path)
    # A sample is a function of its seed and the weights, and those of the first step are the same for both runs.
    assert sampled_in(run, step=1) == sampled_in(cells["unbroken"], step=1)

    first = server_at("127.0.0.3", port)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: server_at("127.0.0.3", port) not in (first, None), tmp_path)  # slurm/server.sh starts it again
    wait_for(lambda: servers_of_last_batch(run) == {f"http://127.0.0.2:{port}"}, tmp_path)
    assert "a server is out until the next weight update: http://127.0.0.3" in logs(tmp_path)

    slurm.run("scancel", "--signal=USR1", "--batch", job)
    wait_for(lambda: slurm.states(job) == {"0": "PENDING"}, tmp_path)
    slurm.run("scancel", job)
    assert run.status == "preempted"
    last_step = run.steps.metrics()[-1]["step"]
    assert [row["step"] for row in run.steps.metrics()] == list(range(last_step + 1))
    assert (run.checkpoints_path / f"step_{last_step:06d}").is_dir()
    assert "queueing the task again" in logs(tmp_path)
