"""The sections of report.html, in their order. A section is a title and HTML; it folds, and its name is its anchor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from ablate_analysis import style
from ablate_analysis.compare import Gap
from ablate_analysis.examples import Example
from ablate_analysis.figures import Plot
from ablate_analysis.load import Experiment, page_of
from ablate_analysis.one_factor import what_differs
from ablate_analysis.pages.figures import PageFigure
from ablate_analysis.render import SAFE, Table, to_html
from ablate_analysis.why import Explanation


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


def why_section(explanation: Explanation, tables: Markup, has_pages: bool) -> Section:
    """What makes up the largest difference, and the samples that show it."""
    cards = Markup("\n").join(card(each, explanation) for each in explanation.examples) if has_pages else Markup("")
    said = bullets(explanation.sentences, "why")
    body = Markup('<div class="two"><div>{}<div class="cards">{}</div></div><div>{}</div></div>').format(
        said, cards, tables
    )
    return Section("why", "Why" if explanation.gap else "Why: nothing to explain", body)


def card(example: Example, explanation: Explanation) -> Markup:
    return Markup('<p class="card"><span>{}</span> <a href="{}">{}</a></p>').format(
        example.said, place_of(example, explanation.gap), example.text
    )


def place_of(example: Example, gap: Gap) -> str:
    """The address that opens an example: in the table of problems, or on the run's page."""
    if example.context is None:
        return f"{quote(page_of(example.run), safe=SAFE)}#step={example.step}&rollout={example.number}"
    cells = f"left={quote(gap.upper)}&right={quote(gap.lower)}"
    chosen = f"run={quote(example.run.name)}&step={example.step}&sample={example.sample}"
    return f"samples.html#context={example.context}&problem={quote(example.problem)}&{cells}&{chosen}"


def published_section(published: Sequence[Table], caveat: str) -> Section:
    body = Markup('{}<p class="note">{}</p>').format(html_of(published), caveat)
    return Section("published", "What others published", body, is_open=False)


def figures_section(figures: Sequence[PageFigure], files: Sequence[Plot], folder: Path) -> Section:
    """The page's own figures, and links to the same for print."""
    links = []
    for plot in files:
        png, svg = style.save(plot.figure, folder, plot.name)
        links.append(
            Markup('<li>{}: <a href="{}" title="{}">PNG</a>, <a href="{}">SVG</a></li>').format(
                plot.title, png.name, plot.alt, svg.name
            )
        )
    body = Markup(
        '<div class="figures">{}</div><details class="files"><summary>For print</summary><ul>{}</ul></details>'
    )
    return Section(
        "figures", "Figures", body.format(Markup("\n").join(each.html for each in figures), Markup("").join(links))
    )


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
