"""Where each rank of a job is when a collective does not end: which ranks wait in it, and which never came."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import torch.distributed as dist

ASKED = "ablate/where"
SECONDS_TO_ANSWER = 3.0
COLLECTIVES = "torch/distributed/"
OWN_FILES = ("failure.py", "hung.py")  # a main thread in here has left a collective that broke
SHOWN_RANKS = 4


def answer_if_asked(store: dist.Store, rank: int) -> None:
    """Write where this rank's main thread is, once another rank has asked. Called by the thread that watches."""
    if store.check([ASKED]) and not store.check([f"{ASKED}/{rank}"]):
        store.set(f"{ASKED}/{rank}", json.dumps(main_thread()))


def main_thread() -> tuple[bool, str]:
    """Whether the main thread waits in a collective, and its innermost place outside installed packages."""
    frame = sys._current_frames().get(threading.main_thread().ident)
    waits = False
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        is_installed = "site-packages" in path.parts
        waits = waits or (is_installed and COLLECTIVES in path.as_posix()) or path.name in OWN_FILES
        if not is_installed and path.name not in OWN_FILES:
            return waits, f"{path.name}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return waits, "no Python code"


def who_hangs(store: dist.Store, size: int) -> str:
    """Ask every rank where it is, and return in words which of them did not come to the collective.

    A rank whose process is stopped does not answer; the heartbeat finds that one.
    """
    store.set(ASKED, "")
    end = time.monotonic() + SECONDS_TO_ANSWER
    keys = {rank: f"{ASKED}/{rank}" for rank in range(size)}
    while time.monotonic() < end and not all(store.check([key]) for key in keys.values()):
        time.sleep(0.1)
    answers = {rank: json.loads(store.get(key)) for rank, key in keys.items() if store.check([key])}
    absent = {rank: place for rank, (waits, place) in answers.items() if not waits}
    shown = absent or {rank: place for rank, (_, place) in answers.items()}
    places = ", ".join(f"rank {rank} is at {place}" for rank, place in list(shown.items())[:SHOWN_RANKS])
    if absent:
        names = ", ".join(str(rank) for rank in absent)
        return f"rank {names} did not come to a collective in which the other ranks waited: {places}"
    return f"a collective did not end, although every rank waits in one: {places}"
