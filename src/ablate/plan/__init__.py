"""The runs of an experiment, and what they will need: see ``python -m ablate.plan --help``."""
