"""Which files of this machine the sandbox shows: the interpreter and its library, shared libraries, locale, zones."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SANDBOX_PREFIX = "/python"
SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib64")
LOCALES = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
ZONES = "/usr/share/zoneinfo"
PACKAGES = "/packages"
# The libraries of some packages would start a thread for each core, and each of them counts.
PACKAGES_ENVIRONMENT = {"PYTHONPATH": PACKAGES} | {
    f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
}


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
    environment: dict[str, str]


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


def zone_binds() -> list[tuple[str, str]]:
    """The time zones of this machine, else those of the package tzdata, where zoneinfo looks for them."""
    spec = importlib.util.find_spec("tzdata")
    packaged = [Path(place, "zoneinfo") for place in spec.submodule_search_locations or ()] if spec else []
    return [(str(place), ZONES) for place in (Path(ZONES), *packaged) if place.is_dir()][:1]


def package_binds(places: Sequence[str]) -> list[tuple[str, str]]:
    return [(place, f"{PACKAGES}/{Path(place).name}") for place in places]


def find_view(others: Sequence[tuple[str, str]] = ()) -> View:
    """Describe the running interpreter (of a virtual environment: the one below it) for the sandbox.

    It moves to a short prefix of its own, because the parents of a bind are closed to other users inside, and because
    CPython finds its library next to its executable wherever both are.

    Args:
        others: further binds, which only the verifier's own process can find: ``zone_binds`` and ``package_binds``.
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
    locale = [(place, place) for place in LOCALES if Path(place).is_dir()][:1]
    environment = {"LANG": "C.UTF-8" if locale else "C"}  # else no program could call setlocale(LC_ALL, "")
    if any(place.startswith(PACKAGES) for _, place in others):
        environment |= PACKAGES_ENVIRONMENT
    return View(inside, (*binds, *locale, *map(tuple, others)), tuple(links), tuple(masks), environment)
