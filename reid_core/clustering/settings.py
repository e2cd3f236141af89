"""Settings of pseudo labels, in a module that loads no compiled library."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

Algorithm = Literal["dbscan", "leiden"]


@dataclass(frozen=True)
class LabelSettings:
    """Settings of the way from neighbour lists to pseudo labels.

    Attributes:
        k1: Length of the reciprocal neighbour lists, in images, the image itself included (paper).
        k2: Neighbours whose weights are averaged in query expansion; 1 = off (paper).
        eps: Largest Jaccard distance of linked images (paper).
        min_samples: Images, itself included, that make a core image of DBSCAN, or a cluster of Leiden (paper).
        algorithm: Groups the linked images: dbscan (paper), or leiden.
        resolution: Of leiden: above 1 smaller clusters, below 1 larger ones (ours).
        min_cluster_size: Smaller clusters become outliers, in images; 1 = off (ours).
        min_cameras: Clusters seen by fewer cameras become outliers; 1 = off, no camera is used.
        reliable_only: Whether unreliable images become outliers (SpCL).
        reliability_step: How far eps is loosened and tightened to test reliability (SpCL).
        min_independence: Least independence of a reliable cluster (ours).
    """

    k1: Annotated[int, Ge(1), Le(1000)] = 30
    k2: Annotated[int, Ge(1), Le(1000)] = 6
    eps: Annotated[float, Gt(0), Lt(1)] = 0.55
    min_samples: Annotated[int, Ge(1)] = 4
    algorithm: Algorithm = "dbscan"
    resolution: Annotated[float, Gt(0), Le(100)] = 1.0
    min_cluster_size: Annotated[int, Ge(1)] = 1
    min_cameras: Annotated[int, Ge(1), Le(1000)] = 1
    reliable_only: bool = False
    reliability_step: Annotated[float, Gt(0), Le(0.5)] = 0.02
    min_independence: Annotated[float, Ge(0), Le(1)] = 0.8
