"""MSMT17 (Wei et al., CVPR 2018), version 1, version 2 with masked faces, and copies that do not say their version."""

import re
from pathlib import Path

from reid_core.data.datasets.base import MARKET_FOLDERS, Counts, DatasetSpec, Layout
from reid_core.data.datasets.layouts import look_into

_LISTS = {part: f"list_{part}.txt" for part in ("train", "val", "query", "gallery")}


def _lists(name: str, train: str, test: str) -> Layout:
    return Layout(
        name,
        folders={"train": train, "val": train, "query": test, "gallery": test},
        lists=_LISTS,
        image_name=re.compile(r"[^_]*_[^_]*_(?P<camera>\d+)"),
        example="0000/0000_000_01_0303morning_0015_0.jpg 0",
    )


LISTS_V1 = _lists("lists with train and test", "train", "test")
LISTS_V2 = _lists("lists with mask_train_v2 and mask_test_v2", "mask_train_v2", "mask_test_v2")


def find_version(root: Path) -> str:
    """Name the version by the folders that it has, or else by the name that it or the folder around it carries.

    Numbers of images and names of lists are the same, so that these cannot tell the versions apart.
    """
    if any(not candidate.missing for candidate in look_into(root, (LISTS_V2,))):
        return "MSMT17_V2"
    for name in (root.name, root.parent.name):
        for version in ("V1", "V2"):
            if version.lower() in name.lower():
                return f"MSMT17_{version}"
    return "MSMT17 (version not named)"


MSMT17 = DatasetSpec(
    name="msmt17",
    title="MSMT17",
    layouts=(MARKET_FOLDERS, LISTS_V1, LISTS_V2),
    find_version=find_version,
    published={
        "trainval": Counts(32_621, 11_659, 82_161, 1_041, 3_060, 15),
        "train": Counts(30_248, 11_659, 82_161, 1_041, 3_060, 15),
    },
    terms="images of real people, for research only, under a signed agreement; do not pass them on",
)
