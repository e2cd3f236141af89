"""The pictures of a finished evaluation: what the numbers look like."""

from pathlib import Path

import numpy as np
from torch import Tensor

from reid_core.data.images import load_images
from reid_core.data.manifest import Manifest
from reid_core.evaluation.projection import MIN_IMAGES, choose_whole_people, draw_projection, project
from reid_core.evaluation.ranked_lists import RankedLists, choose_queries, draw_ranked_lists
from reid_core.seeds import derive_seed, generator_for
from stages.truth import image_paths


def draw_lists(
    manifest: Manifest,
    average_precision: np.ndarray,
    lists: RankedLists,
    folder: Path,
    *,
    num_queries: int,
    seed: int,
) -> None:
    """Write ``ranked-lists-random.png``, ``-best`` and ``-worst``: queries beside the first of their gallery.

    Args:
        manifest: With persons and cameras of query and gallery.
        average_precision: Of every query, (Q,), NaN where it has no true match.
        lists: First gallery images of every query.
        folder: Is created.
        num_queries: Rows of each picture.
        seed: Draws the random queries.
    """
    size = (manifest.info["image_size"][0], manifest.info["image_size"][1])
    query, gallery = manifest.split("query"), manifest.split("gallery")
    query_paths, gallery_paths = image_paths(query), image_paths(gallery)
    query_cameras, gallery_cameras = (side.table["camera_id"].to_numpy() for side in (query, gallery))
    generator = generator_for(seed, "evaluate", "random queries")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose_queries(average_precision, num_queries, generator)
    for kind, rows in chosen.items():
        listed = [lists.gallery[row][lists.gallery[row] >= 0] for row in rows]
        picture = draw_ranked_lists(
            load_images([query_paths[row] for row in rows], size),
            [load_images([gallery_paths[i] for i in one], size) for one in listed],
            match=lists.match[rows],
            cameras=(query_cameras[rows], [gallery_cameras[one] for one in listed]),
            titles=[f"average precision {100 * average_precision[row]:.0f} %" for row in rows],
        )
        picture.save(folder / f"ranked-lists-{kind}.png")


def draw_maps(manifest: Manifest, features: tuple[Tensor, Tensor], folder: Path, *, num_images: int, seed: int) -> None:
    """Write ``projection-people.png`` and ``projection-cameras.png``: test images that are alike lie together.

    Args:
        manifest: With persons and cameras of query and gallery.
        features: L2-normalised embeddings of the queries, (Q, D), and of the gallery, (G, D).
        folder: Is created.
        num_images: Most images on the map; people are kept whole. Fewer than 5: no map.
        seed: Draws the people, and where the descent begins.
    """
    sides = [manifest.split(name).table for name in ("query", "gallery")]
    people, cameras = (np.concatenate([side[name].to_numpy() for side in sides]) for name in ("person_id", "camera_id"))
    rng = np.random.default_rng(derive_seed(seed, "evaluate", "map"))
    chosen = choose_whole_people(people, num_images, rng)
    if min(num_images, len(chosen)) < MIN_IMAGES:
        return
    places = project(np.concatenate([side.numpy() for side in features])[chosen], seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    draw_projection(places, people[chosen].tolist(), kind="person").save(folder / "projection-people.png")
    draw_projection(places, cameras[chosen].tolist(), kind="camera", first=1).save(folder / "projection-cameras.png")
