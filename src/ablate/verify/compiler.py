"""Compiled checkers: g++ in a sandbox that shows the compiler and the checker's own files, and nothing else."""

from __future__ import annotations

import hashlib
import resource
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from ablate.types import Checker
from ablate.verify.checker import is_compiled

COMPILE_S = 120
OUTPUT_BYTES = 256 << 20
FLAGS = ("-O1", "-std=gnu++17", "-static", "-s", "-w")  # static: the sandbox that runs it has another view
WALLS = ("--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/usr/bin")
OWN = ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")
SHOWN = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/alternatives")


class CheckerError(Exception):
    """A checker cannot be used at all, whatever the answer: it does not compile, or there is no compiler."""


class Compiler:
    """Compiles every C++ checker once and keeps it in a directory until ``close``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.directory: tempfile.TemporaryDirectory[str] | None = None
        self.failures: dict[str, str] = {}

    def path_of(self, checker: Checker | None) -> str | None:
        """The path of the compiled checker; None for one that is not compiled.

        Raises:
            CheckerError: with the compiler's first words, or when there is no compiler.
        """
        if checker is None or not checker.files or not is_compiled(checker.files[0][0]):
            return None
        digest = hashlib.sha256(checker.to_json().encode()).hexdigest()[:24]
        with self.lock:
            if self.directory is None:
                self.directory = tempfile.TemporaryDirectory(prefix="ablate-checkers-", ignore_cleanup_errors=True)
            place = Path(self.directory.name, digest)
            if digest not in self.failures and not (place / "checker").exists():
                self.failures.update(dict.fromkeys([digest], sentence) if (sentence := build(checker, place)) else {})
        if digest in self.failures:
            raise CheckerError(self.failures[digest])
        return str(place / "checker")

    def close(self) -> None:
        if self.directory is not None:
            self.directory.cleanup()
            self.directory = None


def build(checker: Checker, place: Path) -> str | None:
    """Compile into ``place``; return why that failed, or None."""
    bwrap, compiler = shutil.which("bwrap"), shutil.which("g++")
    if bwrap is None or compiler is None:
        return "the checker is C++, and there is no g++ with bwrap here: install both (apt-get install g++ bubblewrap)"
    place.mkdir(parents=True, exist_ok=True)
    for name, text in checker.files:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    command = [bwrap, *WALLS]
    for shown in SHOWN:
        path = Path(shown)
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), shown]
        elif path.exists():
            command += ["--ro-bind", shown, shown]
    command += [*OWN, "--bind", str(place), "/work", "--chdir", "/work"]
    command += ["g++", *FLAGS, "-o", "checker.new", *(name for name, _ in checker.files if is_compiled(name))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=COMPILE_S, preexec_fn=limit_output
        )
    except subprocess.TimeoutExpired:
        return f"the checker did not compile within {COMPILE_S} s"
    if done.returncode:
        return f"the checker does not compile ({' '.join(done.stderr.split())[:300]})"
    (place / "checker.new").rename(place / "checker")
    return None


def limit_output() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
