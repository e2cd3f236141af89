"""What ``genvar search`` does: for each query picture the gallery pictures that are most similar.

Q: queries, G: gallery images, K: length of a list.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from infra.compute.protocol import Compute
from infra.home import check_writable
from pipeline.embed_pictures import embed_pictures
from pipeline.trained_encoder import TrainedEncoder
from reid_core.data.datasets.base import MARKET_NAME
from reid_core.data.datasets.tree import mark_results
from reid_core.data.images import load_images
from reid_core.errors import UserError
from reid_core.evaluation.embed import Features, find_pictures, read_features
from reid_core.evaluation.plots.ranked_lists import draw_search
from reid_core.evaluation.ranking import Hits, Side, most_similar
from reid_core.evaluation.threshold import (
    NEAREST,
    LabelledCurve,
    Strangers,
    estimate_strangers,
    measure_thresholds,
    sampled_similarities,
    suggest_threshold,
)

_log = logging.getLogger(__name__)
_MOST_ROWS = 40  # lines of the table in the terminal; the file holds all


@dataclass(frozen=True)
class Search:
    """What is asked for.

    Attributes:
        query: Picture, folder or Parquet file of features.
        gallery: The same.
        length: Pictures of each list.
        threshold: Similarity of the same person, or None for a suggestion.
        num_shown: Queries of the picture.
        max_false: Largest expected share of strangers from the suggested threshold on, or None for Otsu's threshold.
        flip: Add the features of mirrored pictures.
        mixed_precision: Compute in 16 bits on GPUs.
    """

    query: Path
    gallery: Path
    length: int
    threshold: float | None
    num_shown: int
    max_false: float | None = None
    flip: bool = False
    mixed_precision: bool = True


def run_search(
    search: Search,
    run: str | None,
    find: Callable[[str | None], TrainedEncoder],
    compute: Compute,
    out_dir: Path,
    console: Console,
) -> None:
    """Search, print the results, and write ``hits.parquet`` and ``hits.png``.

    Args:
        search: What is asked for.
        run: Encoder that the user named; None for the one that made a Parquet file given, else the newest.
        find: Finds an encoder by name.
        compute: Embeds pictures.
        out_dir: Is created.
        console: For the results.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"--out wants a folder, but {out_dir} is a file; name another one")
    for name in ("hits.parquet", "hits.png", "thresholds.parquet"):
        check_writable(out_dir / name, "name another folder with --out")
    sources = (search.query, search.gallery)
    known = {source: _read(source) for source in sources if source.suffix == ".parquet"}
    pictures = [source for source in sources if source not in known]
    for source in pictures:
        find_pictures(source)
    if pictures:
        encoder = find(run if run is not None else _encoder_of(known.values()))
        for features in known.values():  # before any picture is embedded in vain
            _refuse_other_encoder(encoder.digest, encoder.title, features)
            encoder = replace(encoder, title=features.info["title"])
        compute.prepare([*pictures, encoder.weights])
        for source in pictures:
            known[source] = embed_pictures(
                source, encoder, compute, flip=search.flip, mixed_precision=search.mixed_precision
            )
    query, gallery = known[search.query], known[search.gallery]
    hits = find_hits(query, gallery, search.length)
    strangers = _strangers(query, gallery)
    threshold = choose_threshold(query, gallery, search.threshold, search.max_false, strangers)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_hits(query, gallery, hits, threshold, out_dir / "hits.parquet")
    show_hits(query, gallery, hits, threshold, console)
    console.print(f"Encoder    {query.info['title']}", markup=False, soft_wrap=True)
    _show_threshold(threshold, strangers, console)
    if curve := _curve_of_names(query, gallery):
        pq.write_table(pa.table(curve._asdict()), out_dir / "thresholds.parquet")
        _show_curve(threshold, curve, out_dir / "thresholds.parquet", console)
    mark_results(out_dir, ["hits.parquet", "hits.png", "thresholds.parquet"])
    console.print(f"Hits       {out_dir / 'hits.parquet'}", markup=False, soft_wrap=True)
    if search.num_shown and draw_hits(query, gallery, hits, threshold, out_dir / "hits.png", search.num_shown):
        console.print(f"Picture    {out_dir / 'hits.png'}", markup=False, soft_wrap=True)


