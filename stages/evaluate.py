"""The evaluate stage: retrieval and clusters against the truth where the data set knows it, and pictures of both."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from reid_core.data.images import load_images
from reid_core.data.manifest import Manifest, read_manifest
from reid_core.evaluation.agreement import agreement
from reid_core.evaluation.plots.projection import MIN_IMAGES, choose_whole_people, draw_projection, project
from reid_core.evaluation.plots.ranked_lists import RankedLists, choose_queries, draw_ranked_lists, rank_and_list
from reid_core.evaluation.ranking import Ranking, Side, bootstrap_means, measure
from reid_core.evaluation.rerank import reranked_blocks
from reid_core.seeds import derive_seed, generator_for
from stages import cluster, identity, joint
from stages.embedding import embed_images
from stages.stage import Stage, StageConfig
from stages.training.clustering import read_pseudo_labels
from stages.truth import image_paths, labelled_side, train_people, why_not_ranked

# Stages whose encoders and pseudo labels are measured.
MEASURED = (identity.STAGE, cluster.STAGE, joint.STAGE)
ENCODERS = [(stage.name, encoder) for stage in MEASURED for encoder in stage.encoders]
HEADLINE = ENCODERS[-1][1].name


class EvaluateConfig(StageConfig):
    """Retrieval of the test people."""

    flip: bool = Field(False, description="Add the embedding of the mirrored image at test, as some peers do (ours).")
    mixed_precision: bool = Field(True, description="Embed in 16 bits on a GPU; a CPU always uses 32 (ours).")
    rerank: bool = Field(False, description="Add rows with k-reciprocal re-ranking (Zhong et al., CVPR 2017).")
    rerank_k1: int = Field(20, ge=1, le=1000, description="Neighbours of a reciprocal list, in images (Zhong et al.).")
    rerank_k2: int = Field(6, ge=1, le=1000, description="List entries that are averaged; 1 = off (Zhong et al.).")
    rerank_weight: float = Field(0.3, ge=0, le=1, description="Share of the original distance (Zhong et al.).")
    num_bootstrap_samples: int = Field(
        1000, ge=100, le=100_000, description="Draws of the queries behind each 95 % confidence interval (ours)."
    )
    list_length: int = Field(10, ge=1, le=100, description="Gallery images of a ranked list (ours).")
    num_queries_shown: int = Field(8, ge=1, le=100, description="Queries of each picture of ranked lists (ours).")
    num_images_mapped: int = Field(1000, ge=0, le=20_000, description="Test images of the t-SNE maps; 0: none (ours).")
    seed: int = Field(0, ge=0, lt=2**31, description="Of the queries drawn for pictures and intervals.")


def run(config: EvaluateConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Write ``metrics.json``; with identities and cameras also ``rankings.parquet`` and pictures."""
    manifest = read_manifest(inputs["data"] / "manifest.parquet")
    metrics: dict[str, Any] = {
        "dataset": manifest.info["dataset"],
        "version": manifest.info["version"],
        "layout": manifest.info["layout"],
        "train_split": manifest.info["train_split"],
        "rows": [],
        "camera_pairs": [],
        "clusters": _clusters(manifest, inputs),
        "skipped": why_skipped(manifest),
    }
    if metrics["skipped"] is None:
        tables = []
        for stage, encoder in ENCODERS:
            name = encoder.name
            query, gallery = _embed_sides(config, manifest, inputs[stage] / encoder.file, compute, name)
            ranking, lists = rank_and_list(query, gallery, length=config.list_length)
            metrics["rows"].append(_row(config, name, ranking))
            metrics["camera_pairs"] += _camera_pairs(name, ranking)
            tables.append(_rankings_table(name, manifest, ranking, lists))
            if config.rerank and name != "untrained":
                metrics["rows"].append(_row(config, f"{name} + re-ranking", _reranked(config, query, gallery)))
        pq.write_table(pa.concat_tables(tables), out_dir / "rankings.parquet")
        draw_lists(
            manifest,
            ranking.average_precision,
            lists,
            out_dir / "pictures",
            num_queries=config.num_queries_shown,
            seed=config.seed,
        )
        draw_maps(
            manifest,
            (query.features, gallery.features),
            out_dir / "pictures",
            num_images=config.num_images_mapped,
            seed=config.seed,
        )
    (out_dir / "metrics.json").write_text(json.dumps(metrics, indent=1))
    _summarise(metrics, out_dir, tracker)


def why_skipped(manifest: Manifest) -> str | None:
    """Return one sentence on why retrieval cannot be measured, or None when it can."""
    reason = why_not_ranked(manifest)
    return reason and f"Evaluation was skipped: {reason}"


def _embed_sides(
    config: EvaluateConfig, manifest: Manifest, weights: Path, compute: Compute, name: str
) -> tuple[Side, Side]:
    height, width = manifest.info["image_size"]
    query, gallery = manifest.split("query"), manifest.split("gallery")
    features = embed_images(
        weights,
        [*image_paths(query), *image_paths(gallery)],
        (height, width),
        compute,
        description=f"Embedding test images, {name}",
        flip=config.flip,
        mixed_precision=config.mixed_precision,
    )
    both = torch.from_numpy(features)  # (Q + G, D)
    return labelled_side(query, both[: len(query)]), labelled_side(gallery, both[len(query) :])


