"""From public data sets to a training set and an evaluation set that a run can trust: ``python -m ablate.curate``."""
