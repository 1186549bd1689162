"""Do Transformer Engine's sources compile as `make setup-gpu` compiles them? Syntax only, on a machine without a GPU.

    python -m benchmarks.transformer_engine site=DIR

DIR is a site-packages with the pinned nvidia-* packages (default: that of this environment, which `make setup-gpu`
fills). pip fetches the sources. Each file is compiled with the include directories of their own setup.py and the
variables of ``install_gpu.build_environment``, and once more without them, which must fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from ablate.cli import read_words, run_main
from ablate.errors import UserError
from install_gpu import ENGINE, STANDARD, build_environment

# What touches torch most: the common code, the optimizer's streams, c10d and the generator.
FILES = ("common.cpp", "extensions/activation.cpp", "extensions/comm_gemm_overlap.cpp", "extensions/attention.cpp")
# A CPU build of torch lacks two headers that its CUDA build generates.
GENERATED = {
    "c10/cuda/impl/cuda_cmake_macros.h": "#pragma once\n",
    "ATen/cuda/CUDAConfig.h": "#pragma once\n#define AT_CUDNN_ENABLED() 1\n#define AT_CUSPARSELT_ENABLED() 0\n"
    '#define AT_ROCM_ENABLED() 0\n#define AT_MAGMA_ENABLED() 0\n#define NVCC_FLAGS_EXTRA ""\n',
}


def main() -> None:
    own = read_words(__doc__, ("site",)).own
    site = Path(own.get("site", sysconfig.get_path("purelib"))).absolute()
    toolkit = site / "nvidia" / "cu13" / "include"
    if not (toolkit / "cuda.h").is_file():
        raise UserError(
            f"{toolkit}/cuda.h is missing: pip install --no-deps --target DIR the nvidia-* of requirements.txt"
        )
    with tempfile.TemporaryDirectory(prefix="ablate-te-") as scratch:
        sources = fetched_sources(Path(scratch))
        for name, text in GENERATED.items():
            (Path(scratch) / "generated" / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / "generated" / name).write_text(text)
        include = [toolkit, toolkit / "cccl", *include_of(sources), *torch_include(), Path(scratch) / "generated"]
        variables = build_environment(site, memory_gib=3, num_cores=1)
        without = compiled(sources / "csrc" / FILES[0], include, {})
        print(f"{FILES[0]} without the variables: {without.splitlines()[0] if without else 'compiles'}")
        errors = {name: compiled(sources / "csrc" / name, include, variables) for name in FILES}
    for name, error in errors.items():
        print(f"{name}: {error or 'compiles'}")
    if any(errors.values()) or not without:
        sys.exit(1)


def fetched_sources(scratch: Path) -> Path:
    """The unpacked sources. pip leaves them where it stops, because their setup refuses a torch without CUDA."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-clean", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", ":all:", "--dest", str(scratch), ENGINE[-1]]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(scratch)}, capture_output=True, text=True)
    for path in scratch.rglob("csrc/common.cpp"):
        return path.parents[1]
    raise UserError(f"pip did not fetch the sources of {ENGINE[-1]}: {done.stderr.strip()[-300:]}")


def include_of(sources: Path) -> list[Path]:
    headers = sources / "common_headers"
    return [headers, headers / "common", headers / "common" / "include", sources / "csrc"]


def torch_include() -> list[Path]:
    from torch.utils.cpp_extension import include_paths

    return [*map(Path, include_paths()), Path(sysconfig.get_path("include"))]


def compiled(source: Path, include: list[Path], variables: dict[str, str]) -> str:
    """The first error of the compiler; empty where there is none."""
    words = [f"-I{path}" for path in include]
    command = [
        os.environ.get("CXX", "g++"),
        STANDARD,
        "-fsyntax-only",
        "-w",
        "-DTORCH_EXTENSION_NAME=te",
        *words,
        str(source),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "CPATH"} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return next((line for line in done.stderr.splitlines() if "error" in line), "no reason") if done.returncode else ""


if __name__ == "__main__":
    run_main(main)
