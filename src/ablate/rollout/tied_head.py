"""An output projection that shares the embedding's weights, after these were replaced in place."""

from __future__ import annotations

from torch.nn import Module


def repack_tied_head(model: Module) -> None:
    """Bring the output projection up to date where it shares the embedding's weights.

    On a CPU vLLM 0.31 multiplies by a packed copy that it made at the first load. A reload repacks every layer that
    a checkpoint names. No checkpoint names a tied head, so it would silently keep the old weights.
    """
    head = getattr(model, "lm_head", None)
    if not model.config.tie_word_embeddings or not hasattr(head, "quant_method"):
        return  # not tied, or on another pipeline stage
    if head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr():
        raise RuntimeError("vLLM untied the output projection from the embedding during a reload")
    head.quant_method.process_weights_after_loading(head)
