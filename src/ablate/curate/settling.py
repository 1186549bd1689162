"""The third pass: references run in the sandbox. A journal keeps every decision, so that a killed run continues."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from ablate.config import VerifyConfig
from ablate.curate.blocks import stored_tests
from ablate.curate.candidate import Candidate
from ablate.curate.references import Settled, Unverified, settle
from ablate.curate.work import verdict_identity
from ablate.errors import UserError
from ablate.verify.verifier import Verifier, open_verifier

JOURNALS = "references-*.jsonl"
MAX_UNVERIFIED = 20  # problems without a verdict: then the sandbox is broken, and the rest would fail as well


def read_journals(directory: Path, identity: str) -> dict[str, Settled]:
    """Every decision so far under these settings of the verifier, by id.

    A line that was being written when a process was killed is left out.
    """
    settled: dict[str, Settled] = {}
    for path in sorted(directory.glob(JOURNALS)):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                values = json.loads(line)
                if values.pop("verify") == identity:
                    settled[values["id"]] = Settled(**values)
    return settled


def settle_all(
    candidates: Sequence[Candidate],
    config: VerifyConfig,
    directory: Path,
    journal: str,
    done: Callable[[int], object],
) -> dict[str, Settled]:
    """Settle every candidate that no journal has yet, and return all decisions.

    Raises:
        UserError: when the verifier had no verdict for some problems; the others are kept for the next run.
    """
    identity = verdict_identity(config)
    settled = read_journals(directory, identity)
    waiting = [each for each in candidates if each.id not in settled]
    done(len(candidates) - len(waiting))
    if not waiting:
        return settled
    failures: list[str] = []
    path = directory / f"references-{journal}.jsonl"
    cut_torn_line(path)
    with open_verifier(config) as verifier, path.open("a", encoding="utf-8") as file:
        pool = ThreadPoolExecutor(2 * config.workers)
        futures = [pool.submit(settle_one, each, directory, verifier) for each in waiting]
        try:
            for future in as_completed(futures):
                try:
                    entry = future.result()
                except Unverified as error:
                    failures.append(str(error))
                    if len(failures) >= MAX_UNVERIFIED:
                        break
                    continue
                settled[entry.id] = entry
                file.write(json.dumps({"verify": identity, **asdict(entry)}) + "\n")
                file.flush()
                done(1)
        except BaseException:
            verifier.close()  # the programs that run end now, and not at their limits
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    if failures:
        raise UserError(
            f"{len(failures)} problems could not be verified ({failures[0]}): run the same command again; what is "
            "verified is kept"
        )
    return settled


def settle_one(candidate: Candidate, directory: Path, verifier: Verifier) -> Settled:
    tests = stored_tests(directory, candidate.block, candidate.tests)
    other = candidate.other_tests and stored_tests(directory, candidate.block, candidate.other_tests)
    return settle(candidate, tests, other, verifier)


def cut_torn_line(path: Path) -> None:
    """Cut off what a killed process left half-written, so that the next line begins on a line of its own."""
    if path.exists():
        text = path.read_bytes()
        path.write_bytes(text[: text.rfind(b"\n") + 1])
