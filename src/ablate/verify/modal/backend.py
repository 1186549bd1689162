"""The Modal backend: sandboxes as ``verify.container`` says, one exec per program, comparison here.

========== =============================== ======================= ==============================
container  a sandbox for                   execs                   kept warm
========== =============================== ======================= ==============================
rollout    each program                    one per program         the sandbox of the next program
problem    the programs of one problem     one per program         the sandbox of the next problem
test       each test                       one per test            the sandbox of the next test
========== =============================== ======================= ==============================

Facts of modal 1.6: an exec that the platform stops ends with return code -1 or 137 and no exception. Whatever the
platform does (a sandbox reaped early, a lost connection) is an infrastructure error, never a failed program: our own
watcher inside stops every test before the platform would, and a report that is missing or torn scores nobody.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ablate.errors import UserError
from ablate.types import Verdict
from ablate.verify.checker import DISK_MIB
from ablate.verify.jobs import CANCELLED, Interrupted, Job, hardest_first, infrastructure_error
from ablate.verify.local.container import INSIDE
from ablate.verify.modal.checking import Checking
from ablate.verify.modal.exec import Execution
from ablate.verify.packages import Package
from ablate.verify.scoring import STARVED_FACTOR, Outcome, run_in_order

if TYPE_CHECKING:
    import modal
    from modal.container_process import ContainerProcess

APP = "ablate-verifier"
PYTHON = "3.11"
CORES = (1.0, 1.0)  # requested, limit: CPU time is limited, so more cores would stand idle
SPARE_MIB = 256  # for the interpreter that watches, in addition to the test's
START_S = 60.0  # of an interpreter in a cold sandbox, beyond a test's own wall limit
IDLE_S = 300  # without an exec for so long, the platform ends a sandbox
WARM_S = 240.0  # a spare that waited longer is replaced before the platform reaps it
LIFETIME_S = 24 * 3600  # Modal's maximum: a sandbox is ended after its work, and an idle one ends by itself
RATE_LIMIT_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
MODULES = (
    *("kernel", "syscall_filter", "test_report", "walls", "ending", "plain"),
    *("program", "usage", "watch", "server", "isolated"),
)
# The modules travel with each exec, in its arguments: no file of ours lies in the sandbox for a program to change.
BOOT = """
import base64, json, sys, types, zlib
for name, text in json.loads(zlib.decompress(base64.b64decode(sys.argv[1]))).items():
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = "/sandbox/" + name + ".py"
    exec(compile(text, module.__file__, "exec"), module.__dict__)
sys.modules["isolated"].main()
"""


def boot_command() -> list[str]:
    sources = {name: (INSIDE / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    bundle = base64.b64encode(zlib.compress(json.dumps(sources).encode())).decode()  # Modal takes 64 KiB of arguments
    return ["python3", "-S", "-s", "-B", "-X", "utf8", "-c", BOOT, bundle]


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that exists, or will soon.

    Example: ``Sandbox(Future(), memory_mib=4352, created_s=0.0)``, seconds of ``time.monotonic``.
    """

    future: Future[modal.Sandbox]
    memory_mib: int
    created_s: float

    def fits(self, memory_mib: int) -> bool:
        is_broken = self.future.done() and self.future.exception() is not None
        return self.memory_mib == memory_mib and not is_broken and time.monotonic() - self.created_s < WARM_S


