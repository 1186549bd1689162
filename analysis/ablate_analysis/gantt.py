"""One step over time: a row for the trainer, for each engine and for the verifier, and what runs at once."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ablate.process.activity import VERIFIER
from ablate.records.trace import TRAINER
from ablate_analysis import style
from ablate_analysis.load import Experiment, Run
from ablate_analysis.overlap import LAG, room_of_engines
from ablate_analysis.timeline import Span, engines, has_rows, of_step, read_spans, step_seconds, trained_steps

COLOURS = {
    "sample": style.BLUE,
    "verify": style.GREEN,
    "verify_alone": "#005f43",
    "wait_batch": style.PALE_GREY,
    "weights": style.ORANGE,
    "old_logp": style.SKY,
    "ref_logp": style.SKY,
    "update": style.VERMILION,
    "evaluate": style.PURPLE,
    "checkpoint": style.BLACK,
    "records": style.GREY,
    "sleep": style.GREY,
}
MOST_ENGINES = 8  # with a row of their own in the chart


def charted_run(experiment: Experiment) -> Run | None:
    """The first run with rows, of those with the longest lag."""
    runs = sorted(experiment.runs, key=lambda run: -int(run.settings.get(LAG) or 0))
    return next((run for run in runs if has_rows(read_spans(run)) and trained_steps(read_spans(run))), None)


def typical_step(spans: Sequence[Span]) -> int:
    """A step of median length, so that the chart shows no exception."""
    steps = trained_steps(spans)
    by_wall = sorted(steps[1:-1] or steps, key=lambda step: step_seconds(spans, step).wall)
    return by_wall[len(by_wall) // 2]


def gantt(run: Run) -> tuple[Figure, int]:
    """The step of median length as bars: a row for the trainer, for each engine and for the verifier; and counters.

    Returns:
        The chart, and the number of the step.
    """
    spans = read_spans(run)
    step = typical_step(spans)
    trainer = [span for span in of_step(spans, step) if span.row == TRAINER and span.name != "records"]
    start, stop = min(span.start for span in trainer), max(span.stop for span in trainer)
    margin = 0.02 * (stop - start)
    inside = [span for span in spans if span.stop > start - margin and span.start < stop + margin]
    shown = [span for span in inside if span.name in COLOURS]  # others lie inside these
    rows = [TRAINER, *engines(shown)[:MOST_ENGINES], VERIFIER]
    with style.styled():
        figure = Figure(figsize=(style.WIDTH, 0.34 * len(rows) + 3.0), layout="constrained")
        bars, requests, programs = figure.subplots(3, 1, sharex=True, height_ratios=[0.34 * len(rows) + 0.3, 0.8, 0.8])
        for span in shown:
            if span.row in rows:
                draw_bar(bars, span, rows.index(span.row), start, stop)
        bars.set_yticks(range(len(rows)), [row.removeprefix("http://") for row in rows])
        bars.set_ylim(len(rows) - 0.5, -0.5)
        bars.grid(visible=False)
        names = [name for name in COLOURS if any(span.name == name for span in shown)]
        figure.legend(
            handles=[Patch(color=COLOURS[name], label=name.replace("_", " ")) for name in names],
            loc="outside upper left", ncols=6, fontsize=8,
        )  # fmt: skip
        counters = [event for event in run.directory.trace.events() if event.get("ph") == "C"]
        for axis, name, most in (
            (requests, "running requests", room_of_engines(run)),
            (programs, "running sandboxes", run.config["verify"]["workers"]),
        ):
            points = [(e["ts"] / 1e6 - start, e["args"]["value"]) for e in counters if e["name"] == name]
            draw_counter(axis, sorted(points), name, most)
        figure.align_ylabels()
        programs.set_xlim(-margin, stop - start + margin)
        programs.set_xlabel(f"seconds since the start of step {step}")
    return figure, step


def draw_bar(axis: Axes, span: Span, row: int, start: float, stop: float) -> None:
    """One span; a bar that is wide enough carries its step."""
    colour = COLOURS[span.name]
    height = 0.35 if span.name == "verify_alone" else 0.7  # it lies inside the verifier's bar
    axis.barh(row, span.stop - span.start, left=span.start - start, height=height, color=colour, edgecolor="white")
    visible = min(span.stop, stop) - max(span.start, start)
    if visible > 0.06 * (stop - start) and span.name in ("sample", "verify", "wait_batch", "update", "old_logp"):
        middle = (min(span.stop, stop) + max(span.start, start)) / 2 - start
        ink = style.BLACK if span.name == "wait_batch" else "white"
        axis.text(middle, row, str(span.step), ha="center", va="center", fontsize=8, color=ink, zorder=5)


def draw_counter(axis: Axes, points: Sequence[tuple[float, float]], name: str, most: int) -> None:
    axis.fill_between(
        [time for time, _ in points], [value for _, value in points], step="post", color=style.GREY, alpha=0.5
    )
    axis.axhline(most, color=style.BLACK, linewidth=0.8, linestyle=":")
    axis.set_ylim(0, 1.15 * most)
    axis.set_ylabel(name.replace(" ", "\n"), fontsize=8)