def _read(source: Path) -> Features:
    if not source.is_file():
        raise UserError(f"{source} does not exist; make it with genvar embed")
    return read_features(source)


def _encoder_of(known: Iterable[Features]) -> str | None:
    """Return the weights that made given features, where they are still there; find_hits compares their content."""
    files = (str(features.info.get("weights", "")) for features in known)
    return next((file for file in files if file and Path(file).is_file()), None)


def find_hits(query: Features, gallery: Features, length: int) -> Hits:
    """Rank the gallery for every query; a query's own file, where the gallery holds it too, is left out.

    Args:
        query: Q images.
        gallery: G images.
        length: K; shortened to G.
    """
    _refuse_other_features(query, gallery)
    features = torch.from_numpy(query.vectors), torch.from_numpy(gallery.vectors)
    return most_similar(*features, length=length, own=_own(query, gallery))


def _own(query: Features, gallery: Features) -> np.ndarray:
    """Return the position in the gallery of each query's own file, (Q,); -1 where it is not there."""
    places = {path: index for index, path in enumerate(gallery.paths())}
    return np.array([places.get(path, -1) for path in query.paths()])


def choose_threshold(
    query: Features,
    gallery: Features,
    threshold: float | None,
    max_false: float | None = None,
    strangers: Strangers | None = None,
) -> float:
    """Return the asked threshold, or a suggested one with a warning when nothing in the similarities supports it.

    Args:
        query: Q images.
        gallery: G images.
        threshold: Asked for, or None.
        max_false: Largest expected share of strangers among the pairs that reach it, or None for Otsu's threshold.
        strangers: The estimate for ``max_false``; None where none can be made.
    """
    if threshold is not None:
        return threshold
    nearest = find_hits(query, gallery, NEAREST)
    if not np.isfinite(nearest.similarities).any():
        raise UserError("the gallery holds nothing but the query itself; name a gallery with other pictures")
    if max_false is not None:
        lowest = strangers.lowest(max_false) if strangers else None
        if lowest is None:
            # The ranked lists are worth having all the same.
            _log.warning(
                "no threshold can be shown to keep the expected share of strangers at %s or below, so nothing is "
                "marked as a match; allow more with --max-false, set --threshold, or use a stronger encoder or a "
                "larger gallery",
                max_false,
            )
            return 1.0
        return lowest
    found = suggest_threshold(nearest.similarities)
    if not found.has_gap:
        _log.warning(
            "the similarities show no gap between matches and strangers: the threshold %.3f only parts the more "
            "similar from the less similar; look at the picture before you trust it, or set --threshold",
            found.threshold,
        )
    return found.threshold


def _strangers(query: Features, gallery: Features) -> Strangers | None:
    features = torch.from_numpy(query.vectors), torch.from_numpy(gallery.vectors)
    return estimate_strangers(sampled_similarities(*features, _own(query, gallery)))


def _show_threshold(threshold: float, strangers: Strangers | None, console: Console) -> None:
    share = strangers.at(threshold) if strangers else math.nan
    said = "too few pictures to say how many of them are strangers"
    if not math.isnan(share):
        said = f"at most about {share:.0%} of the pairs from there on are expected to be strangers (an estimate)"
    console.print(f"Threshold  {threshold:.3f}; {said}", markup=False, soft_wrap=True)


def _curve_of_names(query: Features, gallery: Features) -> LabelledCurve | None:
    """Return the curve where all files are named by person and camera, as in Market-1501; None where they are not."""
    sides = []
    for features in (query, gallery):
        names = [MARKET_NAME.match(Path(name).name) for name in features.image_ids]
        if not all(names):
            return None
        people, cameras = (torch.tensor([int(name[what]) for name in names if name]) for what in ("person", "camera"))
        sides.append(Side(torch.from_numpy(features.vectors), people, cameras))
    try:
        return measure_thresholds(*sides)
    except UserError:  # no person is there twice
        return None


