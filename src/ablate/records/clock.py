"""The time as records hold it."""

import time


def now() -> str:
    """The local time with its offset, such as 2026-05-17T09:30:00+0200."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
