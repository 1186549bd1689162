"""The doctor says of every part whether it works on this machine, and one broken part hides no other."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import forks
import pytest
from ramp_up import PYTHON, words_after

from ablate.cli import compose
from ablate.config import parse
from ablate.doctor import hand_off, links, machine, sandbox
from ablate.doctor.child import in_child
from ablate.doctor.finding import (
    FAILED,
    NOT_NEEDED,
    OK,
    WARNING,
    Finding,
    counts,
    exit_code,
    row,
    run_check,
    run_checks,
)
from ablate.process.memory import usable_bytes


@pytest.fixture(scope="module")
def config():
    return parse(compose([]))


ON_A_CPU = [
    *("parallel=single", "parallel.max_tokens_per_micro_batch=40960", "rollout=tiny"),
    *("verify.backend=local", "verify.workers=2"),
]


def test_the_command_of_the_ramp_up_runs_every_check_of_this_machine_and_all_are_well():
    words = words_after(f"{PYTHON} ablate.doctor")
    result = forks.run(["-m", "ablate.doctor", *words, *ON_A_CPU, "json=true"])
    assert result.returncode == 0, result.stdout + result.stderr
    status = {row["check"]: row["status"] for row in json.loads(result.stdout)}
    computed = {
        "CPUs and memory",
        "sandbox",
        "engine",
        "weight hand-off",
        "trainer",
        "packing noise",
        "head",
        "numerics",
        "links",
        "disk",
        "open files",
    }
    assert {check for check in computed if status[check] == OK} == computed, result.stdout
    assert status["Modal"] == status["W&B"] == NOT_NEEDED


def test_a_check_that_raises_is_a_failed_row():
    def broken():
        raise ValueError("the cause\nof it all")

    (finding,) = run_check("engine", broken)
    assert (finding.status, finding.says) == (FAILED, "ValueError: the cause of it all")


def test_a_check_whose_cause_has_failed_already_is_not_tried():
    checks = {
        "Modal": lambda: [Finding("Modal", FAILED, "no token", "set it")],
        "sandbox": lambda: [Finding("sandbox", FAILED, "no token", "set it")],
        "links": lambda: [Finding("links", OK, "well")],
    }
    found = list(run_checks(checks, {"sandbox": "Modal", "links": "sandbox"}))
    assert [each.status for each in found] == [FAILED, NOT_NEEDED, OK]
    assert "Modal failed" in found[1].says


def end_at_once(_):
    os._exit(3)


def sleep_for_ever(_):
    time.sleep(600)


@pytest.mark.parametrize(
    ("check", "limit_s", "says"), [(end_at_once, 900, "exit code 3"), (sleep_for_ever, 0.1, "no answer within")]
)
def test_a_check_whose_process_ends_or_hangs_is_a_failed_row(config, check, limit_s, says):
    (finding,) = in_child("engine", check, config, limit_s)
    assert finding.status == FAILED
    assert says in finding.says


def test_only_a_failure_makes_the_exit_code_1():
    row = Finding("a", OK, "well")
    assert exit_code([row, replace(row, status=WARNING)]) == 0
    assert exit_code([row, replace(row, status=FAILED)]) == 1


def test_every_row_that_is_not_well_shows_its_fix():
    findings = [Finding("disk", OK, "75 GiB"), Finding("W&B", FAILED, "no key", "wandb login")]
    assert ["fix: wandb login" in row(each) for each in findings] == [False, True]
    assert counts(findings) == "1 ok, 0 warning, 1 failed, 0 not needed"


@pytest.mark.parametrize(
    ("pins", "status"),
    [("numpy=={numpy}\n", OK), ("numpy==0.1\n", FAILED), ("rich==0.1\n", WARNING), ("# rich==0.1\n", OK)],
)
def test_a_package_that_computes_must_have_its_pinned_version(monkeypatch, tmp_path, pins, status):
    (tmp_path / "requirements-cpu.txt").write_text(pins.format(numpy=machine.installed("numpy")))
    monkeypatch.setattr(machine, "REPOSITORY", tmp_path)
    (finding,) = machine.packages(on_gpu=False)
    assert finding.status == status
    assert bool(finding.fix) == (status != OK)


def test_a_gpu_layout_needs_a_gpu_and_transformer_engine(monkeypatch, config):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    wanted = replace(config, parallel=replace(config.parallel, transformer_engine=True))
    assert [finding.status for finding in machine.driver(wanted)] == [FAILED]
    assert [finding.status for finding in machine.driver(config)] == [NOT_NEEDED]
    monkeypatch.setattr(machine, "installed", lambda name: None)
    assert [finding.status for finding in machine.transformer_engine(wanted)] == [FAILED]


def test_a_machine_with_gpus_needs_cpus_and_memory_for_its_servers_and_ranks(monkeypatch):
    wanted = parse(compose(["experiment=nouscoder_14b", "setting=apart", "objective=gspo", "seed=0"]))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    for cpus, gigabytes, status in ((64, 1000, OK), (31, 1000, FAILED), (64, 200, FAILED)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cpus=cpus: range(cpus))
        monkeypatch.setattr(machine, "usable_bytes", lambda gigabytes=gigabytes: gigabytes * 1e9)
        (finding,) = machine.cpus_and_memory(wanted)
        assert finding.status == status, finding
    assert "8 trainer ranks needs 24 CPUs and 418 GB" in finding.says


@pytest.mark.parametrize(
    ("line", "limits", "expected"),
    [
        ("0::/", {}, 64 * 2**30),
        ("0::/job_7/step_0/task_0", {"job_7/memory.max": "17179869184\n", "job_7/step_0/memory.max": "max\n"}, 2**34),
        ("0::/elsewhere", {"memory.max": "17179869184\n"}, 2**34),  # a container sees its own group as the root
        ("9:cpu,memory:/job_7/task_0", {"memory/job_7/memory.limit_in_bytes": "17179869184\n"}, 2**34),
        ("9:cpu:/job_7", {"memory/job_7/memory.limit_in_bytes": "17179869184\n"}, 64 * 2**30),
    ],
)
def test_memory_is_what_the_group_of_a_job_leaves_to_its_tasks(tmp_path, line, limits, expected):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {64 * 2**20} kB\nMemAvailable: {32 * 2**20} kB\n")
    (proc / "self" / "cgroup").write_text(line + "\n")
    for name, text in limits.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    assert usable_bytes(proc, groups) == expected
    assert usable_bytes(proc, groups, now=True) == min(expected, 32 * 2**30)


def test_kernels_are_compiled_at_run_time_only_where_there_is_a_compiler(monkeypatch, config, tmp_path):
    assert machine.compiler(config)[0].status == NOT_NEEDED
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "no C compiler" in machine.compiler(config)[0].says
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert "no Python.h" in machine.compiler(config)[0].says
    (tmp_path / "Python.h").touch()
    assert machine.compiler(config)[0].status == OK


def find_links(number, outputs, line):
    os.environ |= {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_JOB_NUM_NODES": "2", "SLURM_PROCID": str(number)}
    line.send(links.links_between_nodes(parse(compose([f"paths.outputs={outputs}"]))))


def test_two_nodes_measure_the_link_between_them(tmp_path, config):
    assert links.links_between_nodes(config)[0].status == NOT_NEEDED
    earlier = tmp_path / ".doctor-7.0-store"
    earlier.write_text("localhost 9")  # of a doctor before this one, in the same allocation
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe(duplex=False) for _ in range(2)]
    nodes = [
        context.Process(target=find_links, args=(number, tmp_path, theirs), daemon=True)
        for number, (_, theirs) in enumerate(pairs)
    ]
    for node in nodes:
        node.start()
    for ours, _ in pairs:
        assert ours.poll(900)
        (finding,) = ours.recv()
        assert finding.status == OK
        assert "2 nodes broadcast to each other: gloo" in finding.says
    assert earlier.read_text() == "localhost 9"


def measure_links():
    links.links(parse(compose([])))


def children_of(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


def has_torch(pid):
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def test_ranks_that_hang_end_with_the_check_that_the_doctor_gives_up():
    check = multiprocessing.get_context("spawn").Process(target=measure_links)
    check.start()
    end = time.monotonic() + 900
    while len(ranks := [pid for pid in children_of(check.pid) if has_torch(pid)]) < 2:
        assert check.is_alive()
        assert time.monotonic() < end
        time.sleep(0.02)
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)  # as deaf as a rank in a collective of NCCL
    check.kill()
    check.join()
    try:
        end = time.monotonic() + 20
        while left := [rank for rank in ranks if Path(f"/proc/{rank}").exists()]:
            assert time.monotonic() < end, left
            time.sleep(0.1)
    finally:
        for rank in ranks:
            with suppress(ProcessLookupError):
                os.kill(rank, signal.SIGKILL)


def test_the_collectors_memory_is_tried_where_a_run_uses_it(config):
    assert hand_off.collector_memory(config)[0].status == NOT_NEEDED
    lagging = replace(config, rollout=replace(config.rollout, lag=1))
    assert hand_off.collector_memory(lagging)[0].status == OK


def test_services_are_asked_for_credentials_only_where_the_run_uses_them(monkeypatch, tmp_path, config):
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = replace(
        config,
        verify=replace(config.verify, backend="modal"),
        logging=replace(config.logging, wandb="online"),
    )
    assert machine.modal_credentials(wanted)[0].status == machine.wandb_login(wanted)[0].status == FAILED
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-1")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-1")
    monkeypatch.setenv("WANDB_API_KEY", "1")
    assert machine.modal_credentials(wanted)[0].status == machine.wandb_login(wanted)[0].status == OK


def test_nodes_that_do_not_see_each_other_s_files_are_told(monkeypatch, tmp_path, config):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setattr(machine, "NODES_DEADLINE_S", 0.1)
    wanted = replace(config, paths=replace(config.paths, outputs=str(tmp_path)))
    (finding,) = machine.shared_disk(wanted)
    assert (finding.status, "1 of 2 nodes" in finding.says) == (FAILED, True)
    (tmp_path / ".doctor-7.0" / "another-node").touch()
    assert machine.shared_disk(wanted)[0].status == OK
    monkeypatch.setenv("SLURM_STEP_ID", "1")  # another doctor in the same allocation
    assert machine.shared_disk(wanted)[0].status == FAILED


def test_a_sandbox_that_lets_a_hostile_program_out_is_a_failure(monkeypatch, config):
    monkeypatch.setattr(sandbox, "ESCAPES", "print(5)  # what it prints once it is out; port {port}")
    (finding,) = sandbox.sandbox(config)
    assert finding.status == FAILED
    assert "do not train on this machine" in finding.fix


@pytest.mark.parametrize(
    ("times_slower", "time_scale", "status"), [(1.0, 1, OK), (1.9, 1, OK), (3.0, 1, WARNING), (3.0, "auto", OK)]
)
def test_much_slower_cores_are_a_warning_unless_limits_are_scaled(config, times_slower, time_scale, status):
    verify = replace(config.verify, time_scale=time_scale)
    finding = sandbox.speed(verify, times_slower * verify.reference_speed_s)
    assert finding.status == status
    assert f"{times_slower:.2f} times as long" in finding.says
    assert ("verify.time_scale=auto" in finding.fix) == (status == WARNING)
