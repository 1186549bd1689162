"""``python -m ablate.train``: make one run, or with ``-m`` every run of a sweep.

    python -m ablate.train objective=gspo seed=1
    python -m ablate.train -m experiment=tiny                        one run after another
    python -m ablate.train -m hydra/launcher=local experiment=tiny   several at once: one per GPU, or per core
    python -m ablate.train -m hydra/launcher=local experiment=sequential next=true   until its design has decided
    torchrun --nproc-per-node 4 -m ablate.train parallel=tp2_pp2 objective=dapo

Keys that most runs change: objective, seed, setting=cups, context.steps, debug=short (four steps), logging.wandb. A run
is in outputs/EXPERIMENT/CELL/seedN (experiment=scratch if none is chosen); python -m ablate.report runs=DIR shows it.
start_from=RUN continues a finished run with more steps (context.steps counts from its start), as a cell of its own.
--cfg job prints every key with its value, and -m takes lists: seed=0,1,2.

A run that is done is not made again; an interrupted run continues at its newest checkpoint. A run that fails does not
stop the others: the last lines say which runs failed and why. Exit codes: 0 done, 1 a run failed, 2 a mistake in the
configuration, 75 preempted (SIGTERM, SIGUSR1) or too few servers left, and checkpointed, 130 interrupted from the
keyboard.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import CONF_DIR, is_sweep, print_help_if_asked, report, run_main, searchpath_of
from ablate.display import SweepClock, closing_line
from ablate.errors import UserError
from ablate.launch.failures import RunFailed, failed_runs, note_failure, print_failures

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ablate.config import RunConfig
    from ablate.records import RunDirectory

sweep_clocks: list[SweepClock] = []  # one, if this process makes a sweep run by run
swept: list[Path] = []  # where the runs of the sweep are, once it is checked
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
REQUEUE_EXIT_CODE = 75  # EX_TEMPFAIL: the templates in slurm/ requeue a task that ends with this code
INTERRUPT_EXIT_CODE = 130
UNTIL_DECIDED = "next=true"
CONTINUED = "start_from="


def main(values: DictConfig) -> str:
    """Make one run and return its status."""
    return make_noted_run(values)


def work(descriptor: int, pool: int, has_bars: bool) -> None:
    """Be a worker of ``hydra/launcher=local``."""
    from ablate.launch.worker import serve

    serve(make_noted_run, descriptor, pool, has_bars)


def make_noted_run(values: DictConfig) -> str:
    """Make one run and return its status; in a sweep, note why it failed."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        return make_run(values)
    except UserError as error:
        if HydraConfig.get().mode == RunMode.RUN:
            report(error)  # Hydra would print a line of its own before the sentence
        note_failure(str(error))
        raise
    except Exception as error:
        note_failure(f"{values.cell}/seed{values.seed}: {type(error).__name__}: {error}")
        raise


def check_sweep() -> None:
    """With ``-m``, check every run of the sweep before Hydra starts the first one and writes its multirun.yaml.

    Raises:
        UserError: naming the first run that breaks a rule, and the rule.
    """
    from hydra.core.global_hydra import GlobalHydra

    from ablate.check_run import this_machine
    from ablate.sweep import planned_runs

    options = {word for word in sys.argv[1:] if word.startswith("-")}
    if options and options <= {"-m", "--multirun"}:
        words = [word for word in sys.argv[1:] if word not in options]
        num_processes = int(os.environ.get("WORLD_SIZE", "1"))
        runs = planned_runs(words, num_processes, trains_here=True, machine=this_machine())
        sweep_clocks.append(SweepClock(len(runs)))
        swept.append(runs[0].directory.parents[1])
        GlobalHydra.instance().clear()  # Hydra's own command line refuses to start where configurations were composed


