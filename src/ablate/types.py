"""The carriers: frozen values that move down the path in one direction.

problem -> prompt -> completion -> verdict -> group -> batch -> update -> checkpoint -> evaluation rows.

Shape suffixes: B rows (rollouts), S tokens of a row (prompt and response), T = S - 1 predictions,
P prompts, G samples of one prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TestCase:
    """One test. ``input`` is the program's standard input (or one JSON argument per line in functional mode)."""

    __test__ = False  # the name begins with "Test": pytest must not collect it

    input: str
    output: str


@dataclass(frozen=True)
class Checker:
    """A program that judges an answer, for a problem with many right ones.

    ``kind`` says how it is called and how it answers: ``python`` and ``testlib`` as ``checker INPUT EXPECTED ANSWER``
    and ``checker INPUT ANSWER EXPECTED``, ``kattis`` as ``validator INPUT EXPECTED FEEDBACK_DIR flags < ANSWER``. It
    runs in a sandbox of its own. ``default`` has no files: it is the validator that contest packages have without one
    of their own, and its ``flags`` are theirs, such as ``float_tolerance 1e-6``.

    Example: ``Checker("python", (("checker.py", "print(1)"),))`` accepts every answer.
    """

    kind: str  # "python" | "kattis" | "testlib" | "default"
    files: tuple[tuple[str, str], ...] = ()  # name and text; the first is run or compiled
    flags: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps({"kind": self.kind, "files": dict(self.files), "flags": list(self.flags)})

    @staticmethod
    def from_json(text: str) -> Checker:
        values = json.loads(text)
        return Checker(values["kind"], tuple(values["files"].items()), tuple(values["flags"]))


@dataclass(frozen=True)
class Problem:
    """A programming problem with its tests.

    Example:
        ``Problem(id="add", statement="Print a+b.", tests=(TestCase("1 2\\n", "3\\n"),), difficulty="easy")``
    """

    id: str
    statement: str
    tests: Sequence[TestCase]  # a tuple, or StoredTests: then only the verifier's worker decodes them
    difficulty: str
    input_mode: str = "stdin"  # "stdin" | "functional" | "file": reads input.txt and writes output.txt
    fn_name: str | None = None  # functional mode: the function, or the method of class Solution
    float_tolerance: float | None = None  # relative or absolute, the test passes if either accepts
    time_limit_s: float | None = None  # None: verify.time_limit_s
    memory_limit_mib: int | None = None  # None: verify.memory_limit_mib
    starter_code: str | None = None  # functional mode: the stub that the prompt shows
    platform: str | None = None  # "leetcode", "atcoder", ...
    date: str | None = None  # YYYY-MM-DD of the contest
    reference: str | None = None  # a program that the verifier accepts
    source: str | None = None
    license: str | None = None
    checker: Checker | None = None  # judges answers in place of ``verify.comparison``
    rating: int | None = None  # how hard the site says it is, such as 1900
    tags: str | None = None  # of the site, such as "greedy, sortings"
    num_examples: int | None = None  # tests that the statement shows; they are the first


@dataclass(frozen=True)
class Prompt:
    """A problem as the model sees it: the text of the chat template and its tokens."""

    problem_id: str
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Completion:
    """What the engine sampled for one prompt.

    ``logp[t]`` is the engine's log-probability of ``response_ids[t]`` in nats, at the sampling temperature (after
    temperature, before truncation by top-p). ``finished`` is False when the context limit cut the response off.
    A finished response includes its end-of-sequence token in ``response_ids``.

    Example:
        ``Completion("add", sample=0, seed=17, prompt_ids=(5, 6), response_ids=array("i", [7, 2]),
        logp=array("d", [-0.1, -0.3]), text="7", finished=True)``: token 2 ended the sequence.
    """

    problem_id: str
    sample: int
    seed: int
    prompt_ids: tuple[int, ...]
    response_ids: Sequence[int]  # an array, as the engine's samples are
    logp: Sequence[float]
    text: str  # the response, special tokens removed
    finished: bool
    prompt_text: str = ""  # of ``prompt_ids``; empty in records from before it was kept


class VerdictKind(StrEnum):
    """Why a program passed or failed; ``infrastructure_error`` is neither."""

    accepted = "accepted"
    wrong_answer = "wrong_answer"
    time_limit = "time_limit"
    memory_limit = "memory_limit"
    output_limit = "output_limit"
    runtime_error = "runtime_error"
    compile_error = "compile_error"
    no_code = "no_code"
    infrastructure_error = "infrastructure_error"


