"""What ``genvar embed`` does: pictures of any origin become features."""

import logging
from collections.abc import Sequence
from pathlib import Path

from infra.compute.protocol import Compute
from infra.home import check_writable
from pipeline.trained_encoder import TrainedEncoder
from reid_core.data.datasets.tree import look_through
from reid_core.errors import UserError
from reid_core.evaluation.embed import Features, find_pictures
from stages.embedding import embed_readable

_log = logging.getLogger(__name__)
_NAMED = 5  # files named in a message; the others are counted


def check_output(path: Path, suffix: str) -> None:
    """Refuse a file that cannot be written, before any work."""
    if path.suffix != suffix:
        raise UserError(f"--out wants a file that ends in {suffix}, but got {path}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"--out names {path}, which is a folder or lies in none that exists; name another file")
    check_writable(path, "name another file with --out")


def embed_pictures(
    source: Path, encoder: TrainedEncoder, compute: Compute, *, flip: bool = False, mixed_precision: bool = True
) -> Features:
    """Embed every picture of a folder, or one picture; unreadable ones are named, counted and passed over.

    Args:
        source: Picture or folder.
        encoder: What embeds them.
        compute: Runs the shards.
        flip: Add the embeddings of the mirrored pictures.
        mixed_precision: Compute in 16 bits on GPUs.

    Returns:
        Features of the readable pictures; at least one is.
    """
    root, names = find_pictures(source)
    for note in look_through(source).notes() if source.is_dir() else []:
        _log.warning("%s: %s", source, note)
    found = embed_readable(
        encoder.weights,
        [root / name for name in names],
        encoder.image_size,
        compute,
        description=f"Embedding {source.name or source}",
        flip=flip,
        mixed_precision=mixed_precision,
    )
    problems = [f"{names[row]}: {problem}" for row, problem in sorted(found.problems.items())]
    if not len(found.indices):
        raise UserError(f"none of the {len(names)} pictures in {source} can be read ({_shortened(problems)})")
    if problems:
        _log.warning("%d of %d pictures in %s passed over: %s", len(problems), len(names), source, _shortened(problems))
    info = {
        "encoder": encoder.digest,
        "title": encoder.title,
        "weights": str(encoder.weights),
        "image_size": list(encoder.image_size),
        "flip": flip,
    }
    return Features(tuple(names[index] for index in found.indices), found.features, root.absolute(), info)


def _shortened(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more
