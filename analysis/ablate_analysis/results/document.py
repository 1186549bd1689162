"""What a comparison prints, once: sentences and tables, rendered as terminal text, markdown, CSV and one HTML page."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablate.files import write_atomic

WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A table of texts; ``columns`` says which of them are numbers and stand right."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass
class Document:
    """The parts in the order in which they are read."""

    title: str
    answer: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)  # what was read, before any number
    tables: list[Table] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)  # (title, SVG), on the page only

    def text(self) -> str:
        """For a terminal."""
        import textwrap

        def wrapped(line: str, mark: str = "") -> str:
            return textwrap.fill(line, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))

        parts = ["Read:", *(wrapped(line, "  ") for line in self.read)]
        parts += ["", *(wrapped(line) for line in self.answer)]
        if self.warnings:
            parts += ["", "Mind:", *(wrapped(line, "  * ") for line in self.warnings)]
        for table in self.tables:
            parts += ["", table.title, *aligned(table), *([wrapped(table.note)] if table.note else [])]
        return "\n".join(parts) + "\n"

    def markdown(self) -> str:
        parts = [f"# {self.title}", "", *(line + "\n" for line in self.answer), "## What was read", ""]
        parts += [f"* {line}" for line in self.read]
        if self.warnings:
            parts += ["", "## What to mind", "", *(f"* {line}" for line in self.warnings)]
        for table in self.tables:
            parts += ["", f"## {table.title}", "", row_of(table.head), row_of(["---"] * len(table.head))]
            parts += [row_of(row) for row in table.rows] + (["", table.note] if table.note else [])
        return "\n".join(parts) + "\n"

    def page(self) -> str:
        """One HTML file that needs no network; every text in it is escaped."""
        import ablate_analysis

        style = (Path(ablate_analysis.__file__).parent / "pages" / "page.css").read_text(encoding="utf-8")
        body = [f"<h1>{html.escape(self.title)}</h1>"]
        body += ['<div class="answer">', *(f"<p>{html.escape(line)}</p>" for line in self.answer), "</div>"]
        if self.warnings:
            body += ['<div class="warning">', *(f"<p>{html.escape(line)}</p>" for line in self.warnings), "</div>"]
        for title, svg in self.figures:
            body.append(f'<figure class="plot"><figcaption>{html.escape(title)}</figcaption>{svg}</figure>')
        for table in self.tables:
            body.append(html_table(table))
        body += ["<h2>What was read</h2><ul>", *(f"<li>{html.escape(line)}</li>" for line in self.read), "</ul>"]
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width, initial-scale=1"><title>{html.escape(self.title)}</title>\n'
            f"<style>{style}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
        )

    def write(self, out: Path) -> list[Path]:
        """Write compare.html, compare.md and a CSV for each table."""
        out.mkdir(parents=True, exist_ok=True)
        texts = {"compare.html": self.page(), "compare.md": self.markdown()}
        for table in self.tables:
            buffer = io.StringIO()
            csv.writer(buffer, lineterminator="\n").writerows([table.head, *table.rows])
            texts[table.title.lower().replace(" ", "_").replace("@", "_at_") + ".csv"] = buffer.getvalue()
        for name, content in texts.items():
            write_atomic(out / name, content)
        return [out / name for name in texts]


def row_of(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def aligned(table: Table) -> list[str]:
    rows = [table.head, *table.rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.head))]
    return [
        "  " + "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width)
                        for place, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip


def html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'<figure class="table"><figcaption>{html.escape(table.title)}</figcaption><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table>{note}</figure>"
    )


# --- one figure: lines with bands over a logarithmic or plain axis ----------------------------------------------------

COLOURS = ("0,114,178", "213,94,0", "0,158,115", "204,121,167", "230,159,0", "86,180,233")


@dataclass(frozen=True)
class Line:
    """A curve with its band; ``low`` and ``high`` may be empty."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    is_dashed: bool = False


def line_chart(lines: Sequence[Line], x_label: str, is_log: bool) -> str:
    """An SVG of curves; the vertical axis is in percent."""
    import math

    wide, high, left, below = 640, 320, 48, 40
    places = [math.log(x) if is_log else x for line in lines for x in line.x]
    values = [y for line in lines for y in (*line.y, *line.low, *line.high)]
    x0, x1 = min(places), max(places)
    y0, y1 = min(values), max(values)
    pad = 0.05 * (y1 - y0) or 0.05
    y0, y1 = max(0.0, y0 - pad), min(1.0, y1 + pad)

    def at(x: float, y: float) -> tuple[float, float]:
        place = math.log(x) if is_log else x
        return (left + (wide - left - 12) * (place - x0) / ((x1 - x0) or 1),
                high - below - (high - below - 12) * (y - y0) / ((y1 - y0) or 1))  # fmt: skip

    def path(points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)

    parts = []
    for tick in ticks(y0, y1):
        _, y = at(lines[0].x[0], tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{wide - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * tick:g} %</text>')
    for x in x_ticks([x for line in lines for x in line.x], is_log):
        parts.append(f'<text x="{at(x, y0)[0]:.1f}" y="{high - below + 18}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text x="{(wide + left) / 2}" y="{high - 4}" text-anchor="middle">{html.escape(x_label)}</text>')
    names = list(dict.fromkeys(line.name for line in lines))
    for line in lines:
        colour = COLOURS[names.index(line.name) % len(COLOURS)]
        if line.low:
            band = [at(x, y) for x, y in zip(line.x, line.high, strict=True)]
            band += [at(x, y) for x, y in zip(reversed(line.x), reversed(line.low), strict=True)]
            parts.append(f'<path d="{path(band)}Z" style="fill:rgba({colour},.15);stroke:none"/>')
        dash = "stroke-dasharray:5 4;" if line.is_dashed else ""
        curve = path([at(x, y) for x, y in zip(line.x, line.y, strict=True)])
        parts.append(f'<path d="{curve}" style="fill:none;{dash}stroke:rgb({colour});stroke-width:2">'
                     f"<title>{html.escape(line.name)}</title></path>")  # fmt: skip
    for place, name in enumerate(names):
        colour = COLOURS[place % len(COLOURS)]
        parts.append(
            f'<text x="{left + 12}" y="{24 + 16 * place}" style="fill:rgb({colour})">{html.escape(name)}</text>'
        )
    return (f'<svg viewBox="0 0 {wide} {high}" role="img" style="max-width:{wide}px;width:100%;font-size:12px" '
            f'fill="currentColor">{"".join(parts)}</svg>')  # fmt: skip


def ticks(low: float, high: float) -> list[float]:
    """Round shares between two others: steps of 1, 2 or 5 times a power of ten."""
    import math

    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(step * place, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def x_ticks(places: Sequence[float], is_log: bool) -> list[float]:
    return (
        sorted(set(places)) if is_log else ticks(min(places), max(places)) if max(places) > min(places) else [places[0]]
    )
