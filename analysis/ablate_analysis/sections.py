"""The sections of report.html, in their order. A section is a title and HTML; it folds, and its name is its anchor."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from ablate_analysis import style
from ablate_analysis.figures import Plot
from ablate_analysis.load import Experiment
from ablate_analysis.one_factor import what_differs
from ablate_analysis.pages.run_page import page_of
from ablate_analysis.render import SAFE, Table, to_html
from ablate_analysis.why import Reason


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    body: Markup
    is_open: bool = True


def bullets(items: Sequence[str | Markup], kind: str) -> Markup:
    """A list; text is escaped, ``Markup`` is not."""
    return Markup('<ul class="{}">{}</ul>').format(
        kind, Markup("").join(Markup("<li>{}</li>").format(i) for i in items)
    )


def html_of(tables: Sequence[Table]) -> Markup:
    return Markup("\n").join(to_html(table) for table in tables)


def figure_html(plot: Plot, folder: Path) -> Markup:
    """Save the figure as PNG and SVG into ``folder``, and return it inlined, with its alternative text."""
    png, svg = style.save(plot.figure, folder, plot.name)
    return Markup(
        '<figure class="plot" id="{name}"><figcaption>{title}</figcaption><img src="data:image/png;base64,{data}" '
        'alt="{alt}" width="{width}"><p class="note">{note} <a href="{png}">PNG</a>, '
        '<a href="{svg}">SVG</a></p></figure>'
    ).format(
        name=plot.name,
        title=plot.title,
        data=base64.b64encode(png.read_bytes()).decode(),
        alt=plot.alt or f"{plot.title}. {plot.note}",
        width=round(96 * plot.figure.get_figwidth() * 1.25),
        note=plot.note,
        png=png.name,
        svg=svg.name,
    )


def why_section(reasons: Sequence[Reason], has_pages: bool) -> Section | None:
    """Why the other cells scored less than the best one, each with a link to a rollout that shows it."""
    if not reasons:
        return None
    items = []
    for reason in reasons:
        said = Markup(" ").join(reason.sentences)
        if reason.example and has_pages:
            shown = reason.example
            place = f"{quote(page_of(shown.run), safe=SAFE)}#step={shown.step}&rollout={shown.rollout}"
            said += Markup(' A rollout that shows it: <a href="{}">{}</a>.').format(place, shown.text)
        items.append(said)
    return Section("why", "Why the other cells scored less", bullets(items, "why"))


def scores_section(main: Table, published: Sequence[Table], caveat: str) -> Section:
    body = Markup('<div class="columns">{}{}</div><p class="note">{}</p>')
    return Section("scores", "Scores", body.format(to_html(main), html_of(published), caveat))


def figures_section(plots: Sequence[Plot], folder: Path) -> Section:
    return Section("figures", "Figures", Markup("\n").join(figure_html(plot, folder) for plot in plots))


def differs_section(experiment: Experiment) -> Section:
    """In which keys each cell differs from the baseline."""
    code, names = Markup("<code>{}</code>"), experiment.names
    items = [
        Markup("{}: {}").format(
            name, Markup("; ").join(map(code.format, what_differs(experiment, cell, experiment.baseline)))
        )
        for cell, name in names.items()
        if cell != experiment.baseline
    ]
    title = f"What differs from {names.get(experiment.baseline, experiment.baseline)}"
    return Section("differs", title, bullets(items, "differs"), is_open=False)
