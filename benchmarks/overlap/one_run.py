"""Train one run whose stages are kept from overlapping, or last longer: ``python -m benchmarks.overlap.one_run``.

The words after the options are those of ablate.train.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any


class Withholding:
    """An engine that hands on no response before it has sampled all of them, so that nothing is verified meanwhile."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def sample(self, requests: Sequence[Any], on_finish: Callable[[Hashable, Any], None], steer: Any = None) -> None:
        while requests:
            sampled: dict[Hashable, Any] = {}
            self._engine.sample(requests, sampled.__setitem__)
            for key, response in sampled.items():
                on_finish(key, response)
            requests = steer().added if steer is not None else ()


def lasting(seconds: float, function: Callable) -> Callable:
    """The same function, which returns no sooner than this many seconds after it was called."""

    def longer(*args: Any, **kwargs: Any) -> Any:
        until = time.monotonic() + seconds
        result = function(*args, **kwargs)
        time.sleep(max(0.0, until - time.monotonic()))
        return result

    return longer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--withhold", action="store_true", help="verify only when everything is sampled")
    parser.add_argument("--update-s", type=float, default=0.0, help="the least that an update lasts")
    parser.add_argument("--logp-s", type=float, default=0.0, help="the least that old log-probabilities last")
    options, words = parser.parse_known_args()
    from ablate import train
    from ablate.cli import run_main
    from ablate.rollout import open as opening
    from ablate.trainer.trainer import Trainer

    if options.withhold:
        opening.OPENERS = {kind: withheld(opener) for kind, opener in opening.OPENERS.items()}
    Trainer.update = lasting(options.update_s, Trainer.update)
    Trainer.first_update = lasting(options.update_s, Trainer.first_update)
    Trainer.logp = lasting(options.logp_s, Trainer.logp)
    sys.argv = ["ablate.train", *words]
    run_main(train.check_and_make)


def withheld(opener: Callable[..., Any]) -> Callable[..., Withholding]:
    return lambda *arguments: Withholding(opener(*arguments))


if __name__ == "__main__":
    main()
