"""What a verifier needs of the place in which programs run.

A new backend is one class with these methods in a file of its own, one row of ``choices.BACKENDS`` and one file in
conf/verify. The smallest one, which scores nothing and says so::

    class Nowhere:
        containment = "runs nothing"

        def start(self) -> None: ...

        def run(self, job: Job) -> Verdict:
            return infrastructure_error(job, "this backend runs nothing")

        def cancel(self, number: int) -> None: ...

        def stop(self) -> None: ...

``scoring`` holds the rules that every backend shares: ``limits_of`` (what the sandbox must know), ``run_in_order``
(the hardest test first, stop at the first failure) and ``score`` (from a test's report and output to its outcome).
tests/verify/test_backend.py adds a whole backend in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ablate.types import Verdict
from ablate.verify.jobs import Job
from ablate.verify.packages import Package


class BackendError(Exception):
    """A job could not be run, for a reason that lies with the backend and not with the program."""


class Backend(Protocol):
    """One place that runs one job at a time; a verifier has ``verify.workers`` of them.

    All methods but ``cancel`` are called by one thread at a time. A backend that costs money may also have ``spent``, a
    Counter of what it has paid for; the verifier adds them up and says them at its end.
    """

    packages: Sequence[Package]  # that programs may import; set before ``start``
    containment: str  # one sentence for the log: what limits a program here; known once ``start`` has returned

    def start(self) -> None:
        """Get ready.

        Raises:
            UserError: in one sentence, when the user must change something.
            BackendError: when this machine has no sandbox.
        """

    def run(self, job: Job) -> Verdict:
        """Verify one program; after an exception, and after ``stop``, the next call starts afresh.

        Raises:
            Exception: whatever it is, the verifier takes it as an infrastructure error, and tries again.
        """

    def cancel(self, number: int) -> None:
        """Make ``run`` return soon if it runs the job of this number; called from any thread."""

    def stop(self) -> None:
        """Remove everything this backend started; may be called twice."""
