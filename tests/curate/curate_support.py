"""How the tests of this directory compose a curation and compare its results."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from ablate.cli import compose
from ablate.curate.settings import CurateConfig, parse_curation


def files_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def configured(*words: str) -> CurateConfig:
    return parse_curation(OmegaConf.to_container(compose(words, config_name="curate"), resolve=True))
