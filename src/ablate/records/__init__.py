"""What a run leaves on disk. No other file knows these names.

``outputs/<experiment>/<cell>/seed<k>/``

    config.yaml               the resolved configuration; the directory belongs to it
    manifest.json             commit, packages, host, attempts, status: running | preempted | failed | done
    dirty.diff                what was not committed, if anything
    metrics.jsonl             one object for each step, deterministic numbers only: the truth about the run
    rollouts/step_00012.parquet, eval.parquet
    failed_tests/step_00012.parquet    what each program answered to the first test that it failed; may differ between
                              equal runs, because a program may print the time
    eval_texts/step_00012_320.parquet    the evaluation samples of step 12 at 320 tokens (eval.save_samples): kept are
                              those of the start, the selected and the last step
    eval_samples/             finished samples of the evaluation that is going on; removed when the run is done
    checkpoints/              written by the trainer
    laboratory/               written by ablate.replay
    trace.json                what ran when, in the Chrome trace format (docs/pipeline.md, opens in Perfetto)
    heartbeat.json, lock      which process works here now
    queued                    the scheduler's task that will work here, as "JOB_TASK"

A record of step k is trusted once a checkpoint of a step >= k exists; resuming drops the rest and makes it again.
"""

from ablate.files.parquet import read_columns, read_parquet, write_parquet
from ablate.records.checkpoints import checkpoint_directory
from ablate.records.run import RunDirectory, StateOnDisk, run_path

__all__ = [
    "RunDirectory",
    "StateOnDisk",
    "checkpoint_directory",
    "read_columns",
    "read_parquet",
    "run_path",
    "write_parquet",
]
