"""A worker process of a sweep: it makes one run after another, and keeps its engine, trainer and verifier in between.

A pool (``ablate.launch.pool``) starts it with one end of a connection. It receives the overrides of a run, composes
them as ``ablate.plan`` does, and sends back ``Ended``. When the connection is closed, it ends.
"""

from __future__ import annotations

import copy
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ablate.cli import compose
from ablate.display import send_display
from ablate.errors import UserError
from ablate.launch.failures import RunFailed, failed_runs
from ablate.process.parents import end_with

INTERRUPT_EXIT_CODE = 130


@dataclass(frozen=True)
class Ended:
    """How a run ended: its status, or why it failed."""

    status: str | None = None
    error: Exception | None = None
    failures: tuple[str, ...] = ()  # the sentences for the last lines of the sweep


def serve(make_run: Callable[[Any], str], descriptor: int, pool: int, has_bars: bool) -> None:
    """Make the runs that arrive until the pool closes the connection.

    Args:
        make_run: takes the composed configuration of a run, makes the run and returns its status.
        descriptor: this process's end of the connection.
        pool: process id of the pool. When that process ends, however it ends, the kernel kills this one.
        has_bars: whether the pool shows a line for each run; otherwise this process prints its steps itself.
    """
    end_with(pool)
    os.set_inheritable(descriptor, False)
    connection: Connection[Any, Any] = Connection(descriptor)
    if has_bars:
        send_display(connection.send)
    try:
        while (overrides := received(connection)) is not None:
            connection.send(ended(make_run, overrides))
    except KeyboardInterrupt:  # between two runs: a run turns it into an exit code of its own
        sys.exit(INTERRUPT_EXIT_CODE)


def received(connection: Connection[Any, Any]) -> list[str] | None:
    try:
        return connection.recv()
    except EOFError:
        return None


def ended(make_run: Callable[[Any], str], overrides: Sequence[str]) -> Ended:
    """Make one run. An error that is not the user's travels as text: not every exception can be pickled."""
    try:
        return Ended(status=make_run(composed(overrides)))
    except UserError as error:
        return Ended(error=UserError(str(error)), failures=taken_failures())
    except Exception as error:
        traceback.print_exc()
        return Ended(error=RunFailed(f"{type(error).__name__}: {error}"), failures=taken_failures())


def composed(overrides: Sequence[str]) -> Any:
    """The configuration that Hydra's own launcher would give to the run; Hydra's section is where runs look for it."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import configure_log
    from hydra.types import RunMode
    from omegaconf import open_dict, read_write

    values = compose(overrides, with_hydra=True)
    with read_write(values.hydra):
        values.hydra.mode = RunMode.MULTIRUN
    HydraConfig.instance().set_config(values)
    configure_log(values.hydra.job_logging, values.hydra.verbose)
    own = copy.deepcopy(values)
    with read_write(own), open_dict(own):
        del own["hydra"]
    return own


def taken_failures() -> tuple[str, ...]:
    taken = tuple(failed_runs)
    failed_runs.clear()
    return taken
