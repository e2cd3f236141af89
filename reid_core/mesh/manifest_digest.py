"""A short name of the images that a mesh cache is made for."""

import hashlib

from reid_core.data.manifest import Manifest


def manifest_digest(manifest: Manifest, split: str = "train") -> str:
    """Digest the names, files and sizes of one split, in order.

    Neither the folder that holds the files nor any identity counts: a data set that was moved keeps its cache.

    Args:
        manifest: Of the data stage.
        split: Whose images have meshes.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    rows = manifest.split(split).table.select(["image_id", "path", "width", "height"])
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        digest.update(("|".join(map(str, row)) + "\n").encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
