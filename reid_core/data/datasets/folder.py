"""Own photographs: three folders like Market-1501, or any pictures, which are trained on."""

import os
from pathlib import Path

from reid_core.data.datasets.base import MARKET_FOLDERS, DatasetSpec, Record, is_image_name
from reid_core.data.datasets.layouts import look_into, parse_name, read_images, read_names
from reid_core.errors import UserError


def read_folder(root: Path) -> tuple[str, list[Record]]:
    """Read three folders like Market-1501, or every picture of a folder and of those in it as training images.

    Returns:
        Name of the layout, and the images.
    """
    [market] = look_into(root, (MARKET_FOLDERS,))
    if not market.missing:
        return MARKET_FOLDERS.name, read_images(root, MARKET_FOLDERS)
    if set(market.present) - {"bounding_box_train"}:
        # Taken as a bare folder, its test images would be trained on.
        raise UserError(
            f"{root} has {', '.join(market.present)} but not {', '.join(market.missing)}; for an evaluation give all "
            "three folders, to train on everything put the pictures into one folder"
        )
    paths = []
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith(".") and folder != "__MACOSX")
        paths += [(Path(parent) / name).relative_to(root).as_posix() for name in names if is_image_name(name)]
    if not paths:
        raise UserError(
            f"no picture lies in DATA_ROOT {root} or its folders (looked for .jpg, .png, .bmp, .webp and .tif files)"
        )
    paths.sort()
    if all(parse_name(Path(path).name) for path in paths):
        return "pictures with Market-1501 names", read_names("train", paths, root, MARKET_FOLDERS)
    return "plain pictures", [Record("train", path, None, None) for path in paths]


FOLDER = DatasetSpec(name="folder", title="your images", read=read_folder, version="own images")
