"""What a person sees during a run: a live display on a terminal, plain lines elsewhere. The home of rich."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate.types import RolloutGroup

SHOWN = {
    "rollout/pass_rate": ("pass", "{:.2f}"),
    "rollout/truncated": ("truncated", "{:.2f}"),
    "rollout/length_mean": ("tokens", "{:.0f}"),
    "train/loss": ("loss", "{:+.4f}"),
    "train/grad_norm": ("grad", "{:.3f}"),
    "policy/clip_high": ("clip+", "{:.3f}"),
    "policy/clip_low": ("clip-", "{:.3f}"),
}
SHOWN_IN_A_ROW = ("rollout/pass_rate", "rollout/truncated", "rollout/length_mean")  # of a sweep
SCORE = re.compile(r"eval/pass@1/\d+")


class Display:
    """Shows nothing: the display of every rank other than the leader."""

    def say(self, sentence: str) -> None: ...

    def wait(self, what: str) -> None:
        """Say what takes more than two seconds now."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def summary(metrics: Mapping[str, float]) -> str:
    shown = [f"{label} {form.format(metrics[name])}" for name, (label, form) in SHOWN.items() if name in metrics]
    scores = [f"{name} {value:.3f}" for name, value in metrics.items() if SCORE.fullmatch(name)]
    return "  ".join(shown + scores)


def closing_line(directory: Path, metrics: Mapping[str, float]) -> str:
    """What a finished run says: its directory, and Pass@1 with its interval at every context that was evaluated."""
    scores = []
    for name in sorted(filter(SCORE.fullmatch, metrics), key=lambda name: int(name.rpartition("/")[2])):
        ends = [f"{100 * metrics[f'{name}/{end}']:.1f}" for end in ("low", "high") if f"{name}/{end}" in metrics]
        interval = f" [{', '.join(ends)}]" if ends else ""
        scores.append(f"{100 * metrics[name]:.1f} %{interval} at {int(name.rpartition('/')[2]):,} tokens")
    return f"done: {directory}" + (f": Pass@1 {', '.join(scores)}" if scores else "")


