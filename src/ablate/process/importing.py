"""Import large packages faster, with garbage collection off."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting_garbage() -> Iterator[None]:
    """Import in the block: Python looks for no reference cycles meanwhile, and never among what was there at its end.

    Importing torch, Megatron and vLLM makes a million objects that live as long as the process. The collector would
    walk over them again and again: a third of the seconds of the import, and more later.
    """
    was_enabled, num_modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > num_modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
