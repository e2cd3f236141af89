"""The front door: what ``import genvar`` offers to notebooks and other programs. Only this is a stable interface.

Names, defaults and the order of arguments follow torchreid's ``FeatureExtractor`` and scikit-learn.

Letters: N images of H x W pixels, D numbers of a feature, Q queries, G gallery images.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reid_core.clustering.settings import LabelSettings
from reid_core.clustering.worker import ClusterWorker
from reid_core.data.images import DAMAGE, as_rgb, decode
from reid_core.data.transfer import prefetch
from reid_core.errors import UserError
from reid_core.evaluation.embed import embed_batches, find_pictures
from reid_core.evaluation.ranking import Hits, Side, evaluate_ranking, most_similar
from reid_core.evaluation.threshold import NEAREST, estimate_strangers, measure_thresholds, sampled_similarities
from reid_core.evaluation.threshold import suggest_threshold as split_nearest
from reid_core.learning.memory import centre_cameras
from reid_core.models.identity import ARCHITECTURES, LITE, IdentityEncoder
from reid_core.models.weights import find_identity, load_identity, load_pretrained, read_header

_log = logging.getLogger(__name__)
IMAGENET_ENCODERS = tuple(arch for arch in ARCHITECTURES if arch != "resnet10")
_IMAGE_SIZE = (256, 128)  # of an encoder that only knows ImageNet: what the field trains on

Picture = str | Path | Image.Image | np.ndarray | Tensor
Vectors = np.ndarray | Tensor


class Encoder:
    """An identity encoder that is ready to embed pictures; ``load_encoder`` makes one.

    Attributes:
        network: The torch module, in evaluation mode; maps (N, 3, H, W) in [-1, 1] to feature maps and embedding.
        image_size: (H, W) to which pictures are resized.
        dim: D.
        device: Where it computes.
    """

    def __init__(self, network: IdentityEncoder, image_size: tuple[int, int], device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.image_size = image_size
        self.dim = network.embedding_dim
        self.device = device

    def embed(self, images: Picture | Iterable[Picture], batch_size: int = 64, flip: bool = False) -> np.ndarray:
        """Return features of pictures of any sizes, resized to ``image_size``.

        Args:
            images: A folder (its pictures at any depth, in the order of ``list_images``), or one or many of: paths, PIL
                images, arrays (H, W, 3) uint8, tensors (3, H, W) of bytes or of floats in [0, 1]; or stacks (N, ...).
            batch_size: Pictures of one forward pass.
            flip: Add the features of the mirrored pictures, as many do at test time.

        Returns:
            L2-normalised features, (N, D) float32.
        """
        pictures = _listed(images)
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        starts = range(0, len(pictures), batch_size)
        batches = prefetch(self._batch(pictures[start : start + batch_size]) for start in starts)
        return embed_batches(self.network, batches, self.device, flip=flip).numpy()

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"Encoder({self.network.arch}, {height} x {width} pixels, {self.dim} numbers, on {self.device})"

    def _batch(self, pictures: Sequence[Picture]) -> Tensor:
        height, width = self.image_size
        resized = [_as_pil(one).resize((width, height), Image.Resampling.BICUBIC) for one in pictures]
        return torch.from_numpy(np.stack([np.asarray(image) for image in resized])).permute(0, 3, 1, 2)


def load_encoder(
    weights: str | Path = LITE, image_size: tuple[int, int] | None = None, device: str | torch.device | None = None
) -> Encoder:
    """Load an encoder for use.

    Args:
        weights: The folder of a run of the joint or identity stage, its file ``identity.safetensors``, or the name of
            an architecture with ImageNet weights: "efficientnet_lite0" (installed with genvar), "resnet50" and other
            ResNets of torchvision (downloaded once).
        image_size: (H, W) for pictures; as trained when None, (256, 128) for ImageNet weights.
        device: A GPU when there is one, when None.

    Returns:
        The encoder in evaluation mode.
    """
    path = Path(weights).expanduser()
    if path.exists():
        file = find_identity(path) if path.is_dir() else path
        network = load_identity(file)
        height, width = read_header(file)["image_size"]
    elif str(weights) in IMAGENET_ENCODERS:
        network = IdentityEncoder(str(weights))
        load_pretrained(network, "offline" if weights == LITE else "imagenet")
        height, width = _IMAGE_SIZE
    else:
        raise UserError(
            f"load_encoder wants the folder of a run, a .safetensors file, or one of {', '.join(IMAGENET_ENCODERS)}, "
            f"but {str(weights)!r} is none of these and does not exist"
        )
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Encoder(network, image_size or (int(height), int(width)), chosen)


def list_images(folder: str | Path) -> list[Path]:
    """Return the pictures below a folder, sorted, hidden ones left out: the order in which a folder is embedded."""
    root, names = find_pictures(Path(folder).expanduser())
    return [root / name for name in names]


def rank(query: Vectors, gallery: Vectors, top: int = 10) -> Hits:
    """Rank the gallery for every query by cosine similarity.

    Args:
        query: Features, (Q, D), or (D,) of one.
        gallery: Features, (G, D).
        top: Images of each list; shortened to G.

    Returns:
        Positions in the gallery and similarities, (Q, top) each.
    """
    if top < 1:
        raise UserError(f"top must be at least 1, got {top}")
    one, many = _features(query, "query"), _features(gallery, "gallery")
    if one.shape[1] != many.shape[1]:
        raise UserError(f"query features have {one.shape[1]} numbers and gallery features {many.shape[1]}")
    return most_similar(one, many, length=top)


def evaluate(
    query_features: Vectors,
    query_ids: Iterable[int],
    query_cameras: Iterable[int],
    gallery_features: Vectors,
    gallery_ids: Iterable[int],
    gallery_cameras: Iterable[int],
) -> dict[str, float]:
    """Measure a retrieval by the protocol of Market-1501.

    Gallery images of the query's person under the query's camera are left out, and so is junk (identity -1); queries
    without a true match do not count.

    Args:
        query_features: (Q, D).
        query_ids: Identity of each query, (Q,) whole numbers.
        query_cameras: Camera of each query, (Q,) whole numbers.
        gallery_features: (G, D).
        gallery_ids: Identity of each gallery image, (G,).
        gallery_cameras: Camera of each gallery image, (G,).

    Returns:
        "mAP", "rank1", "rank5", "rank10" and "mINP" as fractions.
    """
    query = _side("query", query_features, query_ids, query_cameras)
    result = evaluate_ranking(query, _side("gallery", gallery_features, gallery_ids, gallery_cameras))
    cmc = {f"rank{position}": result.cmc[position] for position in (1, 5, 10)}
    return {"mAP": result.mean_ap, **cmc, "mINP": result.mean_inp}


class Threshold(NamedTuple):
    """A similarity from which on two pictures are taken for one person, and how far to trust it.

    Attributes:
        threshold: Cosine similarity.
        false_share: Expected share of strangers among the pairs that reach it, estimated without labels, rather too
            high than too low; NaN where the gallery is too small for an estimate, or nothing reaches the threshold.
        has_gap: Whether matches and strangers are told apart by a gap in the similarities.
    """

    threshold: float
    false_share: float
    has_gap: bool


def suggest_threshold(query: Vectors, gallery: Vectors | None = None, max_false: float | None = None) -> Threshold:
    """Suggest, without labels, from which similarity on two pictures show the same person.

    Args:
        query: Features, (Q, D).
        gallery: Features, (G, D), without the queries' own pictures; None compares the queries among each other.
        max_false: Largest expected share of strangers among the pairs that reach the threshold, in (0, 1); None parts
            the nearest pictures of every query into two groups by Otsu's method.

    Returns:
        The threshold; with ``max_false``, the lowest that keeps to it.
    """
    if max_false is not None and not 0 < max_false < 1:
        raise UserError(f"max_false must be between 0 and 1, got {max_false}")
    one = _features(query, "query")
    many = one if gallery is None else _features(gallery, "gallery")
    if one.shape[1] != many.shape[1]:
        raise UserError(f"query features have {one.shape[1]} numbers and gallery features {many.shape[1]}")
    own = np.arange(len(one)) if gallery is None else np.full(len(one), -1)
    nearest = most_similar(one, many, length=NEAREST, own=own).similarities
    if not np.isfinite(nearest).any():
        raise UserError("there is no other picture to compare with; give more than one")
    found = split_nearest(nearest)
    strangers = estimate_strangers(sampled_similarities(one, many, own))
    if max_false is None:
        return Threshold(found.threshold, strangers.at(found.threshold) if strangers else math.nan, found.has_gap)
    if strangers is None:
        raise UserError("the share of strangers needs at least 20 gallery pictures of different similarity")
    lowest = strangers.lowest(max_false)
    if lowest is None:
        raise UserError(
            f"no threshold keeps the expected share of strangers at {max_false} or below: the encoder does not tell "
            "these people apart so well; allow more, or use a stronger encoder"
        )
    return Threshold(lowest, strangers.at(lowest), found.has_gap)


def threshold_curve(
    query_features: Vectors,
    query_ids: Iterable[int],
    query_cameras: Iterable[int],
    gallery_features: Vectors,
    gallery_ids: Iterable[int],
    gallery_cameras: Iterable[int],
) -> dict[str, np.ndarray]:
    """Count with labels what each threshold does; arguments, and which pairs count, as for ``evaluate``.

    Returns:
        "threshold", from -1 to 1; "precision", the share of one person among the pairs that reach it (NaN: no pair);
        "recall", the share of the pairs of one person that reach it; "false_match_rate", that of strangers.
        (401,) each.
    """
    query = _side("query", query_features, query_ids, query_cameras)
    gallery = _side("gallery", gallery_features, gallery_ids, gallery_cameras)
    curve = measure_thresholds(query, gallery)
    return dict(zip(("threshold", *curve._fields[1:]), curve, strict=True))


def pseudo_labels(
    features: Vectors,
    k1: int = 30,
    k2: int = 6,
    eps: float = 0.6,
    min_samples: int = 4,
    cameras: Iterable[int] | None = None,
) -> np.ndarray:
    """Cluster features without labels: DBSCAN on the k-reciprocal Jaccard distance, as clustering methods do it.

    Args:
        features: (N, D).
        k1: Length of the reciprocal neighbour lists, the image itself included.
        k2: Neighbours whose weights are averaged; 1 turns it off.
        eps: Largest distance of neighbours, in [0, 1).
        min_samples: Neighbours, itself included, that make a core image.
        cameras: Camera of each image, (N,): each camera's mean is taken away first. None uses no camera.

    Returns:
        Cluster of each image from 0, -1 for outliers, (N,) int64. Where ``eps`` gives fewer than two clusters another
        one is tried, and a warning is logged.
    """
    for name, value, low in (("k1", k1, 1), ("k2", k2, 1), ("min_samples", min_samples, 1), ("eps", eps, 0)):
        if value < low or (name == "eps" and value >= 1):
            raise UserError(f"{name} must be {'in [0, 1)' if name == 'eps' else 'at least 1'}, got {value}")
    vectors = _features(features, "features")
    if cameras is not None:
        vectors = centre_cameras(vectors, _integers(cameras, len(vectors), "cameras"))
    array = np.ascontiguousarray(vectors.numpy())
    # torch searches: FAISS cannot live in a process that has loaded torch.
    worker = ClusterWorker()
    neighbours, _ = worker.search(array, 0, len(array), k1, search_with="torch")
    settings = LabelSettings(k1=k1, k2=k2, eps=eps, min_samples=min_samples)
    result = worker.label(array, neighbours, settings)
    if result.note:
        _log.warning("%s", result.note)
    return result.labels


def _listed(images: Picture | Iterable[Picture]) -> list[Any]:
    if isinstance(images, str | Path):
        return list_images(images)
    if isinstance(images, Image.Image) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 3):
        return [images]
    listed = list(images)
    if not listed:
        raise UserError("there is no picture to embed; give at least one")
    return listed


def _as_pil(picture: Picture) -> Image.Image:
    if isinstance(picture, str | Path):
        try:
            return decode(Path(picture).expanduser())
        except DAMAGE as error:
            raise UserError(f"{picture} cannot be read as a picture ({str(error).splitlines()[0]})") from error
    if isinstance(picture, Image.Image):
        return as_rgb(picture)
    if isinstance(picture, Tensor) and picture.ndim == 3 and picture.shape[0] == 3:
        picture = picture.detach().cpu()
        if picture.is_floating_point() and picture.numel() and picture.min() >= 0 and picture.max() <= 1:
            picture = (picture * 255).round().to(torch.uint8)
        picture = picture.permute(1, 2, 0).numpy()
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] == (3,) and picture.size:
        return Image.fromarray(picture)
    came = f"{picture.dtype} {tuple(picture.shape)}" if hasattr(picture, "dtype") else type(picture).__name__
    raise UserError(
        "pictures are paths, PIL images, arrays (H, W, 3) uint8, or tensors (3, H, W) of bytes or of floats in [0, 1], "
        f"but {came} came"
    )


def _features(values: Vectors, name: str) -> Tensor:
    """Return features as normalised float32 on the CPU, (N, D)."""
    tensor = torch.as_tensor(values).detach().cpu().float()
    tensor = tensor[None] if name == "query" and tensor.ndim == 1 else tensor
    if tensor.ndim != 2 or not tensor.numel():
        raise UserError(f"{name} must be of shape (number of images, numbers of a feature), got {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise UserError(f"{name} holds NaN or infinity")
    return F.normalize(tensor, dim=1)


def _side(name: str, features: Vectors, ids: Iterable[int], cameras: Iterable[int]) -> Side:
    tensor = _features(features, f"{name}_features")
    columns = [
        _integers(values, len(tensor), f"{name}_{what}") for what, values in (("ids", ids), ("cameras", cameras))
    ]
    return Side(tensor, *columns)


def _integers(values: Iterable[int], count: int, name: str) -> Tensor:
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(list(values))
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise UserError(f"{name} must be {count} whole numbers, one an image, got {array.dtype} {array.shape}")
    return torch.from_numpy(array.astype(np.int64))
