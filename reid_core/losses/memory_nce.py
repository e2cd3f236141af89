"""Contrast against the rows of a memory: the terms of L_rot.

Letters: B queries, N memory rows, D embedding.
"""

import torch
from torch import Tensor


def memory_nce(query: Tensor, bank: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """Contrast each query with one positive row and its negative rows of a memory.

    Args:
        query: L2-normalised features, shape (B, D).
        bank: L2-normalised memory rows, shape (N, D). Read, never written.
        positive: Row of ``bank`` that each query should match, shape (B,).
        negatives: True where a row of ``bank`` is a negative, shape (B, N).
        temperature: Softmax temperature, above 0.

    Returns:
        Loss of every query, shape (B,); 0 for a query without negatives.
    """
    assert temperature > 0, temperature
    similarity = query @ bank.T / temperature  # (B, N)
    positive_logit = similarity.gather(1, positive[:, None])  # (B, 1)
    negative_logits = similarity.masked_fill(~negatives, float("-inf"))  # (B, N)
    return torch.cat([positive_logit, negative_logits], dim=1).logsumexp(dim=1) - positive_logit.squeeze(1)
