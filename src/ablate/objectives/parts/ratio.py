"""The slot ratio: log x from log pi - log pi_old.

Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.objectives.parts.declare import declares, waives


def token(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x_it = r_it, one ratio per token."""
    return log_ratio_BT


@declares(is_per_sequence=True)
def sequence(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x_it = s_i = exp(mean_t log r_it), one ratio per sequence (GSPO, arXiv 2507.18071, equation 7)."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return (log_ratio_BT.sum(dim=1, keepdim=True) / num_tokens_B1).expand_as(log_ratio_BT)


@declares(is_per_sequence=True)
@waives(central_differences="its definition has a stop-gradient, which shows when weights differ within a row")
def sequence_value_token_gradient(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """GSPO-token: s_i in value, each token's own gradient, sg[s_i] pi / sg[pi] (arXiv 2507.18071, equation 14)."""
    return sequence(log_ratio_BT, mask_BT).detach() + log_ratio_BT - log_ratio_BT.detach()


@declares(needs_old_logp=False)
def unit(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x = 1: an objective without a behaviour policy, such as supervised fine-tuning."""
    return torch.zeros_like(log_ratio_BT)


@declares(is_per_sequence=True)
def product(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x_it = prod_t r_it, the ratio of the whole response, for each of its tokens (VESPO, arXiv 2602.10693)."""
    return log_ratio_BT.sum(dim=1, keepdim=True).expand_as(log_ratio_BT)
