"""Settings of joint training."""

from typing import Literal

from pydantic import Field

from reid_core.learning.joint_step import EncoderPasses
from stages.clustering import ClusterConfig
from stages.hardware import HardwareConfig
from stages.identity_config import AugmentConfig
from stages.resuming import CheckpointConfig
from stages.stage import StageConfig
from stages.training import ANGLES, GenerationWeights, GeneratorOptimConfig, Mixing


class ContrastConfig(StageConfig):
    """The contrastive losses."""

    rotation_weight: float = Field(1.0, ge=0, le=1000, description="Weight of L_rot (published).")
    mixing_weight: float = Field(1.0, ge=0, le=1000, description="Weight of L_mix (ours; undefined where published).")
    temperature: float = Field(0.04, gt=0, le=10, description="Softmax temperature (published).")
    num_negatives: int = Field(8192, ge=1, description="K: most negative rows of one image (published).")
    memory_momentum: float = Field(0.2, ge=0, lt=1, description="Share of a row that stays at an update (published).")
    swap_background: bool = Field(False, description="Put turned people before other backgrounds (ours).")
    trains_generator: bool = Field(True, description="Whether contrast also trains S and G through its images.")
    encoder_passes: EncoderPasses = Field(
        "by_kind",
        description="Generated images that pass the encoder as one batch: by_kind (each kind once, by itself), by_loss "
        "(more work) or together (one pass); other batch statistics (ours).",
    )

    def weights_by_term(self) -> dict[str, float]:
        """Return the weight of every contrastive term."""
        return {"rotation_contrast": self.rotation_weight, "mixing_contrast": self.mixing_weight}


class JointConfig(StageConfig):
    """Settings of joint training; defaults as published, or as said."""

    num_epochs: int = Field(20, ge=0, le=1000, description="Epochs (published).")
    iterations_per_epoch: int = Field(
        0, ge=0, le=10**6, description="Batches of an epoch; 0 = as many as its clustered images fill (published)."
    )
    batch_size: int = Field(16, ge=2, le=4096, description="Images of a global batch (published).")
    lr: float = Field(3.5e-4, gt=0, le=1, description="Identity encoder's learning rate, SGD (published).")
    sgd_momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum (published).")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty of the encoder (published).")
    lr_step_epochs: int = Field(10, ge=1, le=1000, description="Epochs until all learning rates fall to a tenth.")
    rotation: bool = Field(True, description="Generate rotated views (paper).")
    angles: tuple[int, ...] = Field(ANGLES, min_length=1, description="Rotations drawn, in degrees (paper).")
    mixing: Mixing = Field("dmixup", description="What x_mix is: dmixup (paper), or a comparison.")
    mixing_alpha: float = Field(0.6, gt=0, le=10, description="Both parameters of the ratio's Beta (published).")
    views: Literal["generated", "classical", "both"] = Field(
        "generated", description="Views in L_rot: generated (paper), classical augmentation instead, or both."
    )
    augmentation: AugmentConfig = Field(default_factory=lambda: AugmentConfig(), description="Of classical views.")
    contrast: ContrastConfig = Field(default_factory=lambda: ContrastConfig(), description="Contrastive losses.")
    weights: GenerationWeights = Field(default_factory=lambda: GenerationWeights(), description="Generation losses.")
    optim: GeneratorOptimConfig = Field(default_factory=lambda: GeneratorOptimConfig(), description="Of S, G, Dis.")
    generator_every: int = Field(1, ge=0, le=1000, description="Iterations between generator updates; 0 = never.")
    batch_norm: Literal["train", "frozen"] = Field(
        "train", description="Encoder's batch norm: batch statistics (paper), or the warm-up's running ones."
    )
    memory_refresh: bool = Field(False, description="Embed all images anew before each clustering (ours).")
    clustering: ClusterConfig = Field(default_factory=lambda: ClusterConfig(), description="Pseudo labels.")
    use_cameras: bool = Field(False, description="Draw positives from other cameras where possible.")
    embed_batch_size: int = Field(256, ge=1, le=65536, description="Images a forward pass when embedding.")
    pictures_every: int = Field(1, ge=1, le=1000, description="Epochs from one sheet of pictures to the next.")
    monitor_every: int = Field(1, ge=1, le=1000, description="Epochs from one labelled look to the next; logs only.")
    batch_norm_images: int = Field(
        0, ge=0, le=65536, description="Real images that are normalised together, a divisor of the batch; 0 = all."
    )
    hardware: HardwareConfig = Field(default_factory=lambda: HardwareConfig(), description="How the device is used.")
    checkpoints: CheckpointConfig = Field(default_factory=lambda: CheckpointConfig(), description="For restarts.")
    num_workers: int = Field(1, ge=1, le=1024, description="Training ranks; the global batch is split over them.")
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    @property
    def images_per_epoch(self) -> int:
        """Images of an epoch where that is fixed, else 0."""
        return self.iterations_per_epoch * self.batch_size

    @property
    def generates(self) -> bool:
        """Whether anything is generated at all."""
        return self.views != "classical" or self.mixing in ("dmixup", "fmixup")
