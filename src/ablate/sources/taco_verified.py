"""likaixin/TACO-verified: one JSON array of problems with several solutions each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.sources.base import RawRow, Row
from ablate.sources.directory import array_rows, find_files
from ablate.sources.literals import parse_json_or_literal
from ablate.sources.taco import programs, taco_row, without_fences

UNKNOWN_DIFFICULTY = "unknown_difficulty"


class TacoVerified:
    name = "taco_verified"
    is_complete = False

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        for path in find_files(directory, "taco_verified.json"):
            yield from array_rows(path, required=("question", "solutions", "input_output"))

    def decode(self, raw: RawRow) -> Row:
        difficulty = (raw.optional_text("difficulty") or UNKNOWN_DIFFICULTY).lower()
        return taco_row(
            raw,
            parse_json_or_literal(raw.text("input_output")),
            raw.optional_text("starter_code"),
            statement=raw.text("question"),
            references=without_fences(programs(raw, "solutions")),
            difficulty=None if difficulty == UNKNOWN_DIFFICULTY else difficulty,
            platform=raw.optional_text("source"),
            title=raw.optional_text("name"),
        )
