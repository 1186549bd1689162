"""One exec in a Modal sandbox: a program and its tests, the answers of which are compared here.

Inputs are sent in batches, hardest test first, and each batch is as large as all before it together. A program that
fails its first test, as most do, has been sent one; a program that passes 200 tests has waited for 8 batches instead of
200 round trips. A test that fails by itself (a crash, a limit) ends the exec from inside.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.types import VerdictKind
from ablate.verify.inside.test_report import parse_report
from ablate.verify.jobs import Job
from ablate.verify.local.container import memory_file
from ablate.verify.modal.frames import json_lines, send_frames
from ablate.verify.scoring import Judge, Outcome, limits_of, score

if TYPE_CHECKING:
    from modal.container_process import ContainerProcess

# A batch of several inputs fits a pipe. A larger one would wait for the watcher to read, while the watcher may wait for
# us to read the answers of the inputs before.
BATCH_BYTES = 48 << 10


class Execution:
    """A running exec. ``order``: the indices of the tests that it shall run."""

    def __init__(self, process: ContainerProcess[bytes], job: Job, order: Sequence[int], judge: Judge) -> None:
        self.process, self.job, self.order, self.judge = process, job, order, judge
        self.answers = json_lines(process.stdout)
        self.num_sent = self.num_answered = 0
        self.has_ended = self.is_broken = False

    @property
    def is_idle(self) -> bool:
        """Has it ended well, or does it wait for another batch? Then its sandbox can be used again."""
        return not self.is_broken and (self.has_ended or self.num_answered == self.num_sent)

    def next_outcome(self) -> Outcome:
        """Score the next test of the order, sending another batch where that is needed."""
        index = self.order[self.num_answered]
        try:
            if self.num_answered == self.num_sent:
                self.send_batch()
            if self.num_answered == 0 and not (compiled := next(self.answers))["compiled"]:
                return self.checked_end(Outcome(VerdictKind.compile_error, compiled["detail"]))
            answer = next(self.answers)
        except StopIteration:
            return self.lost("it said too little")
        except ValueError:
            return self.lost("the report of a test was torn")
        self.num_answered += 1
        outcome = self.scored(index, answer)
        is_last = answer["is_last"] or self.num_answered == len(self.order)
        return self.checked_end(outcome) if is_last else outcome

    def send_batch(self) -> None:
        """Send as many inputs as all before together, if they fit, and at least one; the last one ends the stream."""
        frames = [] if self.num_sent else [self.program_frame()]
        first, num_bytes = self.num_sent, 0
        while self.num_sent < min(max(2 * first, 1), len(self.order)):
            given = self.job.tests[self.order[self.num_sent]].input.encode("utf-8", "surrogatepass")
            if self.num_sent > first and num_bytes + len(given) > BATCH_BYTES:
                break
            frames.append(given)
            num_bytes += len(given)
            self.num_sent += 1
        send_frames(self.process.stdin, frames, is_last=self.num_sent == len(self.order))

    def program_frame(self) -> bytes:
        return json.dumps({"program": self.job.program, "limits": limits_of(self.job, watched=True)}).encode()

    def scored(self, index: int, answer: dict[str, Any]) -> Outcome:
        report = parse_report(answer["report"])
        output, result = (memory_file(name, base64.b64decode(answer[name])) for name in ("output", "result"))
        try:
            return score(self.job, index, report, output, result, out_of_memory=False, judge=self.judge)
        finally:
            os.close(output)
            os.close(result)

    def checked_end(self, outcome: Outcome) -> Outcome:
        """``outcome``, unless the exec that now ends was broken."""
        self.has_ended = True
        code = self.process.wait()
        return self.broken(code) if code else outcome

    def lost(self, how: str) -> Outcome:
        self.has_ended = True
        return self.broken(self.process.wait(), how)

    def broken(self, code: int, how: str = "") -> Outcome:
        self.is_broken = True
        said = self.process.stderr.read().decode("utf-8", "replace").strip()[-200:]
        why = ", ".join(filter(None, (how, said)))
        return Outcome(VerdictKind.infrastructure_error, f"Modal: the watcher ended with {code} ({why})")

    def end(self) -> None:
        """End an exec that is idle."""
        if not self.has_ended:
            self.process.stdin.write_eof()
            self.process.stdin.drain()
            self.process.wait()
            self.has_ended = True