@dataclass(frozen=True)
class Verdict:
    """The verifier's answer for one program on all tests of one problem.

    Three outcomes: ``passed``; failed, with a kind; or ``is_infrastructure_error``, which says nothing about the
    program and is never a reward.

    Example:
        ``Verdict(VerdictKind.wrong_answer, num_passed=3, num_tests=10, first_failed=7, cpu_s=0.02, wall_s=0.03,
        peak_mib=9.1)``: tests ran longest input first, so ``first_failed`` is an index into ``Problem.tests``.
    """

    kind: VerdictKind
    num_passed: int
    num_tests: int
    first_failed: int | None
    cpu_s: float
    wall_s: float
    peak_mib: float
    detail: str = ""
    passed_second: bool | None = None  # by verify.second_comparison; None: not compared, so the same as ``passed``
    failed_input: str | None = None  # of the first failed test; None where no test is to blame
    expected: str | None = None
    got: str | None = None  # what the program printed or returned; with the two above cut for readers (``shown``)

    @property
    def passed(self) -> bool:
        return self.kind is VerdictKind.accepted

    @property
    def is_infrastructure_error(self) -> bool:
        return self.kind is VerdictKind.infrastructure_error


@dataclass(frozen=True)
class RolloutGroup:
    """The G completions of one problem and their verdicts, in sample order; a group that is trained on is whole.

    Example:
        ``RolloutGroup(add, (right, wrong), (accepted, wrong_answer)).rewards == (1.0, -1.0)``.
    """

    problem: Problem
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def num_infrastructure_errors(self) -> int:
        return sum(verdict.is_infrastructure_error for verdict in self.verdicts)

    @property
    def is_whole(self) -> bool:
        """Whether every completion has a verdict about its program."""
        return self.num_infrastructure_errors == 0

    @property
    def rewards(self) -> tuple[float, ...]:
        """+1 when every test passes, else -1 (NousCoder-14B)."""
        return tuple(1.0 if verdict.passed else -1.0 for verdict in self.verdicts)

    @property
    def has_one_outcome(self) -> bool:
        """All right or all wrong: looks at verdicts, never at shaped rewards."""
        return len({verdict.passed for verdict in self.verdicts}) == 1


@dataclass(frozen=True)
class TrainBatch:
    """Rows of a rollout batch, an update or a micro-batch. Position t describes the prediction of token t + 1.

    ``weight_BT`` was computed once over the whole update (all ranks, all micro-batches), so the loss is
    ``-(weight * surrogate).sum()`` and no other line divides. ``mask_BT`` is True exactly where token t + 1 belongs to
    the response. Rows that are not in the loss have weight 0 everywhere; a row in the loss may have weight 0 as well.

    Example: prompt ``[5, 6]``, response ``[7, 2]``, padded to S = 5: ``tokens = [5, 6, 7, 2, 0]``,
    ``mask = [F, T, T, F]``; ``old_logp[1]`` is log p(7 | 5 6). If it is the only row in the loss and every token weighs
    the same, ``in_loss = True`` and ``weight = [0, 0.5, 0.5, 0]``.
    """

    tokens_BS: Tensor  # int64, padded on the right
    mask_BT: Tensor  # bool
    old_logp_BT: Tensor  # nats, before the first update of this rollout batch; 0 outside the mask
    rollout_logp_BT: Tensor  # nats, from the engine; 0 outside the mask
    advantage_B: Tensor
    in_loss_B: Tensor  # bool: does the row count in N and T?
    weight_BT: Tensor
    ref_logp_BT: Tensor | None = None  # nats, from a frozen reference; only with a KL term
    group_B: Tensor | None = None  # int64, the number of the row's prompt in the rollout batch
    entropy_BT: Tensor | None = None  # nats, of the old policy; only where the objective's ``select`` reads it
    selected_BT: Tensor | None = None  # bool, the tokens that ``select`` left; None where it is ``all``

    @property
    def num_rows(self) -> int:
        return self.tokens_BS.shape[0]

    @property
    def active_BT(self) -> Tensor:
        """The tokens in the loss: True where a weight may be above 0."""
        return self.mask_BT & self.in_loss_B[:, None] if self.selected_BT is None else self.selected_BT


@dataclass(frozen=True)
class EvalRow:
    """One evaluation sample: a row of eval.parquet.

    Example:
        ``EvalRow(step=10, context=128, problem_id="add", difficulty="easy", sample=3, num_tokens=52, finished=True,
        passed=False, verdict="wrong_answer")``.
    """

    step: int
    context: int  # tokens, prompt and response
    problem_id: str
    difficulty: str
    sample: int
    num_tokens: int  # of the response
    finished: bool
    passed: bool
    verdict: str
    platform: str | None = None  # of the problem, where its data set says so
    month: str | None = None  # YYYY-MM of the problem's contest
    passed_second: bool | None = None  # as in ``Verdict``
