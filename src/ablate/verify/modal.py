"""The judge on Modal: one ``modal.Sandbox`` per rollout, one ``exec`` per test, comparison here.

Facts of modal 1.6: an exec that the platform stops ends with return code -1 or 137 and no exception. Whatever the
platform does (a sandbox reaped early, a lost connection) is an infrastructure error, never a verdict: our own program
inside ends every test before the platform would, and a report that is missing or torn is nobody's wrong answer.
"""

from __future__ import annotations

import base64
import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ablate.errors import UserError
from ablate.types import VerdictKind
from ablate.verify.container import INSIDE, memory_file
from ablate.verify.jobs import CANCELLED, Job, Report, hardest_first, infrastructure_error
from ablate.verify.supervisor import STARVED_FACTOR, agrees, failure_of, limits_of

if TYPE_CHECKING:
    import modal

APP = "ablate-judge"
PYTHON = "3.11"
CORES = (1.0, 1.0)  # requested, limit: CPU time is judged, so more would only be waited for
SPARE_MIB = 256  # for the interpreter that watches, beside the test
START_S = 60.0  # of an interpreter in a cold sandbox, beyond a test's own wall limit
IDLE_S = 300
MODULES = ("kernel", "program", "watch", "server", "one_test")
# The modules travel with each exec, in its arguments: no file of ours lies in the sandbox for a program to change.
BOOT = """
import base64, json, sys, types, zlib
for name, text in json.loads(zlib.decompress(base64.b64decode(sys.argv[1]))).items():
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = "/judge/" + name + ".py"
    exec(compile(text, module.__file__, "exec"), module.__dict__)
sys.modules["one_test"].main()
"""


class Interrupted(Exception):
    """The job was called off."""


def boot_command() -> list[str]:
    sources = {name: (INSIDE / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    bundle = base64.b64encode(zlib.compress(json.dumps(sources).encode())).decode()  # Modal takes 64 KiB of arguments
    return ["python3", "-S", "-s", "-B", "-X", "utf8", "-c", BOOT, bundle]


class ModalWorker:
    """The same face as ``worker.Worker``: ``start``, ``run``, ``cancel``, ``stop``. Used by one thread at a time."""

    containment = "Modal isolates each sandbox; no network; programs run as another user than their watcher"

    def __init__(self) -> None:
        self.app: modal.App | None = None
        self.image: modal.Image | None = None
        self.sandbox: modal.Sandbox | None = None
        self.problem_id: str | None = None
        self.called_off: int | None = None
        self.command = boot_command()

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

    def run(self, job: Job) -> Report:
        """Judge one job in a sandbox; what the platform breaks is an infrastructure error."""
        import grpclib
        import modal

        self.called_off = None
        started = time.monotonic()
        try:
            with self.sandbox_for(job) as sandbox:
                report = self.run_tests(sandbox, job)
        except Interrupted:
            report = infrastructure_error(job, CANCELLED)
        except (modal.exception.Error, grpclib.GRPCError, grpclib.exceptions.StreamTerminatedError, OSError) as error:
            self.stop()
            report = infrastructure_error(job, f"Modal: {type(error).__name__}: {error}")
        report.wall_s = time.monotonic() - started
        return report

    @contextmanager
    def sandbox_for(self, job: Job) -> Iterator[modal.Sandbox]:
        """A sandbox of the job's own; with ``container=problem``, the one its group has."""
        if self.sandbox is None or job.container != "problem" or job.problem_id != self.problem_id or job.fresh:
            self.stop()
            self.sandbox, self.problem_id = self.create(job), job.problem_id
        yield self.sandbox
        if job.container != "problem":
            self.stop()

    def create(self, job: Job) -> modal.Sandbox:
        import modal

        memory_mib = job.memory_limit_mib + SPARE_MIB
        lifetime_s = (STARVED_FACTOR * job.wall_limit_s + START_S) * (len(hardest_first(job)) + 1)
        return modal.Sandbox.create(
            app=self.app,
            image=self.image,
            block_network=True,
            cpu=CORES,
            memory=(memory_mib, memory_mib),
            timeout=int(min(lifetime_s, 24 * 3600)),
            idle_timeout=IDLE_S,
        )

    def run_tests(self, sandbox: modal.Sandbox, job: Job) -> Report:
        order = hardest_first(job)
        report = Report(num_tests=len(order))
        for position, index in enumerate(order):
            if self.called_off == job.number:
                self.stop()
                raise Interrupted
            if job.container == "test" and position:
                self.stop()
                sandbox = self.sandbox = self.create(job)
            report.kind, report.detail = self.run_test(sandbox, job, index, report)
            if report.kind != VerdictKind.accepted:
                decided = report.kind not in (VerdictKind.infrastructure_error, VerdictKind.compile_error)
                report.first_failed = index if decided else None
                return report
            report.num_passed += 1
        return report

    def run_test(self, sandbox: modal.Sandbox, job: Job, index: int, report: Report) -> tuple[str, str]:
        text, expected = job.tests[index]
        answer = self.execute(sandbox, job, text)
        if isinstance(answer, str):
            return VerdictKind.infrastructure_error.value, answer
        if not answer["compiled"]:
            return VerdictKind.compile_error.value, answer["detail"]
        if not answer["confined"]:
            return VerdictKind.infrastructure_error.value, f"a test could not be confined: {answer['detail']}"
        report.cpu_s += answer["cpu_s"]
        report.peak_mib = max(report.peak_mib, answer["peak_kib"] / 1024)
        files = [memory_file(name, base64.b64decode(answer.get(name, ""))) for name in ("in", "output", "result")]
        try:
            failure = failure_of(job, answer, files, out_of_memory=False)
            if failure is None:
                failure = ("accepted", "") if agrees(job, files, expected) else ("wrong_answer", "")
        finally:
            for descriptor in files:
                os.close(descriptor)
        return failure

    def execute(self, sandbox: modal.Sandbox, job: Job, text: str) -> dict[str, Any] | str:
        """One test inside: its report, or why there is none."""
        limit_s = int(STARVED_FACTOR * job.wall_limit_s + START_S)
        request = {
            "program": job.program,
            "input": base64.b64encode(text.encode("utf-8", "surrogatepass")).decode(),
            "limits": limits_of(job, watched=True),
        }
        execution = sandbox.exec(*self.command, timeout=limit_s)
        execution.stdin.write(json.dumps(request))
        execution.stdin.write_eof()
        execution.stdin.drain()
        said = execution.stdout.read()
        code = execution.wait()
        if code != 0:
            return f"Modal: the watcher ended with {code} ({execution.stderr.read().strip()[-200:]})"
        try:
            return json.loads(said)
        except ValueError:
            return "Modal: the report of a test was torn"

    def cancel(self, number: int) -> None:
        """Call a job off: it ends with the test that runs."""
        self.called_off = number

    def stop(self) -> None:
        """End the sandbox, if there is one."""
        import grpclib
        import modal

        sandbox, self.sandbox = self.sandbox, None
        if sandbox is not None:
            try:
                sandbox.terminate()
            except (modal.exception.Error, grpclib.GRPCError, OSError):
                return  # it is gone already, or ends by its time-out
