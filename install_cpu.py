"""Install the pinned CPU packages into an environment: ``python install_cpu.py VENV``, which `make setup` calls.

uv installs them, where it is on PATH or can be installed; else pip does. Neither may bring the CUDA build of torch,
which the package index serves to Linux on x86-64 under the same version, with 3 GB of NVIDIA libraries. So this script
first resolves torch alone, without a download, and goes on only with a CPU build:

1. from the indexes, find-links and constraints of the user's pip configuration, if it has any;
2. from PyTorch's own index of CPU builds, which uv knows by name (``--torch-backend cpu``).

This file needs no package: it runs before there are any. ``--dry-run`` says which build it would take, and stops.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
PINNED = Path(__file__).parent / "requirements-cpu.txt"
SIZES = "about 190 MB for torch and 600 MB for the other packages"
# pip's options with uv's word for each. uv reads no configuration of pip's.
UV_WORDS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
    "no-index": "--no-index",
}
CHOOSES_A_SOURCE = {"index-url", "extra-index-url", "find-links", "no-index"}


def pip_configuration(pip: list[str]) -> dict[str, str]:
    """The values that pip would use for an installation: its environment variables go before its files."""
    text = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{re.escape(section)}\.([\w-]+)=(.*)$", text, re.MULTILINE):
            found[name] = str(ast.literal_eval(value))
    return found


def uv_options(configuration: dict[str, str]) -> list[str]:
    """uv's options for a configuration of pip's; an option of several values becomes several options."""
    options = []
    for name, word in UV_WORDS.items():
        for value in configuration.get(name, "").split():
            if name != "no-index":
                options += [word, value]
            elif value.lower() in ("1", "true", "yes", "on"):
                options.append(word)
    if "extra-index-url" in configuration:  # pip takes the newest version of all indexes, and so does uv with this
        options += ["--index-strategy", "unsafe-best-match"]
    return options


def is_cpu_build(version: str, machine: str | None = None) -> bool:
    """Whether this version of torch is a CPU build: elsewhere than on Linux x86-64 the package index serves those."""
    machine = machine or f"{platform.system()} {platform.machine()}"
    return version.endswith("+cpu") or machine != "Linux x86_64"


def resolved(command: list[str], environment: dict[str, str]) -> str | None:
    """The version of torch that this dry run of uv or pip would install; None if it finds none."""
    done = subprocess.run([*command, "--dry-run", "--no-deps", TORCH], capture_output=True, text=True, env=environment)
    named = (
        re.search(r"(?:\+ torch==|Would install torch-)(\S+)", done.stdout + done.stderr)
        if done.returncode == 0
        else None
    )
    return named and named[1]


def find_uv(venv: Path, pip: list[str]) -> str | None:
    """uv from PATH, or from the environment, where pip installs it if it can."""
    own = venv / "bin" / "uv"
    if (there := shutil.which("uv")) or own.exists():
        return there or str(own)
    pinned = next(line for line in PINNED.read_text().splitlines() if line.startswith("uv=="))
    subprocess.run([*pip, "install", "--quiet", pinned], capture_output=True, check=False)
    return str(own) if own.exists() else None


def sources(uv: str | None, venv: Path, pip: list[str]) -> list[tuple[str, list[str]]]:
    """The commands that may install the packages, first choice first, each with the words that name where from."""
    if uv is None:
        return [("your pip configuration, by pip (uv cannot be installed)", [*pip, "install"])]
    configuration = pip_configuration(pip)
    command = [uv, "pip", "install", "--python", str(venv / "bin" / "python"), *uv_options(configuration)]
    own = [("your pip configuration, by uv", command)] if CHOOSES_A_SOURCE & set(configuration) else []
    return [*own, ("PyTorch's index of CPU builds, by uv", [*command, "--torch-backend", "cpu"])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="say which build of torch it would take, and stop")
    chosen = parser.parse_args()
    pip = [str(chosen.venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    environment = dict(os.environ)
    if (certificates := pip_configuration(pip).get("cert")) and "SSL_CERT_FILE" not in environment:
        environment["SSL_CERT_FILE"] = certificates
    seen = []
    for place, command in sources(find_uv(chosen.venv, pip), chosen.venv, pip):
        version = resolved(command, environment)
        if version is None or not is_cpu_build(version):
            seen.append(f"{place}: {'not reached' if version is None else f'torch {version}, which is a CUDA build'}")
            continue
        print(f"installing torch {version} and the pinned packages from {place} ({SIZES}) ...", flush=True)
        if chosen.dry_run:
            return 0
        return subprocess.run(
            [*command, "--quiet", "--no-deps", TORCH, "-r", str(PINNED)], env=environment, check=False
        ).returncode
    print(
        f"error: no CPU build of {TORCH} was found ({'; '.join(seen)}): let this machine reach PyTorch's index, or put "
        "the wheel of the CPU build into a directory and set PIP_FIND_LINKS to that directory",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
