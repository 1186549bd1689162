"""trace.json: the seconds of each stage in the Chrome trace format."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablate.files import write_atomic


class Trace:
    """Times live here, and not in the metrics, because they differ between equal runs.

    While a run is in progress its trace lacks the closing bracket, as the Chrome format allows: spans are appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / "trace.json"

    @contextmanager
    def timed(self, name: str, step: int) -> Iterator[None]:
        """Add a span to the trace.

        The file that ``ABLATE_SPAN_LOG`` names gets a line when the span begins and one when it has ended, so that
        benchmarks/faults can end a run in the middle of a span.
        """
        start = time.time()
        log_span("begin", name, step)
        try:
            yield
        finally:
            log_span("end", name, step)
            span = {"name": name, "ph": "X", "ts": start * 1e6, "dur": (time.time() - start) * 1e6, "pid": 0, "tid": 0}
            opening = "" if self.path.exists() else "[\n"
            with self.path.open("a") as file:
                file.write(opening + json.dumps({**span, "args": {"step": step}}) + ",\n")

    def spans(self) -> list[dict[str, Any]]:
        """The spans of the trace, whether it is closed or not; a span that a kill left half-written is left out."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(errors="replace").splitlines()
        return [span for line in lines if (span := parsed_span(line)) is not None]

    def rewrite(self, closed: bool) -> None:
        """Write the whole spans again: closed as valid JSON, or open so that more can be appended."""
        if not self.path.is_file():
            return
        lines = [json.dumps(span) for span in self.spans()]
        text = ",\n".join(lines) + "\n]\n" if closed else "".join(line + ",\n" for line in lines)
        write_atomic(self.path, "[\n" + text)


def log_span(event: str, name: str, step: int) -> None:
    if path := os.environ.get("ABLATE_SPAN_LOG"):
        with Path(path).open("a") as file:
            file.write(f"{event} {name} {step} {os.getpid()}\n")


def parsed_span(line: str) -> dict[str, Any] | None:
    try:
        span = json.loads(line.rstrip().removesuffix(","))
    except ValueError:
        return None
    return span if isinstance(span, dict) else None
