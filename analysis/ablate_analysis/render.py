"""Tables of text, and how they become markdown, LaTeX or HTML. A cell in this file is a cell of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup, escape

NOTHING = "–"
SAFE = "/=,"  # stays readable in a link


def difficulty_order(name: str) -> tuple[int, str]:
    """The key that sorts classes of difficulty for readers."""
    known = ("easy", "medium", "hard")
    return (known.index(name) if name in known else len(known), name)


@dataclass(frozen=True)
class Link:
    """Text of a cell that links to a path relative to the report, or to an anchor within report.html."""

    text: str
    path: str
    anchor: str | None = None


@dataclass(frozen=True)
class Target:
    """Text of a cell that links of the same page can lead to."""

    text: str
    name: str


Text = str | Link | Target


@dataclass(frozen=True)
class Table:
    name: str  # also the name of its anchor
    title: str
    header: tuple[str, ...]  # a line break where a narrow column may break
    rows: tuple[tuple[Text, ...], ...]
    note: str = ""
    kind: str = ""  # "text": every column is text, which may be long


def plain(cell: Text) -> str:
    return cell if isinstance(cell, str) else cell.text


def to_markdown(table: Table) -> str:
    def text(cell: Text) -> str:
        return (f"[{cell.text}]({cell.path})" if isinstance(cell, Link) else plain(cell)).replace("|", "\\|")

    align = "|".join(["---", *["---:"] * (len(table.header) - 1)])
    lines = [" | ".join(table.header).replace("\n", " "), align, *(" | ".join(map(text, row)) for row in table.rows)]
    lines = [f"| {lines[0]} |", f"|{lines[1]}|", *(f"| {line} |" for line in lines[2:])]
    return "\n".join([f"**{table.title}**", "", *lines, "", table.note, ""])


LATEX = {letter: f"\\{letter}" for letter in "%_&#{}$"}
LATEX |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "\n": " ", "\r": " "}
LATEX |= {NOTHING: "--", "†": r"\dag{}"}


def to_latex(table: Table) -> str:
    """A booktabs table, to be \\input."""

    def text(cell: Text) -> str:
        return "".join(LATEX.get(letter, letter) for letter in plain(cell))

    escaped = [" & ".join(map(text, row)) + r" \\" for row in [table.header, *table.rows]]
    # LaTeX reads "[" or "*" after a line break as an option of the break, hence the empty group.
    body = ["{}" * line.startswith(("[", "*")) + line for line in escaped]
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", "% " + " ".join(table.note.split()), ""])


def to_html(table: Table) -> Markup:
    """A <figure> with the table; a link goes to its anchor in the page where it has one, else to its path."""

    def text(cell: Text) -> Markup:
        if isinstance(cell, Target):
            return Markup('<span id="{}">{}</span>').format(cell.name, cell.text)
        if isinstance(cell, str):
            return escape(cell)
        return Markup('<a href="{}">{}</a>').format(
            f"#{cell.anchor}" if cell.anchor else quote(cell.path, safe=SAFE), cell.text
        )

    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in table.header)
    body = Markup("\n").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(text(cell)) for cell in row))
        for row in table.rows
    )
    return Markup(
        '<figure class="table {}" id="{}"><figcaption>{}</figcaption><table><thead><tr>{}</tr></thead>'
        "<tbody>\n{}\n</tbody></table><p class=note>{}</p></figure>"
    ).format(table.kind, table.name, table.title, head, body, table.note)


def all_markdown(tables: Sequence[Table]) -> str:
    return "\n".join(to_markdown(table) for table in tables)