def make_run(values: DictConfig) -> str:
    """Claim the directory of the run and train, unless the run is done already."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from ablate.check_run import check_run, this_machine
    from ablate.config import without_shorthands
    from ablate.records import RunDirectory, run_path

    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    config = check_run(values, HydraConfig.get(), num_processes, trains_here=True, machine=this_machine())
    resolved = OmegaConf.to_container(values, resolve=True)
    config_yaml = OmegaConf.to_yaml({**resolved, "context": without_shorthands(values.context)})
    run = RunDirectory(run_path(config))
    with disk_faults_in_one_sentence(run):  # here too: the records of how an attempt begins and ends
        return claim_and_train(config, config_yaml, run)


def claim_and_train(config: RunConfig, config_yaml: str, run: RunDirectory) -> str:
    """Take the directory, refuse it if it belongs to another configuration, and train."""
    from ablate.objectives import outside_files
    from ablate.records.provenance import config_changes, file_changes

    for sweep in sweep_clocks:
        sweep.begin_run()
    is_leader = os.environ.get("RANK", "0") == "0"
    if is_leader:
        run.owner.lock()
    try:
        changes = config_changes(run.config_yaml(), config_yaml) if run.config_path.exists() else []
        changes += file_changes(run.manifest.read().get("outside_files", {}), outside_files(config.objective))
        if run.status == "done" and not changes:
            print(f"{run.path}: done already, not run again", flush=True)
            return "done"
        if is_leader:
            run.claim(config_yaml, changes)
        status = attempt(config, config_yaml, run, is_leader)
        if is_leader:
            print(closing_line(run.path, evaluated(run)), flush=True)
            if not is_sweep():
                print(f"next: python -m ablate.report runs={run.path}", flush=True)
        for sweep in sweep_clocks:
            sweep.end_run()
        return status
    finally:
        run.owner.unlock()


def evaluated(run: RunDirectory) -> dict[str, float]:
    """The metrics of the last step that was evaluated."""
    rows = [row for row in run.steps.metrics() if any(name.startswith("eval/pass@1/") for name in row)]
    return rows[-1] if rows else {}


def print_next(directory: Path, words: Sequence[str]) -> None:
    """The last line of a sweep that is done: where it is, and the command that shows it."""
    searchpath = "".join(f" '{word}'" for word in searchpath_of(words))
    chosen = next((word for word in words if word.startswith("experiment=")), None)
    print(f"done: {directory}; next: python -m ablate.report {chosen or f'runs={directory}'}{searchpath}", flush=True)


def attempt(config: RunConfig, config_yaml: str, run: RunDirectory, is_leader: bool) -> str:
    """Train one run and record in its manifest how the attempt ended."""
    from ablate.loop import train
    from ablate.objectives import outside_files
    from ablate.process.preemption import Preempted
    from ablate.records.provenance import change_of_device, dirty_diff, facts
    from ablate.rollout.engine import TooFewServers
    from ablate.session import open_session
    from ablate.session.fork import facts_of_parent
    from ablate.verify.speed import speed_s

    if is_leader:
        about = {**facts(config_yaml), "outside_files": outside_files(config.objective)}
        about["verify_speed_s"] = speed_s(config.verify)
        if config.rollout.groups_from == "atropos":
            about["groups"] = "from Atropos, in order of arrival: a checkpoint resumes the weights, not the records"
        if not any(run.checkpoints_path.glob("step_*")) and (parent := facts_of_parent(config)):
            about["fork"] = parent
        if sentence := change_of_device(run.manifest.read(), about):
            print(sentence, file=sys.stderr, flush=True)
        run.begin_attempt(about, dirty_diff())
    opening = config, config_yaml, run, is_leader, next(iter(sweep_clocks), None)
    try:
        with disk_faults_in_one_sentence(run), open_session(*opening) as session, disk_faults_in_one_sentence(run):
            train(session)  # inside the session too: the rank whose disk is full says so to the others
    except Preempted as error:
        close_attempt(run, is_leader, "preempted", str(error) or None)
        if isinstance(error, TooFewServers):
            ask_to_be_queued_again()
        sys.exit(REQUEUE_EXIT_CODE)
    except KeyboardInterrupt:
        close_attempt(run, is_leader, "preempted", "interrupted from the keyboard")
        print("interrupted: the same command continues at the newest checkpoint", file=sys.stderr)
        sys.exit(INTERRUPT_EXIT_CODE)
    except BaseException as error:
        # Every failure of a run ends here: record it, then re-raise it.
        reason = str(error) if isinstance(error, UserError) else traceback.format_exc()
        close_attempt(run, is_leader, "failed", reason)
        raise
    close_attempt(run, is_leader, "done")
    return "done"


def ask_to_be_queued_again() -> None:
    """Tell slurm/launch.sh by a file, because torchrun does not hand exit codes on."""
    if path := os.environ.get("ABLATE_REQUEUE_FILE"):
        Path(path).touch()


@contextmanager
def disk_faults_in_one_sentence(run: RunDirectory) -> Iterator[None]:
    """Turn a full disk or a renamed run into a ``UserError``, also where another exception hides it.

    A full disk is a RuntimeError of torch.save, and a renamed directory anything that a missing file causes.

    No record is lost: files are replaced as a whole, and resuming drops a half-written line.
    """
    try:
        yield
    except Exception as error:
        run.owner.check_is_here()
        if isinstance(error, UserError):
            raise
        full = next((each for each in with_causes(error) if getattr(each, "errno", None) in FULL_DISK), None)
        if full is None:
            raise
        raise UserError(
            f"no space is left for {full.filename or run.path}: free some space and repeat the command, which "
            "continues at the newest checkpoint"
        ) from error


def with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those during whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def close_attempt(run: RunDirectory, is_leader: bool, status: str, error: str | None = None) -> None:
    if is_leader and run.owner.is_here():
        run.end_attempt(status, error)


def check_and_make() -> None:
    print_help_if_asked(__doc__)
    if UNTIL_DECIDED in sys.argv:
        if not is_sweep() or "hydra/launcher=local" not in sys.argv:
            raise UserError(f"{UNTIL_DECIDED} makes a sweep look by look: add -m hydra/launcher=local")
        sys.argv[sys.argv.index(UNTIL_DECIDED)] = "hydra.launcher.until_decided=true"
    for word in [word for word in sys.argv[1:] if word.startswith(CONTINUED)]:
        from ablate.session.fork import words_that_continue

        place = sys.argv.index(word)
        sys.argv[place : place + 1] = words_that_continue(word.removeprefix(CONTINUED), sys.argv[1:])
    import hydra

    check_sweep()
    hydra.main(config_path=CONF_DIR, config_name="train", version_base="1.3")(main)()


if __name__ == "__main__":
    try:
        run_main(check_and_make)
        if swept and not failed_runs:
            print_next(swept[0], sys.argv[1:])
    except RunFailed:  # in a process of its own, which has said why
        sys.exit(1)
    except Exception:
        traceback.print_exc()  # here and not in the interpreter, so that the summary of a sweep comes last
        sys.exit(1)
    finally:
        if failed_runs and is_sweep():
            print_failures()
