"""One verifier per configuration and process: the cells of a sweep share it."""

from __future__ import annotations

import atexit

from ablate.config import VerifyConfig
from ablate.verify.verifier import Verifier, open_verifier

_open_verifiers: dict[str, Verifier] = {}


def shared_verifier(config: VerifyConfig) -> Verifier:
    """Return this process's verifier with these settings; it is closed when the process ends."""
    key = repr(config)
    if key not in _open_verifiers:
        _open_verifiers[key] = open_verifier(config)
    return _open_verifiers[key]


@atexit.register
def close_verifiers() -> None:
    """Close every verifier of this process. A process that multiprocessing started calls it itself before it ends."""
    while _open_verifiers:
        _open_verifiers.popitem()[1].close()
