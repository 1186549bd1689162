"""What a person sees of several runs at once: a live line for each on a terminal, each run's own lines elsewhere."""

from __future__ import annotations

from typing import Any

from ablate.display import is_live


class SweepDisplay:
    """Every worker prints its own lines."""

    has_bars = False

    def say(self, sentence: str) -> None:
        print(sentence, flush=True)

    def receive(self, message: Any) -> None: ...

    def show_ended(self, num_runs: int) -> None: ...

    def close(self) -> None: ...


class LiveSweepDisplay(SweepDisplay):
    """A row for the sweep and a row for each run that is being made; what the workers print goes above them."""

    has_bars = True

    def __init__(self, num_runs: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        cut = Column(no_wrap=True, overflow="ellipsis")
        title, numbers = TextColumn("[bold]{task.description}"), TextColumn("{task.fields[numbers]}", table_column=cut)
        eta = TextColumn("{task.fields[eta]}", table_column=cut)
        self.progress = Progress(title, BarColumn(20), MofNCompleteColumn(), eta, numbers)
        self.rows: dict[str, Any] = {}
        self.all = self.progress.add_task("runs", total=num_runs, eta="", numbers="")
        self.progress.start()

    def say(self, sentence: str) -> None:
        self.progress.console.print(sentence.rstrip("\r"), highlight=False, markup=False)

    def receive(self, message: Any) -> None:
        kind, text, *values = message
        if kind == "say":
            self.say(text)
        elif kind == "row":
            self.rows[text] = self.progress.add_task(text, total=values[0], eta="starting", numbers="")
        elif kind == "wait":
            self.progress.update(self.rows[text], eta=values[0])
        elif kind == "step":
            self.progress.update(self.rows[text], completed=values[0], eta=values[1], numbers=values[2])
        else:
            self.progress.remove_task(self.rows.pop(text))

    def show_ended(self, num_runs: int) -> None:
        self.progress.update(self.all, completed=num_runs)

    def close(self) -> None:
        self.progress.stop()


def open_sweep_display(mode: str, num_runs: int, num_workers: int) -> SweepDisplay:
    display = LiveSweepDisplay(num_runs) if is_live(mode) else SweepDisplay()
    display.say(f"{num_runs} runs, {num_workers} at a time")
    return display
