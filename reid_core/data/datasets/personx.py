"""PersonX, rendered people (Sun and Zheng, CVPR 2019).

It has no published table. The edition that domain adaptation uses, with these numbers, is described in the data loaders
of SpCL and of TLlib (1,266 people: 410 to train and 856 to test); its other editions differ in size.
"""

from reid_core.data.datasets.base import Counts, DatasetSpec

PERSONX = DatasetSpec(
    name="personx",
    title="PersonX",
    version="PersonX, six cameras, 1,266 people",
    published={"trainval": Counts(9_840, 5_136, 30_816, 410, 856, 6)},
    accepts_other_sizes=True,
)
