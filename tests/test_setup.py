"""`make setup` installs the CPU build of torch from wherever this user's machine can have it, and no other build."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from install_cpu import is_cpu_build, uv_options  # noqa: E402
from install_gpu import build_environment  # noqa: E402


def write_wheel(directory: Path, version: str) -> None:
    """A wheel of torch without a file in it, which resolvers take for the real one."""
    tags = "py3-none-any"
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(directory / f"torch-{version}-{tags}.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    venv = tmp_path_factory.mktemp("setup") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    return venv


def dry_run(venv: Path, wheels: Path, path: str | None = None) -> subprocess.CompletedProcess:
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    command = [str(venv / "bin" / "python"), str(ROOT / "install_cpu.py"), str(venv), "--dry-run"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))} | pip
    return subprocess.run(command, capture_output=True, text=True, env=environment | ({"PATH": path} if path else {}))


@pytest.fixture(params=["uv", "pip"])
def path(request, tmp_path):
    """A PATH with uv of this environment, and one without it: pip then installs, because no index offers uv."""
    if request.param == "uv":
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "uv").symlink_to(Path(sys.executable).parent / "uv")
        return f"{tmp_path / 'bin'}:/usr/bin:/bin"
    return "/usr/bin:/bin"


def test_the_cpu_build_of_the_users_own_links_is_taken(venv, tmp_path, path):
    write_wheel(tmp_path, "2.13.0")
    write_wheel(tmp_path, "2.13.0+cpu")
    done = dry_run(venv, tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert "torch 2.13.0+cpu" in done.stdout
    assert "your pip configuration" in done.stdout


@pytest.mark.skipif(is_cpu_build("2.13.0"), reason="the index serves a CUDA build to Linux x86-64 only")
def test_a_cuda_build_is_refused_in_one_sentence_before_it_is_downloaded(venv, tmp_path, path):
    write_wheel(tmp_path, "2.13.0")
    done = dry_run(venv, tmp_path, path)
    assert done.returncode == 1
    assert "torch 2.13.0, which is a CUDA build" in done.stderr
    assert "PIP_FIND_LINKS" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_pip_configuration_uv_takes_pytorchs_cpu_index(venv, tmp_path):
    """A stand-in for uv shows its arguments: the real one would ask PyTorch's index, which may be out of reach."""
    (tmp_path / "uv").write_text('#!/bin/sh\necho "$@" >> "$0.calls"\necho " + torch==2.13.0+cpu"\n')
    (tmp_path / "uv").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment |= {"PATH": f"{tmp_path}:/usr/bin:/bin", "PIP_CONFIG_FILE": os.devnull}
    command = [str(venv / "bin" / "python"), str(ROOT / "install_cpu.py"), str(venv)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    resolve, install = (tmp_path / "uv.calls").read_text().splitlines()
    assert done.returncode == 0, done.stderr
    assert "--torch-backend cpu" in resolve
    assert "--dry-run" in resolve
    assert "--torch-backend cpu" in install
    assert "requirements-cpu.txt" in install
    assert "PyTorch's index of CPU builds" in done.stdout


def test_the_pip_configuration_is_handed_to_uv_in_uvs_words():
    configuration = {
        "index-url": "https://mirror/simple",
        "extra-index-url": "https://a/simple https://b/simple",
        "find-links": "/wheels",
        "constraint": "/constraints.txt",
        "trusted-host": "mirror",
        "no-index": "false",
        "timeout": "5",
    }
    assert uv_options(configuration) == [
        *("--default-index", "https://mirror/simple", "--index", "https://a/simple", "--index", "https://b/simple"),
        *("--find-links", "/wheels", "--constraint", "/constraints.txt", "--allow-insecure-host", "mirror"),
        *("--index-strategy", "unsafe-best-match"),
    ]


@pytest.mark.parametrize(
    ("version", "machine", "is_cpu"),
    [("2.13.0+cpu", "Linux x86_64", True), ("2.13.0", "Linux x86_64", False), ("2.13.0", "Linux aarch64", True)],
)
def test_on_linux_x86_64_only_the_version_that_says_cpu_is_a_cpu_build(version, machine, is_cpu):
    assert is_cpu_build(version, machine) is is_cpu


def test_transformer_engine_is_compiled_with_the_headers_of_the_pinned_cudnn_and_nccl(tmp_path, monkeypatch):
    for name in ("CPATH", "MAX_JOBS", "CUDNN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match=r"nvidia/cudnn/include/cudnn\.h is missing: install requirements\.txt"):
        build_environment(tmp_path, memory_gib=64, num_cores=16)
    for name in ("cudnn", "nccl"):
        (tmp_path / "nvidia" / name / "include").mkdir(parents=True)
        (tmp_path / "nvidia" / name / "include" / f"{name}.h").write_text(f"#define HAS_{name}\n")
    variables = build_environment(tmp_path, memory_gib=7, num_cores=16)
    assert variables["MAX_JOBS"] == "2"  # compilers of 3 GB
    source = "#include <cudnn.h>\n#include <nccl.h>\n#if !defined(HAS_cudnn) || !defined(HAS_nccl)\n#error\n#endif\n"
    command = ["g++", "-fsyntax-only", "-x", "c++", "-"]
    for environment, code in ((os.environ, 1), (os.environ | variables, 0)):
        assert subprocess.run(command, input=source, capture_output=True, text=True, env=environment).returncode == code
    monkeypatch.setenv("CPATH", "/own")
    assert build_environment(tmp_path, memory_gib=7, num_cores=16)["CPATH"].startswith("/own:")


def test_what_the_compilation_needs_is_named_before_anything_is_downloaded(tmp_path):
    (tmp_path / "old").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "old").chmod(0o755)
    command = [sys.executable, str(ROOT / "install_gpu.py"), "--check", str(tmp_path)]
    environment = os.environ | {"PATH": str(tmp_path), "CXX": "old"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "error: Transformer Engine is compiled with nvcc" in done.stderr
    assert "error: old does not know C++20" in done.stderr
    done = subprocess.run(command, capture_output=True, text=True, env=environment | {"CXX": "none"})
    assert "error: there is no C++ compiler none" in done.stderr


@pytest.mark.parametrize(("is_gpu", "installs"), [(True, "gpu"), (False, "cpu")])
def test_a_pull_that_touches_the_pins_never_mixes_the_two_kinds_of_packages(tmp_path, is_gpu, installs):
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "requirements-cpu.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for name in ("install_cpu.py", "install_gpu.py"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ready").touch()
    os.utime(tmp_path / ".venv" / ".ready", (1, 1))  # older than what was pulled
    if is_gpu:
        (tmp_path / ".venv" / ".gpu").touch()
    command = ["make", "--dry-run", "report"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert f"install_{installs}.py .venv" in said
    assert f"install_{'cpu' if is_gpu else 'gpu'}.py" not in said
