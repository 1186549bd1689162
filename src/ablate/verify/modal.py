"""The Modal backend: one ``modal.Sandbox`` per rollout, one ``exec`` per test, comparison here.

Facts of modal 1.6: an exec that the platform stops ends with return code -1 or 137 and no exception. Whatever the
platform does (a sandbox reaped early, a lost connection) is an infrastructure error, never a failed program: our own
watcher inside stops every test before the platform would, and a report that is missing or torn scores nobody.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ablate.errors import UserError
from ablate.types import Verdict, VerdictKind
from ablate.verify.container import INSIDE, memory_file
from ablate.verify.inside.test_report import parse_report
from ablate.verify.jobs import CANCELLED, Interrupted, Job, infrastructure_error, num_tests_run
from ablate.verify.scoring import STARVED_FACTOR, Outcome, limits_of, run_in_order, score

if TYPE_CHECKING:
    import modal

APP = "ablate-verifier"
PYTHON = "3.11"
CORES = (1.0, 1.0)  # requested, limit: CPU time is limited, so more cores would stand idle
SPARE_MIB = 256  # for the interpreter that watches, in addition to the test's
START_S = 60.0  # of an interpreter in a cold sandbox, beyond a test's own wall limit
IDLE_S = 300
MODULES = ("kernel", "walls", "program", "test_report", "watch", "server", "one_test")
# The modules travel with each exec, in its arguments: no file of ours lies in the sandbox for a program to change.
BOOT = """
import base64, json, sys, types, zlib
for name, text in json.loads(zlib.decompress(base64.b64decode(sys.argv[1]))).items():
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = "/sandbox/" + name + ".py"
    exec(compile(text, module.__file__, "exec"), module.__dict__)
sys.modules["one_test"].main()
"""


def boot_command() -> list[str]:
    sources = {name: (INSIDE / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    bundle = base64.b64encode(zlib.compress(json.dumps(sources).encode())).decode()  # Modal takes 64 KiB of arguments
    return ["python3", "-S", "-s", "-B", "-X", "utf8", "-c", BOOT, bundle]


class ModalBackend:
    """At most one sandbox at a time, started for the job that needs it."""

    containment = "Modal isolates each sandbox; no network; programs run as another user than their watcher"

    def __init__(self) -> None:
        self.app: modal.App | None = None
        self.image: modal.Image | None = None
        self.sandbox: modal.Sandbox | None = None
        self.problem_id: str | None = None
        self.cancelled: int | None = None
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

    def run(self, job: Job) -> Verdict:
        """Verify one program in a sandbox; what the platform breaks is an infrastructure error."""
        import grpclib
        import modal

        self.cancelled = None
        started = time.monotonic()
        try:
            with self.sandbox_for(job):
                verdict = run_in_order(job, lambda position, index: self.run_test(job, position, index))
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
            self.stop()
            self.sandbox, self.problem_id = self.create(job), job.problem_id
        yield
        if job.container != "problem":
            self.stop()

    def create(self, job: Job) -> modal.Sandbox:
        import modal

        memory_mib = job.memory_limit_mib + SPARE_MIB
        lifetime_s = (STARVED_FACTOR * job.wall_limit_s + START_S) * (num_tests_run(job) + 1)
        return modal.Sandbox.create(
            app=self.app,
            image=self.image,
            block_network=True,
            cpu=CORES,
            memory=(memory_mib, memory_mib),
            timeout=int(min(lifetime_s, 24 * 3600)),
            idle_timeout=IDLE_S,
        )

    def run_test(self, job: Job, position: int, index: int) -> Outcome:
        """Run one test in the sandbox and score it here."""
        if self.cancelled == job.number:
            raise Interrupted
        if job.container == "test" and position:
            self.stop()
            self.sandbox = self.create(job)
        answer = self.execute(self.sandbox, job, job.tests[index].input)
        if isinstance(answer, str):
            return Outcome(VerdictKind.infrastructure_error, answer)
        if not answer["compiled"]:
            return Outcome(VerdictKind.compile_error, answer["detail"])
        report = parse_report(answer["report"])
        if not report.is_confined:
            return Outcome(VerdictKind.infrastructure_error, f"a test could not be confined: {report.complaint}")
        output, result = (memory_file(name, base64.b64decode(answer[name])) for name in ("output", "result"))
        try:
            return score(job, index, report, output, result, out_of_memory=False)
        finally:
            os.close(output)
            os.close(result)

    def execute(self, sandbox: modal.Sandbox, job: Job, text: str) -> dict[str, Any] | str:
        """Run one test inside; return the watcher's answer, or why there is none."""
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
        """Cancel a job: it ends with the test that runs."""
        self.cancelled = number

    def stop(self) -> None:
        """End the sandbox, if there is one."""
        sandbox, self.sandbox = self.sandbox, None
        if sandbox is None:
            return
        import grpclib
        import modal

        with contextlib.suppress(modal.exception.Error, grpclib.GRPCError, OSError):
            sandbox.terminate()  # else it is gone already, or ends by its time-out
