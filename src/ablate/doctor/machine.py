"""Checks of what is installed and of what the machine offers; none of them computes."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from fnmatch import fnmatchcase
from importlib import metadata
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path

from ablate.config import RunConfig
from ablate.config.open_files import allow_open_files
from ablate.doctor.finding import FAILED, NOT_NEEDED, OK, WARNING, Finding
from ablate.errors import UserError
from ablate.process.memory import usable_bytes
from ablate.records.provenance import PACKAGES, REPOSITORY

PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
WRITTEN_MIB = 64
LITTLE_SPACE_GIB = 10.0  # a sweep of the tiny model leaves about 1 GiB
PACKED_SINCE = (9, 0)  # Transformer Engine 2.11's fused attention for packed rows (THD)
NODES_DEADLINE_S = 60.0  # for the other nodes of an allocation to start their doctors


def packages(on_gpu: bool) -> list[Finding]:
    """Compare the installed versions with the pins; a package that computes must have its pinned version."""
    name, target = ("requirements.txt", "make setup-gpu") if on_gpu else ("requirements-cpu.txt", "make setup")
    path = REPOSITORY / name
    if not path.is_file():
        return [Finding("packages", WARNING, f"{path} is missing, so no version is checked", "run from a clone")]
    pins = dict(match.groups() for line in path.read_text().splitlines() if (match := PIN.match(line)))
    differences = {name: found for name, pin in pins.items() if (found := installed(name)) != pin}
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if not differences:
        return [Finding("packages", OK, f"{python}; all {len(pins)} pinned packages have their version ({path.name})")]
    computes = [name for name in differences if any(fnmatchcase(normalised(name), pattern) for pattern in PACKAGES)]
    shown = ", ".join(
        f"{name} {differences[name] or 'missing'} (pinned {pins[name]})" for name in list(differences)[:4]
    )
    more = f" and {len(differences) - 4} more" if len(differences) > 4 else ""
    return [Finding("packages", FAILED if computes else WARNING, f"{python}; {shown}{more}", target)]


def normalised(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def installed(name: str) -> str | None:
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def driver(config: RunConfig) -> list[Finding]:
    """The GPUs of this machine, and whether the layout needs them."""
    import torch

    needs_gpu = config.parallel.transformer_engine
    if not torch.cuda.is_available():
        if needs_gpu:
            says = "no GPU that torch can use, and parallel.transformer_engine=true needs one"
            return [Finding("GPU driver", FAILED, says, "install the driver, or choose a CPU layout: parallel=single")]
        return [Finding("GPU driver", NOT_NEEDED, "no GPU: training and sampling run on the CPU")]
    properties = torch.cuda.get_device_properties(0)
    says = (
        f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
        f"CUDA {torch.version.cuda}, driver {driver_version()}"
    )
    return [Finding("GPU driver", OK, says)]


def cpus_and_memory(config: RunConfig) -> list[Finding]:
    """What this process may use, and on a machine with GPUs what a node of the run needs of it."""
    import torch

    from ablate.check_run import known_shape
    from ablate.estimate.host import GB, Machine, needs

    check, cpus, memory = "CPUs and memory", len(os.sched_getaffinity(0)), usable_bytes()
    says = f"{cpus} CPUs and {memory / GB:.0f} GB of memory"
    gpus = torch.cuda.device_count()
    if not gpus:
        return [Finding(check, OK, says)]
    ranks = min(gpus, config.parallel.world_size or 1)
    engine = config.rollout.engine
    has_nodes = engine.placement == "servers" and not engine.share_gpus
    node = Machine(1, ranks, gpus, generation_nodes=1 if has_nodes else None)
    for need in needs(config, node, known_shape(config)):
        wanted = f"a node with {need.of} needs {need.cpus} CPUs and {need.num_bytes / GB:.0f} GB"
        if cpus < need.cpus or memory < need.num_bytes:
            fix = "raise ABLATE_CPUS_PER_TASK and ABLATE_MEMORY (slurm/env.sh), or the limits of this container"
            return [Finding(check, FAILED, f"{says}; {wanted}", fix)]
    return [Finding(check, OK, says)]


def compiler(config: RunConfig) -> list[Finding]:
    """Triton compiles a launcher for every kernel with the C compiler and Python's headers."""
    import torch

    check, include = "compiler", Path(sysconfig.get_path("include"))
    if not torch.cuda.is_available():
        return [Finding(check, NOT_NEEDED, "no GPU: nothing is compiled at run time")]
    found = next(
        (name for name in (os.environ.get("CC", ""), "gcc", "cc", "clang") if name and shutil.which(name)), None
    )
    if found is None:
        return [Finding(check, FAILED, "there is no C compiler, and Triton needs one", "install gcc, or set CC")]
    if not (include / "Python.h").is_file():
        says = f"{include} has no Python.h, and Triton needs it"
        return [Finding(check, FAILED, says, "install the headers of this Python (python3-dev)")]
    return [Finding(check, OK, f"{shutil.which(found)}, {include}/Python.h")]


def driver_version() -> str:
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown (nvidia-smi does not answer)"
    return result.stdout.split()[0]