def _show_curve(threshold: float, curve: LabelledCurve, path: Path, console: Console) -> None:
    at = min(int(np.searchsorted(curve.thresholds, threshold)), len(curve.thresholds) - 1)
    console.print(
        f"Names      by people and cameras in the file names: from {curve.thresholds[at]:.3f} on "
        f"{curve.precision[at]:.0%} of the pairs are one person, {curve.recall[at]:.0%} of all such pairs are found; "
        f"curve in {path}",
        markup=False,
        soft_wrap=True,
    )


def write_hits(query: Features, gallery: Features, hits: Hits, threshold: float, path: Path) -> None:
    """Write one row a hit: ``query``, ``rank``, ``gallery``, ``similarity``, ``above_threshold``."""
    rows, ranks = np.nonzero(hits.indices >= 0)
    similarity = hits.similarities[rows, ranks]
    columns = {
        "query": [query.image_ids[row] for row in rows],
        "rank": pa.array(ranks + 1, pa.int32()),
        "gallery": [gallery.image_ids[hits.indices[row, rank]] for row, rank in zip(rows, ranks, strict=True)],
        "similarity": similarity,
        "above_threshold": similarity >= threshold,
    }
    facts = {"threshold": threshold, "query_root": str(query.root), "gallery_root": str(gallery.root), **query.info}
    metadata = {b"genvar.search": json.dumps(facts, sort_keys=True).encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


def draw_hits(query: Features, gallery: Features, hits: Hits, threshold: float, path: Path, num_shown: int) -> bool:
    """Draw the first queries with their lists; False, with a message, when the pictures are no longer there."""
    height, width = query.info["image_size"]
    rows = range(min(num_shown, len(query.image_ids)))
    lists = [hits.indices[row][hits.indices[row] >= 0] for row in rows]
    query_paths, gallery_paths = query.paths(), gallery.paths()
    wanted = [query_paths[row] for row in rows] + [gallery_paths[i] for one in lists for i in one]
    if missing := [file for file in wanted if not file.is_file()]:
        _log.warning("no picture was drawn: %s is no longer there", missing[0])
        return False
    sheet = draw_search(
        load_images([query_paths[row] for row in rows], (height, width)),
        [load_images([gallery_paths[i] for i in one], (height, width)) for one in lists],
        [hits.similarities[row][hits.indices[row] >= 0] for row in rows],
        threshold,
        [query.image_ids[row] for row in rows],
    )
    sheet.save(path)
    return True


def show_hits(query: Features, gallery: Features, hits: Hits, threshold: float, console: Console) -> None:
    """Print the ranked results."""
    table = Table(title=f"Most similar pictures; likely the same person from {threshold:.3f} on", title_justify="left")
    for heading in ("query", "rank", "gallery", "cosine", ""):
        table.add_column(heading, justify="right" if heading in ("rank", "cosine") else "left", overflow="fold")
    rows, ranks = np.nonzero(hits.indices >= 0)
    for row, rank in list(zip(rows, ranks, strict=True))[:_MOST_ROWS]:
        value = hits.similarities[row, rank]
        name = query.image_ids[row] if rank == 0 else ""
        word = "match?" if value >= threshold else ""
        table.add_row(name, str(rank + 1), gallery.image_ids[hits.indices[row, rank]], f"{value:.3f}", word)
    console.print(table)
    if len(rows) > _MOST_ROWS:
        console.print(f"... and {len(rows) - _MOST_ROWS} more rows in the file")


def _refuse_other_features(query: Features, gallery: Features) -> None:
    sizes = query.vectors.shape[1], gallery.vectors.shape[1]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the query's features have {sizes[0]} numbers and the gallery's {sizes[1]}: they come from different "
            "encoders; embed both with the same --run"
        )
    _refuse_other_encoder(query.info.get("encoder"), str(query.info.get("title")), gallery)


def _refuse_other_encoder(digest: str | None, title: str, features: Features) -> None:
    if features.info.get("encoder") != digest:
        raise UserError(
            f"features of {title} and of {features.info.get('title')} cannot be compared, because they come from "
            "different encoders; embed both with the same --run"
        )
