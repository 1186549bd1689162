"""Where a source stands: a directory that the user downloaded, or a data set of the Hugging Face Hub."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.sources.base import SourceConfig

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
FACTS = "source.json"  # a data set made here states its own facts: {"revision": ..., "rows": {config: number}}


def locate(where: str, facts: SourceConfig) -> tuple[Path, SourceConfig]:
    """Return the directory of a source and its facts; a Hub id is downloaded at the pinned revision first.

    Raises:
        UserError: for a directory that does not exist or is of another revision, or a download that fails.
    """
    directory = Path(where).expanduser()
    if not directory.exists() and HUB_ID.fullmatch(where):
        directory = download(where, facts.revision)
    if not directory.is_dir():
        raise UserError(f"{where} is not a directory: give the directory that you downloaded, or a Hub id")
    if (directory / FACTS).is_file():
        return directory, own_facts(directory / FACTS, facts)
    revision = revision_of(directory)
    if revision is not None and facts.revision is not None and revision != facts.revision:
        raise UserError(
            f"{directory} is revision {revision} of {facts.hub}, not {facts.revision}: download the pinned revision, "
            "or pin the other one in conf/source together with its numbers of rows"
        )
    return directory, replace(facts, revision=revision or facts.revision)


def own_facts(path: Path, facts: SourceConfig) -> SourceConfig:
    try:
        own: Any = json.loads(path.read_text())
        rows = {str(name): None if number is None else int(number) for name, number in own["rows"].items()}
        return replace(facts, revision=str(own["revision"]), rows=rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{path} must hold {{"revision": ..., "rows": {{config: number}}}}: make it again') from error


def revision_of(directory: Path) -> str | None:
    """Return the commit that the Hub's own client recorded when it downloaded, or None where nothing tells.

    Raises:
        UserError: when files of several commits stand in one directory.
    """
    if directory.parent.name == "snapshots" and COMMIT.fullmatch(directory.name):
        return directory.name
    records = sorted((directory / ".cache" / "huggingface" / "download").rglob("*.metadata"))
    found = sorted({line for record in records for line in record.read_text().split()[:1] if COMMIT.fullmatch(line)})
    if len(found) > 1:
        raise UserError(f"{directory} mixes files of the revisions {', '.join(found)}: download it again, empty first")
    return found[0] if found else None


def download(hub_id: str, revision: str | None) -> Path:
    """Download a data set of the Hub into the client's own cache, or find it there."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"{hub_id} is no directory, and the Hub needs huggingface_hub: install it, or download the data set and "
            "give its directory"
        ) from error
    try:
        return Path(snapshot_download(hub_id, repo_type="dataset", revision=revision))
    except Exception as error:  # the client raises errors of its own, of requests and of the system
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{hub_id} could not be downloaded ({reason}): download it where there is a network and give its directory"
        ) from error