def _reranked(config: EvaluateConfig, query: Side, gallery: Side) -> Ranking:
    settings = {"k1": config.rerank_k1, "k2": config.rerank_k2}
    blocks = reranked_blocks(query.features, gallery.features, **settings, weight=config.rerank_weight)
    return measure(blocks, query, gallery)


def _row(config: EvaluateConfig, name: str, ranking: Ranking) -> dict[str, Any]:
    counted = np.isfinite(ranking.average_precision)
    values = np.stack([ranking.average_precision[counted], ranking.first_match[counted] <= 1], axis=1)
    low, high = bootstrap_means(
        100 * values,
        num_samples=config.num_bootstrap_samples,
        seed=derive_seed(config.seed, "evaluate", "bootstrap"),
    )
    return {
        "encoder": name,
        "mAP": 100 * ranking.mean_ap,
        **{f"rank{rank}": 100 * share for rank, share in ranking.cmc.items()},
        "mINP": 100 * ranking.mean_inp,
        "mAP_low": float(low[0]),
        "mAP_high": float(high[0]),
        "rank1_low": float(low[1]),
        "rank1_high": float(high[1]),
        "num_queries": ranking.num_queries,
        "skipped_queries": ranking.num_skipped,
    }


def _camera_pairs(name: str, ranking: Ranking) -> list[dict[str, Any]]:
    return [
        {
            "encoder": name,
            "query_camera": pair.query_camera,
            "gallery_camera": pair.gallery_camera,
            "mAP": 100 * pair.mean_ap,
            "rank1": 100 * pair.rank1,
            "num_queries": pair.num_queries,
        }
        for pair in ranking.camera_pairs
    ]


def _clusters(manifest: Manifest, inputs: Mapping[str, Path]) -> list[dict[str, Any]]:
    people = train_people(manifest)
    image_ids = manifest.split("train").table["image_id"].to_pylist()
    rows = []
    for stage in (stage.name for stage in MEASURED if stage.pseudo_labels):
        files = sorted((inputs[stage] / "pseudo_labels").glob("epoch-*.parquet"))
        if not files:
            continue
        names, labels = read_pseudo_labels(files[-1])
        assert list(names) == image_ids, f"{files[-1]} does not belong to this manifest"
        truth = None if people is None else agreement(labels, people)
        rows.append(
            {
                "stage": stage,
                "num_clusters": int(labels.max(initial=-1)) + 1,
                "num_outliers": int((labels < 0).sum()),
                "ari": truth and truth.ari,
                "nmi": truth and truth.nmi,
            }
        )
    return rows


def _rankings_table(name: str, manifest: Manifest, ranking: Ranking, lists: RankedLists) -> pa.Table:
    query_ids = np.array(manifest.split("query").table["image_id"].to_pylist())
    gallery_ids = np.array(manifest.split("gallery").table["image_id"].to_pylist())
    rows, ranks = np.nonzero(lists.gallery >= 0)
    return pa.table(
        {
            "encoder": [name] * len(rows),
            "query_id": query_ids[rows],
            "rank": pa.array(ranks + 1, pa.int32()),
            "gallery_id": gallery_ids[lists.gallery[rows, ranks]],
            "similarity": lists.similarity[rows, ranks],
            "match": lists.match[rows, ranks],
            # Null where the query has no true match in another camera.
            "average_precision": pa.array(ranking.average_precision[rows], from_pandas=True),
        }
    )


def _summarise(metrics: Mapping[str, Any], out_dir: Path, tracker: Tracker) -> None:
    summary: dict[str, Any] = {}
    for row in metrics["rows"]:
        encoder = row["encoder"].replace(" + ", "-")  # MLflow takes no plus sign
        summary |= {f"{encoder}/{name}": value for name, value in row.items() if name != "encoder"}
    for row in metrics["clusters"]:
        known = {name: value for name, value in row.items() if name != "stage" and value is not None}
        summary |= {f"{row['stage']}/{name}": value for name, value in known.items()}
    tracker.log_metrics(summary)
    if metrics["skipped"]:
        summary["skipped"] = metrics["skipped"]
    (out_dir / "summary.json").write_text(json.dumps(summary, indent=1))


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
    chosen = choose_whole_people(people, num_images, rng, distractors=manifest.info.get("distractors", ()))
    if min(num_images, len(chosen)) < MIN_IMAGES:
        return
    places = project(np.concatenate([side.numpy() for side in features])[chosen], seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    draw_projection(places, people[chosen].tolist(), kind="person").save(folder / "projection-people.png")
    draw_projection(places, cameras[chosen].tolist(), kind="camera", first=1).save(folder / "projection-cameras.png")


STAGE = Stage(
    name="evaluate",
    version=2,
    config=EvaluateConfig,
    needs=("data", *(stage.name for stage in MEASURED)),
    run=run,
    does="searches every query in the gallery and scores the ranking",
)
