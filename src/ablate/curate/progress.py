"""What a person sees while a data set is made: a bar on a terminal, a line per pass elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Writes to standard error."""

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        """Yield a function that takes how many more of ``total`` are done."""
        from tqdm import tqdm

        started = time.monotonic()
        with tqdm(total=total, desc=name, unit=f" {unit}", disable=None, file=sys.stderr) as bar:
            yield bar.update
            if bar.disable:
                self.say(f"{name}: {total} {unit} in {time.monotonic() - started:.0f} s")