def transformer_engine(config: RunConfig) -> list[Finding]:
    check = "Transformer Engine"
    if not config.parallel.transformer_engine:
        return [Finding(check, NOT_NEEDED, "parallel.transformer_engine=false: Megatron's own layers")]
    version = installed("transformer_engine")
    if version is None or find_spec("transformer_engine") is None:
        return [Finding(check, FAILED, "it is not installed", "make setup-gpu, or parallel.transformer_engine=false")]
    import torch
    import transformer_engine.pytorch  # noqa: F401  # a build for another torch fails here

    if config.parallel.packing and torch.cuda.is_available() and torch.cuda.get_device_capability() < PACKED_SINCE:
        says = f"packed rows need compute capability 9.0, and {torch.cuda.get_device_name()} has less"
        return [Finding(check, FAILED, says, "parallel.packing=false, or GPUs from H100 on")]

    return [Finding(check, OK, f"version {version}, attention={config.parallel.attention}")]


def open_files(config: RunConfig) -> list[Finding]:
    try:
        allow_open_files(config)
    except UserError as error:
        sentence, _, fix = str(error).partition(": ")
        return [Finding("open files", FAILED, sentence, fix)]
    return [Finding("open files", OK, "the limit is high enough for the servers and sandboxes of this run")]


def disk(config: RunConfig) -> list[Finding]:
    """Space, speed, locks and renames where the run writes its records."""
    outputs = Path(config.paths.outputs).expanduser().absolute()
    place = next(path for path in (outputs, *outputs.parents) if path.is_dir())
    free_gib = shutil.disk_usage(place).free / 2**30
    with tempfile.TemporaryDirectory(prefix=".ablate-doctor-", dir=place) as scratch:
        start = time.perf_counter()
        with (Path(scratch) / "data").open("wb") as file:
            for _ in range(WRITTEN_MIB):
                file.write(os.urandom(2**20))
            file.flush()
            os.fsync(file.fileno())
        mib_s = WRITTEN_MIB / (time.perf_counter() - start)
        (Path(scratch) / "data").rename(Path(scratch) / "renamed")
        keeps_locks = locks_exclude_each_other(Path(scratch) / "lock")
    says = f"{place}: {free_gib:.0f} GiB free, {mib_s:.0f} MiB/s written and synced"
    if not keeps_locks:
        fix = "use a file system with flock for paths.outputs, because two processes could write one run"
        return [Finding("disk", FAILED, f"{says}; two processes can hold one lock", fix)]
    if free_gib < LITTLE_SPACE_GIB:
        fix = "free space, or set paths.outputs to a larger disk: ablate.estimate says how much a cell needs"
        return [Finding("disk", WARNING, says, fix)]
    return [Finding("disk", OK, says)]


def locks_exclude_each_other(path: Path) -> bool:
    with path.open("w") as first, path.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def meeting_place(config: RunConfig) -> Path:
    """Where the doctors of all nodes leave files: of this step, because one of an earlier step would mislead them."""
    name = f".doctor-{os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_STEP_ID', '0')}"
    return Path(config.paths.outputs).expanduser().absolute() / name


def shared_disk(config: RunConfig) -> list[Finding]:
    """In an allocation of several nodes every doctor leaves a file and looks for those of the other nodes."""
    num_nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if "SLURM_JOB_ID" not in os.environ or num_nodes == 1:
        return [Finding("shared disk", NOT_NEEDED, "one node")]
    meeting = meeting_place(config)
    meeting.mkdir(parents=True, exist_ok=True)
    (meeting / socket.gethostname()).touch()
    end = time.monotonic() + NODES_DEADLINE_S
    while (num_seen := len(list(meeting.iterdir()))) < num_nodes and time.monotonic() < end:
        time.sleep(0.5)
    if num_seen < num_nodes:
        says = f"{meeting} shows {num_seen} of {num_nodes} nodes after {NODES_DEADLINE_S:.0f} s"
        return [Finding("shared disk", FAILED, says, "set paths.outputs to a directory that all nodes see")]
    return [Finding("shared disk", OK, f"all {num_nodes} nodes see {meeting.parent}")]


def modal_credentials(config: RunConfig) -> list[Finding]:
    if config.verify.backend != "modal":
        return [Finding("Modal", NOT_NEEDED, f"verify.backend={config.verify.backend}")]
    if find_spec("modal") is None:
        return [Finding("Modal", FAILED, "the package modal is not installed", "install the pinned requirements")]
    if os.environ.get("MODAL_TOKEN_ID") and os.environ.get("MODAL_TOKEN_SECRET"):
        return [Finding("Modal", OK, "a token in the environment")]
    if Path("~/.modal.toml").expanduser().is_file():
        return [Finding("Modal", OK, "a token in ~/.modal.toml")]
    return [Finding("Modal", FAILED, "no token", "run `modal token new`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET")]


def wandb_login(config: RunConfig) -> list[Finding]:
    if config.logging.wandb != "online":
        return [Finding("W&B", NOT_NEEDED, f"logging.wandb={config.logging.wandb}")]
    if os.environ.get("WANDB_API_KEY") or in_netrc("api.wandb.ai"):
        return [Finding("W&B", OK, "a key is set")]
    return [Finding("W&B", FAILED, "no key", "run `wandb login`, set WANDB_API_KEY, or use logging.wandb=offline")]


def in_netrc(host: str) -> bool:
    try:
        return netrc().authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
