"""The installed packages that programs may import: ``verify.packages``; all others are hidden from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ablate.errors import UserError


@dataclass(frozen=True)
class Package:
    """A package of this environment, or of a sandbox elsewhere.

    Example: ``Package("sortedcontainers==2.4.0", ("/venv/lib/python3.11/site-packages/sortedcontainers",))``
    """

    pin: str
    places: tuple[str, ...]  # its files and directories here


def find_packages(wanted: Sequence[str], must_be_here: bool) -> tuple[Package, ...]:
    """Find packages by ``name`` or ``name==version``.

    Args:
        must_be_here: whether the programs run on this machine; else a version is enough.

    Raises:
        UserError: for a package that is not installed, or in another version.
    """
    return tuple(find_package(text, must_be_here) for text in sorted(wanted))


def find_package(wanted: str, must_be_here: bool) -> Package:
    name, _, version = (part.strip() for part in wanted.partition("=="))
    try:
        found = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        if version and not must_be_here:
            return Package(f"{name}=={version}", ())
        fix = f"pip install {wanted}" if must_be_here else f"give its version, as in {name}==1.0"
        raise UserError(
            f"verify.packages names {wanted}, which is not installed here: {fix}, or leave it out"
        ) from None
    if version and must_be_here and version != found.version:
        raise UserError(
            f"verify.packages names {wanted}, but {found.version} is installed: install that version, or name this one"
        )
    roots = sorted({file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")})
    places = tuple(str(Path(found.locate_file(root)).resolve()) for root in roots)
    if must_be_here and not any(Path(place).suffix != ".dist-info" and Path(place).exists() for place in places):
        raise UserError(f"verify.packages names {wanted}, which has no files of its own here: install it as a wheel")
    return Package(f"{name}=={version or found.version}", places)
