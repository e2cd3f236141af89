"""Settings of how a training uses its hardware; the method is the same whatever they are."""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

import torch
from pydantic import Field
from torch import nn

from reid_core.data.transfer import prefetch
from reid_core.models.speed import speed_up
from stages.stage import ResultNeutral, StageConfig

T = TypeVar("T")


class HardwareConfig(StageConfig):
    """How a training stage uses its hardware."""

    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of convolutions and matrix products inside the networks; all else is float32 (ours)."
    )
    channels_last: bool = Field(False, description="Feature maps lie pixel by pixel: faster on a GPU (ours).")
    compile: bool = Field(False, description="Let torch compile the networks: slow first batches (ours).")
    prefetch: Annotated[bool, ResultNeutral()] = Field(
        True, description="On a GPU: make the next batch in a thread meanwhile (ours)."
    )

    def prepare(self, *networks: nn.Module) -> None:
        """Let networks compute as the settings say; names and values of their weights stay."""
        dtype = torch.bfloat16 if self.precision == "bfloat16" else None
        speed_up(networks, dtype=dtype, channels_last=self.channels_last, compiled=self.compile)

    def loading(self, batches: Iterator[T], device: torch.device) -> Iterator[T]:
        """Return batches as they are made, or made one ahead; the same ones in the same order.

        On a CPU the second thread would take from the first: training slowed down by 10 to 35 % (docs/lab/training.md).
        """
        return prefetch(batches, device=device) if self.prefetch and device.type != "cpu" else batches
