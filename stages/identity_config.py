"""Settings of the identity warm-up."""

from typing import Literal

from pydantic import Field

from reid_core.data.augment import Augmentation
from stages.clustering import ClusterConfig
from stages.hardware import HardwareConfig
from stages.resuming import CheckpointConfig
from stages.stage import StageConfig


class AugmentConfig(StageConfig):
    """Classical augmentation."""

    flip_probability: float = Field(0.5, ge=0, le=1, description="Probability of a mirror image (Cluster Contrast).")
    pad: int = Field(10, ge=0, le=64, description="Pixels padded on every side before cropping (Cluster Contrast).")
    erase_probability: float = Field(0.5, ge=0, le=1, description="Probability of an erased rectangle (same).")
    jitter: float = Field(0.0, ge=0, le=0.9, description="Half range of colour changes; 0 = off (ours).")

    def strengths(self) -> Augmentation:
        """Return the strengths as the augmentation takes them."""
        return Augmentation(self.flip_probability, self.pad, self.erase_probability, self.jitter)


class CameraConfig(StageConfig):
    """Contrast with one proxy for each cluster and camera; needs camera ids."""

    weight: float = Field(0.0, ge=0, le=1000, description="Weight of both camera terms; 0 = off (CAP: 0.5 and 1).")
    temperature: float = Field(0.07, gt=0, le=10, description="Softmax temperature of the camera terms (CAP).")
    num_negatives: int = Field(50, ge=1, description="Nearest proxies of other clusters, across cameras (CAP).")


class IdentityConfig(StageConfig):
    """Settings of the identity warm-up; defaults are Cluster Contrast's for a full-size data set."""

    arch: str = Field("resnet50", description="torchvision ResNet, resnet10 or efficientnet_lite0 (paper: resnet50).")
    weights: str = Field("imagenet", description="none, imagenet, offline (efficientnet_lite0), or a checkpoint file.")
    num_epochs: int = Field(50, ge=0, le=1000, description="Epochs; 0 keeps the loaded weights (Cluster Contrast).")
    iterations_per_epoch: int = Field(400, ge=1, le=100000, description="Batches an epoch (Cluster Contrast).")
    clusters_per_batch: int = Field(16, ge=1, le=1024, description="P: clusters in a global batch (same).")
    images_per_cluster: int = Field(16, ge=1, le=1024, description="K: images of each cluster in a batch (same).")
    lr: float = Field(3.5e-4, gt=0, le=1, description="Adam's learning rate (Cluster Contrast).")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty (Cluster Contrast).")
    lr_step_epochs: int = Field(20, ge=1, le=1000, description="Epochs until the learning rate falls to a tenth.")
    temperature: float = Field(0.05, gt=0, le=10, description="Softmax temperature (Cluster Contrast).")
    momentum: float = Field(0.1, ge=0, lt=1, description="Share of a prototype that stays at an update (same).")
    prototype_update: Literal["hardest", "mean"] = Field("hardest", description="What moves a prototype (same).")
    augmentation: AugmentConfig = Field(default_factory=lambda: AugmentConfig(), description="Classical augmentation.")
    clustering: ClusterConfig = Field(default_factory=lambda: ClusterConfig(), description="Pseudo labels.")
    use_cameras: bool = Field(False, description="Draw a cluster's images from different cameras where possible.")
    cameras: CameraConfig = Field(default_factory=lambda: CameraConfig(), description="Camera-aware contrast.")
    batch_norm_images: int = Field(
        0, ge=0, le=65536, description="Images that are normalised together, a divisor of the global batch; 0 = all."
    )
    embed_batch_size: int = Field(256, ge=1, le=65536, description="Images a forward pass when embedding.")
    monitor_every: int = Field(1, ge=1, le=1000, description="Epochs from one labelled look to the next; logs only.")
    hardware: HardwareConfig = Field(default_factory=lambda: HardwareConfig(), description="How the device is used.")
    checkpoints: CheckpointConfig = Field(default_factory=lambda: CheckpointConfig(), description="For restarts.")
    num_workers: int = Field(1, ge=1, le=1024, description="Training ranks; the global batch is split over them.")
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    @property
    def batch_size(self) -> int:
        """Images of a global batch."""
        return self.clusters_per_batch * self.images_per_cluster
