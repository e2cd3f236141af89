"""The losses of the method as functions of tensors: ``genvar.losses.memory_nce(query, bank, positive, ...)``."""

from reid_core.losses.camera import across_camera_contrast, within_camera_cross_entropy
from reid_core.losses.contrastive import memory_nce, mixed_prototype_cross_entropy, prototype_cross_entropy
from reid_core.losses.gan import discriminator_loss, generator_loss, r1_penalty
from reid_core.losses.reconstruction import appearance_distance, image_distance

__all__ = [
    "across_camera_contrast",
    "appearance_distance",
    "discriminator_loss",
    "generator_loss",
    "image_distance",
    "memory_nce",
    "mixed_prototype_cross_entropy",
    "prototype_cross_entropy",
    "r1_penalty",
    "within_camera_cross_entropy",
]
