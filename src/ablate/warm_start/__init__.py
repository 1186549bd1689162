"""The model that a run starts from: a given checkpoint, or the tiny model, built on first use and cached."""

from ablate.warm_start.cache import ensure_model

__all__ = ["ensure_model"]
