"""The pipeline: a plain tuple of stages, and the checks of its entrance."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel

from stages import cluster, data, evaluate, generator, identity, joint, mesh, mesh_source, report
from stages.stage import Stage

STAGES: tuple[Stage, ...] = (
    data.STAGE,
    mesh.STAGE,
    identity.STAGE,
    generator.STAGE,
    cluster.STAGE,
    joint.STAGE,
    evaluate.STAGE,
    report.STAGE,
)


def check_data(config: BaseModel) -> None:
    """Refuse a data set that is unknown or not there, before any work."""
    assert isinstance(config, data.DataConfig)
    data.check(config)


def contents(configs: Mapping[str, BaseModel]) -> dict[str, Callable[[], str]]:
    """Return, for the stages that read from outside of the pipeline, the digest of what they read."""
    config, bodies = configs["data"], configs.get("mesh")
    assert isinstance(config, data.DataConfig)
    found = {"data": lambda: data.content_digest(config)}
    if isinstance(bodies, mesh.MeshConfig) and bodies.source in mesh_source.OUTSIDE:
        found["mesh"] = lambda: mesh_source.content_digest(bodies)
    return found


def read_by_workers(configs: Mapping[str, BaseModel]) -> list[Path]:
    """Return the folders and files of the configuration that workers open, so that every node must see them."""
    images, bodies = configs["data"], configs["mesh"]
    assert isinstance(images, data.DataConfig)
    assert isinstance(bodies, mesh.MeshConfig)
    found = [] if images.dataset == "synthetic" else [images.data_root or Path("data")]
    # The table of SMPL is read by the driver, which sends every worker its rows.
    given = {"smpl": bodies.smpl_model, "images": bodies.maps_dir}.get(bodies.source)
    weights = Path(str(getattr(configs["identity"], "weights", "none")))
    return [*found, *([given] if given else []), *([weights] if weights.is_file() else [])]
