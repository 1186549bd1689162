"""The laboratory: the same recorded rollouts through many objectives, to see what each would do with them.

It needs a run's rollouts and a checkpoint, recomputes log-probabilities with the trainer, and never samples.
"""

ROWS_FILE = "laboratory.parquet"
AS_CONFIGURED = "as configured"  # the toggle of an objective that no toggle changes
