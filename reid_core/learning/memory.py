"""The feature memory: what the encoder last said about every training image.

Letters: N training images, B batch, D embedding.
"""

import torch.nn.functional as F
from torch import Tensor


class FeatureMemory:
    """One L2-normalised row a training image.

    Attributes:
        rows: Shape (N, D).
        momentum: Share of the old row that stays at an update.
    """

    def __init__(self, rows: Tensor, *, momentum: float = 0.2) -> None:
        assert 0 <= momentum < 1, momentum
        self.rows = F.normalize(rows.detach().clone(), dim=1)
        self.momentum = momentum

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows, for a checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what ``state_dict`` returned, on the device of the rows as they are."""
        self.rows = state["rows"].to(self.rows.device)

    def update(self, index: Tensor, features: Tensor) -> None:
        """Move rows towards new features: M_i <- normalise(m M_i + (1 - m) f(x_i)).

        Called after the optimiser step, never inside a loss.

        Args:
            index: Rows, each at most once, shape (B,).
            features: L2-normalised features, shape (B, D).
        """
        mixed = self.momentum * self.rows[index] + (1 - self.momentum) * features.detach()
        self.rows[index] = F.normalize(mixed, dim=1)
