"""Install the pinned GPU packages and compile Transformer Engine: ``python install_gpu.py VENV``, by `make setup-gpu`.

What the compilation needs of the machine is checked before the first of five gigabytes is downloaded. This file needs
no package: it runs before there are any. ``--check`` does nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from ablate.process.memory import usable_bytes

PINNED = Path(__file__).parent / "requirements.txt"
ENGINE = [f"{name}==2.11.0" for name in ("transformer_engine", "transformer_engine_cu13", "transformer_engine_torch")]
# Packages whose headers a CUDA toolkit lacks, while the build of Transformer Engine looks into the toolkit only.
HEADERS = ("cudnn", "nccl")
GIB_OF_A_COMPILER = 3  # one file of Transformer Engine; ninja would start one compiler per core
STANDARD = "-std=c++20"  # torch 2.13 compiles extensions with it


def missing() -> list[str]:
    """What this machine lacks for the compilation, one sentence each."""
    compiler = os.environ.get("CXX", "g++")
    source, sentences = "#include <concepts>\nint main() { return 0; }\n", []
    if shutil.which("nvcc") is None:
        sentences.append(
            "Transformer Engine is compiled with nvcc, which is not on PATH: module load cuda/13.0, or install the "
            "CUDA 13 toolkit"
        )
    command = [compiler, STANDARD, "-fsyntax-only", "-x", "c++", "-"]
    if shutil.which(compiler) is None:
        sentences.append(f"there is no C++ compiler {compiler}: install g++ 11 or newer, or set CXX to one")
    elif subprocess.run(command, input=source, capture_output=True, text=True, check=False).returncode:
        sentences.append(f"{compiler} does not know C++20: install g++ 11 or newer (module load gcc/12), or set CXX")
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").is_file():
        sentences.append(f"{include} has no Python.h: install the headers of this Python (python3-dev)")
    return sentences


def build_environment(site: Path, memory_gib: float, num_cores: int) -> dict[str, str]:
    """The variables with which Transformer Engine compiles against the packages in ``site`` (a site-packages)."""
    places = [site / "nvidia" / name for name in HEADERS]
    for place in places:
        if not (place / "include" / f"{place.name}.h").is_file():
            raise SystemExit(f"error: {place}/include/{place.name}.h is missing: install {PINNED.name} first")
    own = [os.environ["CPATH"]] if os.environ.get("CPATH") else []
    variables = {
        "CUDNN_PATH": str(places[0]),
        "CPATH": os.pathsep.join([*own, *(str(place / "include") for place in places)]),
        "MAX_JOBS": str(max(1, min(num_cores, int(memory_gib / GIB_OF_A_COMPILER)))),
    }
    return variables | {name: os.environ[name] for name in ("CUDNN_PATH", "MAX_JOBS") if name in os.environ}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--check", action="store_true", help="say what this machine lacks, and stop")
    chosen = parser.parse_args()
    sentences = missing()
    for sentence in sentences:
        print(f"error: {sentence}", file=sys.stderr)
    if sentences or chosen.check:
        return len(sentences) and 1
    python = str(chosen.venv / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    print(
        "installing the pinned GPU packages (about 5 GB), then compiling Transformer Engine (minutes) ...", flush=True
    )
    subprocess.run([*install, "-r", str(PINNED)], check=True)
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    memory_gib = usable_bytes(now=True) / 2**30
    environment = os.environ | build_environment(Path(site), memory_gib, len(os.sched_getaffinity(0)))
    subprocess.run([*install, "--no-build-isolation", *ENGINE], env=environment, check=True)
    subprocess.run([python, "-c", "import transformer_engine.pytorch"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
