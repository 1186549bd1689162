"""Which files of this machine the sandbox shows: the interpreter, its standard library, its shared libraries."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SANDBOX_PREFIX = "/python"
SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib64")


@dataclass(frozen=True)
class View:
    """What of the host is visible inside, read-only.

    Example: on Debian's own Python, ``binds`` holds ``("/usr/bin/python3.11", "/python/bin/python3.11")`` and
    ``("/usr/lib/python3.11", "/python/lib/python3.11")``.
    """

    executable: str  # inside
    binds: tuple[tuple[str, str], ...]  # host path, path inside
    links: tuple[tuple[str, str], ...]  # target, path inside
    masks: tuple[str, ...]  # directories inside that are shown empty: installed packages may hold anything


def packages_inside(host: Path, inside: str) -> list[str]:
    """Paths inside of every installed-packages directory below a library directory."""
    names = ("site-packages", "dist-packages")
    found = [path for name in names for pattern in (name, f"python*/{name}") for path in host.glob(pattern)]
    return [f"{inside}/{path.relative_to(host)}" for path in found]


def library_binds() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The system's shared libraries (binds, links), with as little of /usr as the distribution allows."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    wanted = (
        [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"] if multiarch and Path("/usr/lib", multiarch).is_dir() else []
    )
    binds, links = [], []
    for place in [*wanted, *SYSTEM_LIBRARIES]:
        path = Path(place)
        if path.is_symlink():
            links.append((str(path.readlink()), place))
        elif path.is_dir() and not any(parent.is_symlink() for parent in path.parents):
            if place == "/lib" and multiarch:
                continue  # its multiarch directory is enough
            binds.append((place, place))
    return binds, links


def find_view() -> View:
    """Describe the running interpreter (of a virtual environment: the one below it) for the sandbox.

    It moves to a short prefix of its own, because the parents of a bind are closed to other users inside, and because
    CPython finds its library next to its executable wherever both are.
    """
    executable = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = f"{SANDBOX_PREFIX}/{sys.platlibdir}"
    inside = f"{SANDBOX_PREFIX}/bin/{version}"
    binds, links = library_binds()
    binds.append((str(executable), inside))
    masks = [mask for host, place in binds[:-1] for mask in packages_inside(Path(host), place)]
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and stdlib.parent not in (Path("/usr/lib"), Path("/usr/lib64")):
        binds.append((str(stdlib.parent), library))  # libpython*.so and its companions lie next to the library
        masks += packages_inside(stdlib.parent, library)
    else:
        binds.append((str(stdlib), f"{library}/{version}"))
        masks += packages_inside(stdlib, f"{library}/{version}")
    return View(inside, tuple(binds), tuple(links), tuple(masks))
