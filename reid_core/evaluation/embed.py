"""Features of many images: batches through an encoder in evaluation mode, and the Parquet file that keeps them.

N: images, D: feature size, H x W: image size.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.data.datasets.tree import SUFFIXES, look_through
from reid_core.data.images import as_float, load_images
from reid_core.data.transfer import prefetch
from reid_core.errors import UserError

_INFO = b"genvar.features"  # key of the file's metadata that says how the features were made


def embed(
    encoder: nn.Module,
    images: Tensor,
    *,
    batch_size: int,
    device: torch.device | str,
    flip: bool = False,
    mixed_precision: bool = False,
) -> Tensor:
    """Embed stored images; the mode of every module is as before afterwards, and no random number is drawn.

    Args:
        encoder: Returns an object with ``embedding`` (B, D) for floats (B, 3, H, W) in [-1, 1]; lies on ``device``.
        images: RGB bytes, (N, 3, H, W).
        batch_size: Images of one forward pass.
        device: Where the encoder lies.
        flip: Add the embedding of the mirrored image before normalising, as peers do that flip at test.
        mixed_precision: Compute in 16 bits where a GPU is faster so; ignored on a CPU.

    Returns:
        L2-normalised embeddings on the CPU, (N, D) float32.
    """
    assert len(images), "no image to embed"
    starts = range(0, len(images), batch_size)
    batches = (images[i : i + batch_size] for i in starts)
    return embed_batches(encoder, batches, device, flip=flip, mixed_precision=mixed_precision)


def embed_files(
    encoder: nn.Module,
    paths: Sequence[Path],
    *,
    size: tuple[int, int],
    batch_size: int,
    device: torch.device | str,
    num_threads: int = 1,
    flip: bool = False,
    mixed_precision: bool = False,
) -> Tensor:
    """Embed picture files batch by batch, so that a data set larger than memory can be embedded.

    Args:
        encoder: As for ``embed``.
        paths: Picture files, N of them.
        size: Height and width in pixels.
        batch_size: Images of one forward pass.
        device: Where the encoder lies.
        num_threads: Pictures decoded at the same time; with more than one, while the batch before is embedded.
        flip: As for ``embed``.
        mixed_precision: As for ``embed``.

    Returns:
        L2-normalised embeddings on the CPU, (N, D) float32.
    """
    assert paths, "no image to embed"
    starts = range(0, len(paths), batch_size)
    batches = (load_images(paths[i : i + batch_size], size, num_threads=num_threads) for i in starts)
    ahead = prefetch(batches) if num_threads > 1 else batches
    return embed_batches(encoder, ahead, device, flip=flip, mixed_precision=mixed_precision)


def embed_batches(
    encoder: nn.Module,
    batches: Iterable[Tensor],
    device: torch.device | str,
    *,
    flip: bool = False,
    mixed_precision: bool = False,
) -> Tensor:
    """Embed batch after batch of RGB bytes, (B, 3, H, W) each; other arguments and the result as for ``embed``."""
    on_gpu = torch.device(device).type == "cuda"
    lower = torch.autocast("cuda", dtype=torch.float16, enabled=mixed_precision and on_gpu)
    with _evaluating(encoder), torch.no_grad(), lower:
        return torch.cat([_forward(encoder, batch, device, flip=flip) for batch in batches])


def _forward(encoder: nn.Module, images: Tensor, device: torch.device | str, *, flip: bool) -> Tensor:
    floats = as_float(images.to(device))
    embedding = encoder(floats).embedding.float()
    if flip:
        embedding = embedding + encoder(floats.flip(-1)).embedding.float()
    return F.normalize(embedding, dim=1).cpu()


def find_pictures(source: Path) -> tuple[Path, list[str]]:
    """List pictures.

    Args:
        source: A picture, or a folder that holds pictures at any depth.

    Returns:
        A folder, and the names of the pictures relative to it, sorted; hidden files and what genvar wrote are left out.
    """
    try:
        is_file, is_folder = source.is_file(), source.is_dir()
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror}); name a picture or folder that can") from error
    if is_file:
        return source.parent, [source.name]
    if not is_folder:
        raise UserError(f"{source} does not exist; name a picture or a folder of pictures")
    names = sorted(look_through(source).pictures, key=lambda name: name.split("/"))
    if not names:
        raise UserError(f"{source} holds no pictures ({', '.join(sorted(SUFFIXES))}); name the folder that does")
    return source, names


@contextmanager
def _evaluating(encoder: nn.Module) -> Iterator[None]:
    # Module by module: an encoder in training may hold frozen parts that are in evaluation mode already.
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Features(NamedTuple):
    """Features of images.

    Attributes:
        image_ids: Unique names, N of them: paths relative to ``root``.
        vectors: L2-normalised, (N, D) float32.
        root: Folder of the images.
        info: How the features were made; features can be compared only where ``info["encoder"]`` agrees.
    """

    image_ids: tuple[str, ...]
    vectors: np.ndarray
    root: Path
    info: dict[str, Any]

    def paths(self) -> list[Path]:
        """Return the image files, N of them."""
        return [self.root / name for name in self.image_ids]


def write_features(features: Features, path: Path) -> None:
    """Write a table of ``image_id`` and ``feature`` (a list of D float32), whole or not at all."""
    num_images, size = features.vectors.shape
    assert len(features.image_ids) == num_images, (len(features.image_ids), num_images)
    values = pa.array(np.ascontiguousarray(features.vectors, dtype=np.float32).ravel())
    columns = {
        "image_id": pa.array(features.image_ids, pa.string()),
        "feature": pa.FixedSizeListArray.from_arrays(values, size),
    }
    info = json.dumps({"root": str(features.root.absolute()), **features.info}, sort_keys=True)
    part = path.with_name(f"{path.name}.part")
    pq.write_table(pa.table(columns).replace_schema_metadata({_INFO: info.encode()}), part)
    part.replace(path)


def read_features(path: Path) -> Features:
    """Read what ``write_features`` wrote.

    Raises:
        UserError: The file is none of its files, or holds no image.
    """
    try:
        table = pq.read_table(path)
        info = json.loads((table.schema.metadata or {})[_INFO])
        column = table["feature"].combine_chunks()
        size = column.type.list_size
        vectors = column.flatten().to_numpy().reshape(len(column), size).copy()  # Arrow's memory is read-only
        image_ids = tuple(table["image_id"].to_pylist())
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is no Parquet file of features ({str(error).splitlines()[0]}); make one with genvar embed"
        ) from error
    if not len(vectors):
        raise UserError(f"{path} holds no features; make it again with genvar embed")
    return Features(image_ids, vectors, Path(info.pop("root")), info)
