"""The smallest configurations of the training stages that still do everything."""

from reid_core.data.augment import Augmentation
from stages.generator import GeneratorConfig
from stages.identity import IdentityConfig
from stages.joint import JointConfig
from stages.training.clustering import ClusterConfig

CLUSTERING = ClusterConfig(k1=6, k2=2, min_samples=3)
IDENTITY = IdentityConfig(
    arch="resnet10",
    weights="none",
    num_epochs=2,
    iterations_per_epoch=2,
    clusters_per_batch=2,
    images_per_cluster=4,
    augmentation=Augmentation(pad=2, jitter=0.2),
    clustering=CLUSTERING,
)
GENERATOR = GeneratorConfig(
    channels=8,
    num_blocks=1,
    structure_norm="none",
    discriminator_channels=4,
    num_epochs=2,
    batch_size=8,
    adversarial_from_epoch=1,
)
JOINT = JointConfig(num_epochs=2, batch_size=8, generator_every=2, memory_refresh=True, clustering=CLUSTERING)