class ModalBackend:
    """One sandbox at a time, and one spare that starts while the first one works.

    So ``verify.workers`` bounds the programs that run at once, and at most twice as many sandboxes exist. ``spent``
    counts what is paid for: sandboxes, execs, and core and GiB seconds between the creation and the end of each.
    """

    containment = "Modal isolates each sandbox; no network; programs run as another user than their watcher"

    packages: Sequence[Package] = ()

    def __init__(self) -> None:
        self.app: modal.App | None = None
        self.image: modal.Image | None = None
        self.starter: ThreadPoolExecutor | None = None
        self.sandbox: Sandbox | None = None
        self.spare: Sandbox | None = None
        self.execution: Execution | None = None
        self.of_checkers: Sandbox | None = None
        self.checking = Checking(self.start_checking)
        self.problem_id: str | None = None
        self.cancelled: int | None = None
        self.command = boot_command()
        self.spent: Counter[str] = Counter()

    def start(self) -> None:
        """Find the app and the image.

        Raises:
            UserError: without the package or without credentials.
        """
        try:
            import modal
        except ImportError as error:
            raise UserError("verify.backend=modal needs the package modal: pip install modal==1.6.4") from error
        if not (modal.config.config.get("token_id") and modal.config.config.get("token_secret")):
            fix = "run `modal setup`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"
            raise UserError(f"verify.backend=modal needs credentials: {fix}")
        try:
            self.app = modal.App.lookup(APP, create_if_missing=True)
        except modal.exception.Error as error:
            raise UserError(
                f"verify.backend=modal: Modal refuses ({error}): check the token and the network"
            ) from error
        self.image = modal.Image.debian_slim(python_version=PYTHON)
        if self.packages:
            self.image = self.image.pip_install(*(package.pin for package in self.packages))

    def run(self, job: Job) -> Verdict:
        """Verify one program in a sandbox; what the platform breaks is an infrastructure error."""
        import grpclib
        import modal

        self.cancelled = None
        started = time.monotonic()
        try:
            with self.sandbox_for(job):
                verdict = run_in_order(job, lambda position, index: self.run_test(job, position, index))
                self.checking.close()
        except Interrupted:
            self.stop()
            verdict = infrastructure_error(job, CANCELLED)
        except (modal.exception.Error, grpclib.GRPCError, grpclib.exceptions.StreamTerminatedError, OSError) as error:
            self.stop()
            verdict = infrastructure_error(job, f"Modal: {type(error).__name__}: {error}")
        return replace(verdict, wall_s=time.monotonic() - started)

    @contextlib.contextmanager
    def sandbox_for(self, job: Job) -> Iterator[None]:
        """Have a sandbox of the job's own; with ``container=problem``, the sandbox that the problem's group shares."""
        if self.sandbox is None or job.container != "problem" or job.problem_id != self.problem_id or job.fresh:
            self.replace_sandbox(job)
        self.execution, self.problem_id = None, job.problem_id
        yield
        if job.container == "problem" and self.execution.is_idle:
            self.execution.end()
        else:
            self.release()

    def run_test(self, job: Job, position: int, index: int) -> Outcome:
        """Run one test in the sandbox and score it here."""
        if self.cancelled == job.number:
            raise Interrupted
        if job.container == "test":
            if position:
                self.replace_sandbox(job)
            self.execution = self.execute(job, [index])
        elif position == 0:
            self.execution = self.execute(job, hardest_first(job))
        return self.execution.next_outcome()

    def execute(self, job: Job, order: list[int]) -> Execution:
        limit_s = STARVED_FACTOR * job.wall_limit_s * (len(order) + 1) + START_S
        self.spent["execs"] += 1
        process = self.sandbox.future.result().exec(*self.command, timeout=int(limit_s), text=False)
        return Execution(process, job, order, self.checking.judge)

    def start_checking(self, job: Job) -> ContainerProcess[bytes]:
        """Start an exec in the sandbox that holds checkers and no program."""
        memory_mib = job.memory_limit_mib + SPARE_MIB + DISK_MIB
        if self.of_checkers is None or not self.of_checkers.fits(memory_mib):
            self.end(self.of_checkers)
            self.of_checkers = self.begin(memory_mib)
        limit_s = (2 * job.checker_time_limit_s + job.wall_limit_s) * STARVED_FACTOR * (len(job.tests) + 1) + START_S
        self.spent["execs"] += 1
        return self.of_checkers.future.result().exec(*self.command, timeout=int(limit_s), text=False)

    def replace_sandbox(self, job: Job) -> None:
        """Take the spare as the next sandbox, or a new one where the spare does not fit, and start the next spare."""
        memory_mib = job.memory_limit_mib + SPARE_MIB
        self.release()
        self.sandbox, self.spare = self.spare, None
        if self.sandbox is None or not self.sandbox.fits(memory_mib):
            self.release()
            self.sandbox = self.begin(memory_mib)
        self.spare = self.begin(memory_mib)

    def release(self) -> None:
        """End the sandbox in the background, without waiting for it."""
        if self.sandbox is not None:
            self.starter.submit(self.end, self.sandbox)
            self.sandbox = None

    def begin(self, memory_mib: int) -> Sandbox:
        """Start a sandbox in the background."""
        if self.starter is None:
            self.starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="modal")
        return Sandbox(self.starter.submit(self.create, memory_mib), memory_mib, time.monotonic())

    def create(self, memory_mib: int) -> modal.Sandbox:
        """Create a sandbox; where Modal limits the rate of creation, wait and try again."""
        import modal

        for pause_s in (*RATE_LIMIT_PAUSES_S, None):
            try:
                return modal.Sandbox.create(
                    app=self.app,
                    image=self.image,
                    block_network=True,
                    cpu=CORES,
                    memory=(memory_mib, memory_mib),
                    timeout=LIFETIME_S,
                    idle_timeout=IDLE_S,
                )
            except modal.exception.ResourceExhaustedError:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        raise AssertionError("the loop returns or raises")

    def end(self, sandbox: Sandbox | None) -> None:
        """End a sandbox, if there is one, and count what it cost; one that could not be created cost nothing."""
        if sandbox is None:
            return
        import grpclib
        import modal

        with contextlib.suppress(modal.exception.Error, grpclib.GRPCError, OSError):
            created = sandbox.future.result()
            seconds = time.monotonic() - sandbox.created_s
            self.spent["sandboxes"] += 1
            self.spent["core seconds"] += seconds * CORES[0]
            self.spent["GiB seconds"] += seconds * sandbox.memory_mib / 1024
            created.terminate()  # else it is gone already, or ends by its time-out

    def cancel(self, number: int) -> None:
        """Cancel a job: it ends with the test that runs."""
        self.cancelled = number

    def stop(self) -> None:
        """End all sandboxes, if there are any."""
        for sandbox in (self.sandbox, self.spare, self.of_checkers):
            self.end(sandbox)
        self.sandbox = self.spare = self.of_checkers = None
        self.checking = Checking(self.start_checking)
        if self.starter is not None:
            self.starter.shutdown()
            self.starter = None
