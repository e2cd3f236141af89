"""Market-1501 (Zheng et al., ICCV 2015)."""

from reid_core.data.datasets.base import Counts, DatasetSpec

MARKET1501 = DatasetSpec(
    name="market1501",
    title="Market-1501",
    aliases=("market",),
    version="Market-1501-v15.09.15",
    distractors=(0,),
    published={"trainval": Counts(12_936, 3_368, 15_913, 751, 750, 6)},
    terms="images of real people, for research only; do not pass them on",
)
