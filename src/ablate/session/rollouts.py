"""The rollouts of a step on their way to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablate.display import completion_lines
from ablate.records.groups import failed_rows
from ablate.records.rollouts import rows_of_step
from ablate.session.session import Session
from ablate.session.under_way import UnderWay
from ablate.types import RolloutGroup, TrainBatch

if TYPE_CHECKING:
    from torch import Tensor


def begin_writing(
    session: Session,
    under_way: UnderWay,
    step: int,
    groups: list[RolloutGroup],
    batch: TrainBatch,
    rows_of_updates: list[Tensor],
) -> None:
    """Save what the step trained on, while the run goes on, and show the first responses where that is wanted.

    Args:
        rows_of_updates: the rows of the batch that each update trained on.
    """
    if session.is_leader and (count := session.config.logging.completions):
        for line in completion_lines(groups, count):
            session.display.say(line)
        session.mirror.log_completions(step, groups, count)
    if not session.is_leader or not session.config.logging.save_rollouts:
        return
    run = session.run

    def write() -> None:
        run.owner.check_is_here()
        run.steps.write_failed_tests(step, list(failed_rows(groups, "rollout")))
        run.steps.write_rollouts(step, rows_of_step(step, groups, batch, rows_of_updates))

    finish_writing(session, under_way, step)
    under_way.writing = session.writer.submit(write)


def finish_writing(session: Session, under_way: UnderWay, step: int) -> None:
    """Wait until the rollouts are on disk: a checkpoint of their step vouches for them.

    Raises:
        OSError: if they could not be written.
    """
    writing, under_way.writing = under_way.writing, None
    if writing is not None:
        with session.timed("records", step):
            writing.result()
