"""A finished pipeline of a few rendered people, without the training: networks keep the weights they were born with."""

import shutil
from pathlib import Path

import numpy as np

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.data.manifest import read_manifest
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import identity_header, network_header, save_weights
from reid_core.seeds import initialised
from stages import data, mesh
from stages.data import DataConfig
from stages.training.clustering import write_pseudo_labels

SIZE = (64, 32)


def finished_people(root: Path, compute: LocalCompute) -> dict[str, Path]:
    """Fill the folders of data, mesh and joint, and return them by name."""
    folders = {name: root / name / "out" for name in ("data", "mesh", "joint")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    people = SyntheticSettings(num_train_people=3, num_test_people=2, images_per_person=5, num_cameras=2)
    config = DataConfig(image_height=SIZE[0], image_width=SIZE[1], synthetic=people)
    data.run(config, {}, folders["data"], compute, SilentTracker())
    settings = mesh.MeshConfig(topology="notoes_collapse3pc")
    mesh.run(settings, {"data": folders["data"]}, folders["mesh"], compute, SilentTracker())
    shutil.rmtree(root / "mesh" / "scratch", ignore_errors=True)
    fill_joint(folders["joint"], read_manifest(folders["data"] / "manifest.parquet").split("train").table["image_id"])
    return folders


def fill_joint(folder: Path, image_ids: object) -> None:
    """Write what joint training leaves: both networks, and pseudo labels of two clusters and an outlier."""
    encoder = initialised(lambda: IdentityEncoder("resnet10"), 0)
    generator = initialised(lambda: Generator(8, part_dim=512, num_blocks=1, norm="none"), 0)
    save_weights(encoder, folder / "identity.safetensors", identity_header(encoder, SIZE))
    save_weights(generator, folder / "generator.safetensors", network_header(generator, SIZE))
    names = [str(name) for name in image_ids]  # type: ignore[attr-defined]
    labels = np.arange(len(names)) % 2
    labels[0] = -1
    write_pseudo_labels(folder / "pseudo_labels" / "epoch-0000.parquet", names, labels)
