"""Settings of pseudo labels, in a module that loads no compiled library."""

from dataclasses import dataclass
from typing import Literal

Algorithm = Literal["dbscan", "leiden"]


@dataclass(frozen=True)
class LabelSettings:
    """Settings of the way from neighbour lists to pseudo labels.

    Attributes:
        k1: Length of the reciprocal neighbour lists, the image itself included.
        k2: Neighbours whose weights are averaged (query expansion); 1 = off.
        eps: Largest Jaccard distance of linked images, in [0, 1).
        min_samples: Images, itself included, that make a core image (DBSCAN) or a cluster (Leiden).
        algorithm: What groups the graph of linked images.
        resolution: Of Leiden: above 1 smaller clusters, below 1 larger ones.
        min_cluster_size: Smaller clusters become outliers.
        min_cameras: Clusters seen by fewer cameras become outliers; 1 = off.
        reliable_only: Whether unreliable images become outliers (SpCL).
        reliability_step: How far eps is loosened and tightened to test reliability.
        min_independence: Smallest independence of a reliable cluster, in [0, 1].
    """

    k1: int = 30
    k2: int = 6
    eps: float = 0.55
    min_samples: int = 4
    algorithm: Algorithm = "dbscan"
    resolution: float = 1.0
    min_cluster_size: int = 1
    min_cameras: int = 1
    reliable_only: bool = False
    reliability_step: float = 0.02
    min_independence: float = 0.8
