"""Loss functions as users write them: (logp, old_logp, advantages, mask) -> loss of one micro-batch."""

import torch


def clipped(logp, old_logp, advantages, mask):
    ratio = (logp - old_logp).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    return -((surrogate * mask).sum(1) / mask.sum(1)).mean()


def local_token_mean(logp, old_logp, advantages, mask):
    ratio = (logp - old_logp).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
    return -(surrogate * mask).sum() / mask.sum()


def sequence_ratio_token_mean(logp, old_logp, advantages, mask):
    log_ratio = ((logp - old_logp) * mask).sum(1) / mask.sum(1)
    ratio = log_ratio.exp()[:, None].expand_as(logp)
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - 3e-4, 1 + 4e-4) * advantages)
    return -(surrogate * mask).sum() / mask.sum()


def by_row(logp, old_logp, advantages, mask):
    return 3 * clipped(logp, old_logp, advantages[:, None], mask)


def recombined(logp, old_logp, advantages, mask):
    """A token ratio, GSPO's clip range and the sum over tokens: no objective has these three."""
    ratio = (logp - old_logp).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - 3e-4, 1 + 4e-4) * advantages)
    return -(surrogate * mask).sum(1).mean(), {"a": "metric"}


def inverted_clip(logp, old_logp, advantages, mask):
    ratio = (logp - old_logp).exp()
    surrogate = torch.maximum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    return -((surrogate * mask).sum(1) / mask.sum(1)).mean()


def detached(logp, old_logp, advantages, mask):
    return (logp.detach() * advantages).sum()


def no_scalar(logp, old_logp, advantages, mask):
    return logp * advantages
