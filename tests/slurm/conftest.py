"""A SLURM of our own: munged, slurmctld and a slurmd for each of three nodes on this machine, on free ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
START_DEADLINE_S = 300
NODES = ("node0", "node1", "node2")  # a job of one node gets the first
NUM_CPUS = 4  # what SLURM believes a node has: tasks that wait use none
CONFIGURATION = """\
ClusterName=ablate
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool_%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd_%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd_%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MpiDefault=none
MailProg=/bin/true
KillWait=5
MinJobAge=600
JobRequeue=1
ReturnToService=2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# Every node has a loopback address of its own, so that servers of several nodes can have the same port.
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.{number} Port={port} CPUs={cpus} Weight={number}"


@dataclass(frozen=True)
class Cluster:
    """A running SLURM; its commands need ``environment``."""

    environment: dict[str, str]

    def run(self, *command: str, timeout_s: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment | variables
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)

    def states(self, job: str) -> dict[str, str]:
        """State of every task of an array, by its index (of a plain job under the key ``""``)."""
        shown = self.run("squeue", "--array", "--states=all", "--noheader", f"--jobs={job}", "--format=%K %T").stdout
        pairs = [line.split() for line in shown.splitlines()]
        return {"" if index == "N/A" else index: state for index, state in pairs}

    def start_now(self, job: str) -> None:
        """Start a job that was queued again without SLURM's wait of two minutes.

        It still waits some seconds, because slurmd refuses credentials from the second in which the job ended.
        """
        self.run("scontrol", "update", f"job={job}", "starttime=now+3")

    def wait(self, job: str, deadline_s: float) -> dict[str, str]:
        """States of a job's tasks once none is waiting, running or ending, or at the deadline."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            states = self.states(job)
            if states and not set(states.values()) & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"}:
                return states
            time.sleep(0.2)
        return self.states(job)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Cluster]:
    missing = [name for name in DAEMONS if daemon_path(name) is None]
    if missing:
        pytest.skip(f"SLURM is not installed here ({', '.join(missing)}): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of our own must be started as root")
    with cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def daemon_path(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Start the daemons, wait until the nodes are idle, and end them by their process ids."""
    controller_port, *node_ports = free_ports(1 + len(NODES))
    for name in ("state", *(f"spool_{node}" for node in NODES)):
        (directory / name).mkdir()
    configuration, host = directory / "slurm.conf", socket.gethostname()
    nodes = [
        NODE.format(name=name, host=host, number=number, port=port, cpus=NUM_CPUS)
        for number, (name, port) in enumerate(zip(NODES, node_ports, strict=True), start=1)
    ]
    general = CONFIGURATION.format(host=host, directory=directory, controller_port=controller_port)
    configuration.write_text("\n".join([*nodes, general]))
    key = directory / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    running = Cluster(os.environ | {"SLURM_CONF": str(configuration)})
    with ExitStack() as stack:
        munge_files = {"key-file": key, "socket": directory / "munge.socket", "pid-file": directory / "munged.pid"}
        munge_files |= {"log-file": directory / "munged.log", "seed-file": directory / "munged.seed"}
        arguments = [f"--{name}={path}" for name, path in munge_files.items()]
        start(stack, running, directory, "munged", "--foreground", "--force", *arguments)
        wait_until(lambda: (directory / "munge.socket").exists(), directory, "munged")
        start(stack, running, directory, "slurmctld", "-D", "-f", str(configuration))
        for node in NODES:
            start(stack, running, directory, "slurmd", "-D", "-f", str(configuration), "-N", node)
        states = ("sinfo", "--noheader", "--Node", "--format=%T")
        wait_until(lambda: running.run(*states).stdout.split() == ["idle"] * len(NODES), directory, "slurmctld")
        stack.callback(end_all_jobs, running)
        yield running


def start(stack: ExitStack, running: Cluster, directory: Path, name: str, *arguments: str) -> None:
    """Start a daemon in the foreground; it is ended when ``stack`` unwinds."""
    output = stack.enter_context((directory / f"{name}.out").open("a"))
    command = [daemon_path(name), *arguments]
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=running.environment)
    stack.callback(end, process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_all_jobs(running: Cluster) -> None:
    """A job's processes belong to slurmstepd, which would outlive slurmd."""
    running.run("scancel", "--user=root")
    deadline = time.monotonic() + 150
    while running.run("squeue", "--noheader").stdout.strip() and time.monotonic() < deadline:
        time.sleep(0.2)


def wait_until(is_true, directory: Path, name: str) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not is_true():
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-2000:] for path in directory.glob("*.[lo][ou][gt]"))
            raise RuntimeError(f"{name} did not come up within {START_DEADLINE_S} s:\n{logs}")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
