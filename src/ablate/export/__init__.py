"""A checkpoint as a Hugging Face model directory with a model card: ``python -m ablate.export``."""