def minutes(seconds: float) -> str:
    """Seconds as 4:10, or 1:04:10 from an hour on."""
    whole = round(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{whole // 60 % 60:0{2 if hours else 1}d}:{whole % 60:02d}"


class SweepClock:
    """Where the sweep of this process stands. A run that is not made again, because it is done, takes no time."""

    def __init__(self, num_runs: int) -> None:
        self.num_runs, self.position = num_runs, 0
        self.taken_s: list[float] = []  # of the runs that this process made
        self.start = 0.0

    def begin_run(self) -> None:
        self.position += 1
        self.start = time.monotonic()

    def end_run(self) -> None:
        self.taken_s.append(time.monotonic() - self.start)

    def place(self, left_s: float | None) -> str:
        """Such as "run 3 of 8, 4:10 left", if a run still takes ``left_s``; the others take as long as those before."""
        here = f"run {self.position} of {self.num_runs}"
        if left_s is None:
            return here
        own_s = time.monotonic() - self.start + left_s
        typical_s = sum(self.taken_s) / len(self.taken_s) if self.taken_s else own_s
        return f"{here}, {minutes(left_s + typical_s * (self.num_runs - self.position))} left"


class Clock:
    """Seconds per step since the first step that this process showed, and the time left at that pace."""

    def __init__(self, num_steps: int, sweep: SweepClock | None = None) -> None:
        self.num_steps, self.sweep = num_steps, sweep
        self.first: tuple[int, float] | None = None

    def eta(self, step: int) -> str:
        left_s, pace = None, "first step"
        if self.first is None:
            self.first = step, time.monotonic()
        else:
            first_step, start = self.first
            pace_s = (time.monotonic() - start) / max(1, step - first_step)
            left_s = pace_s * (self.num_steps - step)
            pace = f"{pace_s:.2f} s/step, {minutes(left_s)} left"
        return pace if self.sweep is None else f"{pace}; {self.sweep.place(left_s)}"


class PlainDisplay(Display):
    """One line for each step, for logs."""

    def __init__(self, title: str, num_steps: int, sweep: SweepClock | None) -> None:
        self.title, self.num_steps, self.clock = title, num_steps, Clock(num_steps, sweep)

    def say(self, sentence: str) -> None:
        print(f"[{self.title}] {sentence}", flush=True)

    def wait(self, what: str) -> None:
        self.say(f"{what} …")

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.say(f"step {step}/{self.num_steps}  {summary(metrics)}  ({self.clock.eta(step)})")


class LiveDisplay(Display):
    """A bar with the remaining time, and below it the numbers of the newest step; both are redrawn in place."""

    def __init__(self, title: str, num_steps: int, sweep: SweepClock | None) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.text import Text

        self.clock = Clock(num_steps, sweep)
        columns = (TextColumn("[bold]{task.description}"), BarColumn(20), MofNCompleteColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[eta]}"))
        self.task = self.bar.add_task(title, total=num_steps, eta="starting")
        self.numbers = Text()
        self.live = Live(Group(self.bar, self.numbers))
        self.live.start()

    def say(self, sentence: str) -> None:
        self.live.console.print(sentence, highlight=False, markup=False)

    def wait(self, what: str) -> None:
        self.bar.update(self.task, eta=f"{what} …")

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.bar.update(self.task, completed=step, eta=self.clock.eta(step))
        self.numbers.plain = summary(metrics)

    def close(self) -> None:
        self.live.stop()


_send: Callable[[Any], None] | None = None  # in a worker of a sweep: hands messages to the process that shows them


def send_display(send: Callable[[Any], None]) -> None:
    """From now on the displays of this process send what they would show."""
    global _send
    _send = send


class SentDisplay(Display):
    """The display of a run in a worker process: a row of the sweep's display."""

    def __init__(self, send: Callable[[Any], None], title: str, num_steps: int) -> None:
        self.send, self.title, self.num_steps, self.clock = send, title, num_steps, Clock(num_steps)
        self.send(("row", title, num_steps))

    def say(self, sentence: str) -> None:
        self.send(("say", f"[{self.title}] {sentence}"))

    def wait(self, what: str) -> None:
        self.send(("wait", self.title, f"{what} …"))

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        shown = {name: value for name, value in metrics.items() if name in SHOWN_IN_A_ROW}
        self.send(("step", self.title, step, self.clock.eta(step), summary(shown)))
        if scores := summary({name: value for name, value in metrics.items() if SCORE.fullmatch(name)}):
            self.say(f"step {step}/{self.num_steps}  {scores}")

    def close(self) -> None:
        self.send(("close", self.title))


def is_live(mode: str) -> bool:
    """mode: auto | live | plain. A terminal that cannot move its cursor (TERM=dumb: Emacs, some CI) gets lines."""
    return mode == "live" or (mode == "auto" and sys.stdout.isatty() and os.environ.get("TERM") != "dumb")


def open_display(mode: str, title: str, num_steps: int, sweep: SweepClock | None = None) -> Display:
    if _send is not None:
        return SentDisplay(_send, title, num_steps)
    return (LiveDisplay if is_live(mode) else PlainDisplay)(title, num_steps, sweep)


def completion_lines(groups: Sequence[RolloutGroup], count: int, width: int | None = None) -> list[str]:
    """The first ``count`` responses of a batch, one line each: problem, verdict, reward, and as much text as fits.

    Args:
        width: of a line; None for that of the terminal.
    """
    width = width or shutil.get_terminal_size((120, 24)).columns
    shown = []
    for group in groups:
        for completion, verdict, reward in zip(group.completions, group.verdicts, group.rewards, strict=True):
            head = f"  {group.problem.id} #{completion.sample}  {verdict.kind.replace('_', ' ')}  {reward:+g}  "
            text = printable(completion.text)
            room = max(20, width - len(head))
            shown.append(head + (text if len(text) <= room else text[: room - 1] + "…"))
            if len(shown) == count:
                return shown
    return shown


def printable(text: str) -> str:
    """Text of a model on one line: what could move the cursor or change colours is shown as an escape."""
    lines = text.replace("\n", "⏎")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in lines)


def print_page(title: str, tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]], text: str) -> None:
    """Print tables (title, heads, rows; the first column is left-aligned), then text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    console.print(title, soft_wrap=True)
    for name, heads, rows in tables:
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        if sum(widths) + 2 * len(widths) > console.width:  # a list: columns cut to a letter say nothing
            console.print(f"\n{name}")
            for row in rows:
                said = "; ".join(
                    f"{head} {cell}".strip() for head, cell in zip(heads[1:], row[1:], strict=True) if cell
                )
                console.print(f"  {row[0]}: {said}", soft_wrap=True)
            continue
        table = Table(box=box.SIMPLE_HEAD, title=name, title_justify="left", title_style="bold", pad_edge=False)
        for index, head in enumerate(heads):
            table.add_column(head, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(text, soft_wrap=True)


STATE_STYLES = {
    "done": ("✓", "green"),
    "running": ("▶", "cyan"),
    "queued": ("…", "cyan"),
    "missing": ("·", "dim"),
    "failed": ("✗", "red"),
}  # others, such as preempted, wait for a run to continue them


def print_grid(states: Mapping[tuple[str, str], tuple[str, str]], width: int | None = None) -> None:
    """Print the states of a sweep as a grid on the terminal: a row for each cell, a column for each seed.

    Args:
        states: (cell, seed) -> the state's name and the position, such as "step 12/40 at …".
        width: of the terminal; None to ask it.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    seeds = list(dict.fromkeys(seed for _, seed in states))
    grid = Table("cell", *(f"seed {seed}" for seed in seeds), box=None, pad_edge=False, header_style="bold")
    for cell in dict.fromkeys(cell for cell, _ in states):
        row = []
        for seed in seeds:
            name, position = states.get((cell, seed), ("", ""))
            sign, style = STATE_STYLES.get(name, ("‖", "yellow")) if name else ("", "")
            where = " ".join(position.split()[:2]) if name != "done" else ""
            row.append(Text(" ".join(filter(None, (sign, name, where))), style))
        grid.add_row(Text(cell), *row)
    Console(width=width, highlight=False).print(grid)
