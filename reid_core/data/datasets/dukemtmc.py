"""DukeMTMC-reID (Ristani et al., ECCV workshops 2016; Zheng et al., ICCV 2017)."""

from reid_core.data.datasets.base import Counts, DatasetSpec

DUKEMTMC = DatasetSpec(
    name="dukemtmc-reid",
    title="DukeMTMC-reID",
    aliases=("dukemtmc", "duke"),
    version="DukeMTMC-reID",
    distractors=(0,),
    published={"trainval": Counts(16_522, 2_228, 17_661, 702, 702, 8)},
    terms="withdrawn over consent; for checking old results only",
    note="DukeMTMC-reID was withdrawn by its authors in 2019: do not publish or pass on images of it",
)
