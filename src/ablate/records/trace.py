"""trace.json: what ran when, in the Chrome trace format, with a row for each resource."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablate.files import write_atomic
from ablate.process.activity import Work
from ablate.records.timeline import batch_events, span

TRAINER = "trainer"  # its row is tid 0, as every span was before there were rows


class Trace:
    """Times live here, and not in the metrics, because they differ between equal runs.

    While a run is in progress its trace lacks the closing bracket, as the Chrome format allows: events are appended.
    Two processes may append at once. The leader is the only one that writes the trainer's row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / "trace.json"
        self._rows: dict[str, int] | None = None  # tid of each row that the file names; None until it was read

    @contextmanager
    def timed(self, name: str, step: int, **facts: Any) -> Iterator[None]:
        """Add a span to the trainer's row; ``facts`` join the step in its ``args``.

        The file that ``ABLATE_SPAN_LOG`` names gets a line when the span begins and one when it has ended, so that
        benchmarks/faults can end a run in the middle of a span.
        """
        start = time.time()
        log_span("begin", name, step)
        try:
            yield
        finally:
            log_span("end", name, step)
            self._append([(TRAINER, span(name, (start, time.time()), {"step": step, **facts}))])

    def add_batch(self, work: Sequence[Work], step: int, **facts: Any) -> None:
        """Add the rows of engines and verifier for one batch; see ``timeline.batch_events``."""
        self._append(list(batch_events(work, {"step": step, **facts})))

    def _append(self, events: Sequence[tuple[str | None, dict[str, Any]]]) -> None:
        """Write events at once; a row that the file does not know yet gets its name first."""
        is_new = not self.path.exists()
        lines = ["["] if is_new else []
        rows = self._rows = {} if is_new else self._rows or self._named_rows()
        for row, event in events:
            if row is not None and row not in rows:
                rows[row] = 0 if row == TRAINER else 1 + len(rows.keys() - {TRAINER})
                lines.append(json.dumps(name_of_row(row, rows[row])) + ",")
            lines.append(json.dumps(event if row is None else {**event, "tid": rows[row]}) + ",")
        with self.path.open("a") as file:
            file.write("".join(line + "\n" for line in lines))

    def _named_rows(self) -> dict[str, int]:
        names = [event for event in self.events() if event.get("name") == "thread_name"]
        return {event["args"]["name"]: event["tid"] for event in names}

    def events(self) -> list[dict[str, Any]]:
        """Everything in the trace, whether it is closed or not; what a kill left half-written is left out."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(errors="replace").splitlines()
        return [event for line in lines if (event := parsed_event(line)) is not None]

    def spans(self) -> list[dict[str, Any]]:
        """The spans of every row; ``tid`` 0 is the trainer."""
        return [event for event in self.events() if event.get("ph") == "X"]

    def rewrite(self, closed: bool) -> None:
        """Write the whole events again: closed as valid JSON, or open so that more can be appended."""
        if not self.path.is_file():
            return
        lines = [json.dumps(event) for event in self.events()]
        text = ",\n".join(lines) + "\n]\n" if closed else "".join(line + ",\n" for line in lines)
        write_atomic(self.path, "[\n" + text)


def name_of_row(row: str, tid: int) -> dict[str, Any]:
    return {"name": "thread_name", "ph": "M", "pid": 0, "tid": tid, "args": {"name": row}}


def log_span(event: str, name: str, step: int) -> None:
    if path := os.environ.get("ABLATE_SPAN_LOG"):
        with Path(path).open("a") as file:
            file.write(f"{event} {name} {step} {os.getpid()}\n")


def parsed_event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line.rstrip().removesuffix(","))
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
