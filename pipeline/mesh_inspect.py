"""Describe a mesh cache for ``genvar mesh inspect``: numbers, a histogram and a contact sheet."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from infra.home import check_writable
from infra.tracking.store import COMPLETION_MARKER
from reid_core.data.datasets.tree import mark_results
from reid_core.data.manifest import Manifest, manifest_digest, read_manifest, unlabelled
from reid_core.errors import UserError
from reid_core.mesh.body import STATUSES
from reid_core.mesh.cache import MeshCache, open_mesh_cache
from reid_core.mesh.sheet import contact_sheet, save_sheet

_BINS = 10
_BAR = 40  # characters of the longest bar
_MANIFEST = "manifest.parquet"


def inspect_cache(folder: Path, out: Path, data: Path | None, *, rows: int, console: Console) -> None:
    """Print what a cache holds and write its contact sheet.

    Args:
        folder: ``mesh_cache`` itself, or a folder that holds it.
        out: Picture to write.
        data: Results of the data stage; None looks for the ones that the cache was made from.
        rows: Images on the sheet.
        console: For the tables, on standard output.
    """
    if (folder / "mesh_cache").is_dir():
        folder = folder / "mesh_cache"
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"--out wants a picture file such as sheet.png, but got {out}")
    check_writable(out, "choose another --out")
    manifest = None if data is None else read_manifest(data / _MANIFEST)
    cache = open_mesh_cache(folder, manifest=None if manifest is None else manifest_digest(manifest))
    console.print(_made_from(cache))
    console.print(_counts(cache))
    found = cache.available(cache.image_ids).numpy()
    console.print(_quartiles({name: cache.column(name)[found] for name in ("confidence", "mask_iou", "reprojection")}))
    console.print(_histogram(cache.column("confidence")))
    sheet = contact_sheet(cache, _files(manifest or _data_of(folder, cache)), rows)
    if sheet is None:
        console.print("no image has a mesh: there is no contact sheet to draw")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    save_sheet(sheet, out)
    mark_results(out.parent, [out.name])
    console.print(f"contact sheet: {out.absolute()}", soft_wrap=True, highlight=False)


def _made_from(cache: MeshCache) -> Table:
    info = cache.info
    table = Table(show_header=False)
    table.add_column()
    table.add_column()
    each = cache.num_bytes / max(1, len(cache))
    for name, value in (
        ("source", info.source),
        ("body mesh", info.topology or "none"),
        ("maps", f"{info.height} x {info.width}, 8 angles"),
        ("made for manifest", info.manifest),
        ("size", f"{cache.num_bytes / 1e6:,.1f} MB, {each:,.0f} bytes an image"),
    ):
        table.add_row(name, value)
    return table


def _counts(cache: MeshCache) -> Table:
    table = Table()
    table.add_column("status")
    table.add_column("images", justify="right")
    table.add_column("share", justify="right")
    statuses = cache.statuses()
    for status in STATUSES:
        if number := statuses.get(status):
            table.add_row(status, f"{number:,}", f"{number / len(cache):.1%}")
    table.add_row("all", f"{len(cache):,}", "100.0%")
    return table


def _quartiles(columns: Mapping[str, NDArray[np.float32]]) -> Table:
    table = Table(title="images with a mesh")
    table.add_column("")
    for heading in ("known", "lowest", "25 %", "median", "75 %", "highest"):
        table.add_column(heading, justify="right")
    for name, values in columns.items():
        known = values[np.isfinite(values)]
        numbers = np.quantile(known, [0, 0.25, 0.5, 0.75, 1]).tolist() if len(known) else []
        table.add_row(name, f"{len(known):,}", *(f"{number:.3f}" for number in numbers))
    return table


def _histogram(confidence: NDArray[np.float32]) -> Table:
    table = Table(title="confidence, all images")
    table.add_column("from")
    table.add_column("images", justify="right")
    table.add_column("")
    counts, edges = np.histogram(confidence, bins=_BINS, range=(0.0, 1.0))
    for count, edge in zip(counts.tolist(), edges.tolist(), strict=False):
        table.add_row(f"{edge:.1f}", f"{count:,}", "█" * round(_BAR * count / max(1, counts.max())))
    return table


def _files(manifest: Manifest | None) -> dict[str, Path]:
    if manifest is None:
        return {}
    images = unlabelled(manifest)
    return dict(zip(images.image_ids, images.paths, strict=True))


def _data_of(folder: Path, cache: MeshCache) -> Manifest | None:
    """Find the data stage's results beside those of the mesh stage, as the local store keeps them."""
    try:
        wanted = json.loads((folder.parent / COMPLETION_MARKER).read_text())["inputs"]["data"]
    except (OSError, ValueError, KeyError):
        return None
    for marker in folder.parent.parent.parent.glob(f"*/{folder.parent.name}/{COMPLETION_MARKER}"):
        try:
            if json.loads(marker.read_text())["fingerprint"] == wanted:
                manifest = read_manifest(marker.parent / _MANIFEST)
                return manifest if manifest_digest(manifest) == cache.info.manifest else None
        except (OSError, ValueError, KeyError):  # another stage that is being stored or removed
            continue
    return None
