"""One curation from beginning to end: decode, select, settle, write. Everything until the last step is kept on disk.

The work stands in ``out.partial``; ``out`` appears whole, in one step. The same command continues after a kill. Jobs of
an array share the directory: each decodes its share of blocks, and once all blocks are there, each settles its share
of references. The same command without ``shard`` does what is left and writes the result.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.curate.blocks import LINES, Block, Rules, blocks_of, decode_blocks, read_blocks
from ablate.curate.candidate import Candidate, Rejection, rejection
from ablate.curate.filters import Selection, select
from ablate.curate.inputs import Input, find_inputs, window_of
from ablate.curate.output import in_order_of_rows, write_output
from ablate.curate.progress import Progress
from ablate.curate.references import with_outcome
from ablate.curate.settings import CurateConfig, EvaluationConfig
from ablate.curate.settling import settle_all
from ablate.curate.tests import Caps
from ablate.curate.work import Share, locked, open_partial
from ablate.errors import UserError
from ablate.files import sync, sync_tree

WHOLE: Share = (0, 1)


def curate(config: CurateConfig, command: str, share: Share | None, progress: Progress) -> dict[str, Any] | None:
    """Curate, or do one job's share of it.

    Returns:
        The manifest, or None where this was one job of an array.

    Raises:
        UserError: for whatever the user can fix; ``out`` is not there then, and what was decoded is kept.
    """
    out = Path(str(config.out))
    if out.exists():
        raise UserError(f"out={out} exists already: name a new directory, or remove this one")
    inputs = find_inputs(config)
    window = window_of(inputs, config.evaluation)
    partial = out.with_name(f"{out.name}.partial")
    with locked(out, partial, share):
        return curate_alone(config, command, share, progress, out, partial, inputs, window)


def curate_alone(
    config: CurateConfig,
    command: str,
    share: Share | None,
    progress: Progress,
    out: Path,
    partial: Path,
    inputs: list[Input],
    window: EvaluationConfig,
) -> dict[str, Any] | None:
    blocks = open_partial(partial, config, inputs)
    names = decode(config, inputs, blocks, share or WHOLE, progress)
    if not all((blocks / f"{name}{LINES}").exists() for name in names):
        progress.say("other jobs have blocks to decode: run this job again after them to share the references")
        return None
    candidates, rejections = read_blocks(blocks, names)
    selection = select(candidates, window, config.train)
    selection = settled_selection(selection, config, blocks, share, progress)
    if share is not None:
        return None
    rejections = in_order_of_rows([*rejections, *selection.rejections], inputs)
    result = partial / "result"
    shutil.rmtree(result, ignore_errors=True)
    manifest = write_output(result, blocks, config, inputs, window, replace(selection, rejections=rejections), command)
    sync_tree(result)
    result.replace(out)
    sync(out.parent)
    shutil.rmtree(partial)
    return manifest


def decode(config: CurateConfig, inputs: list[Input], blocks: Path, share: Share, progress: Progress) -> list[str]:
    """The first pass; returns the names of all blocks."""

    def read() -> Iterator[Block]:
        for each in inputs:
            yield from blocks_of(each.name, each.directory, each.facts)

    train = config.train
    caps = Caps(train.max_test_bytes, train.max_tests, train.min_tests)
    rules = Rules(caps, train.max_references, train.time_limit_s)
    num_rows = sum(count or 0 for each in inputs for count in each.facts.rows.values())
    with progress.bar("decode", num_rows, "rows") as done:
        return decode_blocks(read(), blocks, rules, config.num_workers, mine(share), done)


def mine(share: Share) -> Callable[[int], bool]:
    job, jobs = share
    return lambda index: index % jobs == job


def settled_selection(
    selection: Selection, config: CurateConfig, blocks: Path, share: Share | None, progress: Progress
) -> Selection:
    """The third pass: the training problems whose tests a reference confirmed, or that have no reference."""
    if not config.references.run:
        return without_ambiguous(selection)
    is_mine = mine(share or WHOLE)
    todo = [each for index, each in enumerate(selection.train) if is_mine(index)]
    journal = "all" if share is None else f"{share[0]:05d}"
    with progress.bar("references", len(todo), "problems") as done:
        settled = settle_all(todo, config.verifier, blocks, journal, done)
    kept: list[Candidate] = []
    rejections: list[Rejection] = []
    for each in todo:
        outcome = settled[each.id]
        if outcome.reason is None:
            kept.append(with_outcome(each, outcome))
        else:
            rejections.append(rejection(each, outcome.reason, outcome.detail))
    return replace(selection, train=kept, rejections=[*selection.rejections, *rejections])


def without_ambiguous(selection: Selection) -> Selection:
    """Drop the problems whose tests only a reference could explain; the others drop references that were not run."""
    unclear = [each for each in selection.train if each.needs_reference]
    kept = [replace(each, references=()) for each in selection.train if not each.needs_reference]
    untested = [each for each in kept if (checker := each.details().checker) and checker.kind != "default"]
    kept = [each for each in kept if each not in untested]
    rejected = [rejection(each, "ambiguous_wrapping", "references.run=false") for each in unclear]
    rejected += [rejection(each, "checker_untested", "references.run=false") for each in untested]
    return replace(selection, train=kept, rejections=[*selection.rejections, *rejected])
