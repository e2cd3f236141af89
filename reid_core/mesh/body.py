"""Bodies: the parametric model (shape and angles to vertices), and what is known of the bodies in a few images.

The only module that knows Anny, the body model. Anny parses its assets for most of a minute on its first use and keeps
the result in a folder of files that it writes in place; ``build_once`` makes that safe.

Letters: B bodies, V vertices, F faces, N images, H x W pixels of the guidance maps. A body stands on z up, faces -y and
has its left side at +x; metres.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor

from reid_core.errors import UserError
from reid_core.mesh.camera import Cameras

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions")
POSED_BONES = (
    "upperleg01.L",
    "upperleg01.R",
    "lowerleg01.L",
    "lowerleg01.R",
    "upperarm01.L",
    "upperarm01.R",
    "lowerarm01.L",
    "lowerarm01.R",
    "spine03",
    "neck01",
)
# From coarse to fine; the rasteriser's cost on a CPU grows with the faces.
Topology = Literal["notoes_collapse3pc", "notoes_collapse5pc", "notoes_collapse10pc", "anny"]
TOPOLOGIES = get_args(Topology)
# ok: there is a mesh. no_person: nobody was found. low_confidence: somebody, too unsure to be turned. unreadable: no
# picture. failed: the image ended its process twice. no_mesh: no source knows this image.
STATUSES = ("ok", "no_person", "low_confidence", "unreadable", "failed", "no_mesh")


class Reference(NamedTuple):
    """Bodies before they are posed, taken apart by what moves them (P = 1 + 10 parts: the trunk, ``POSED_BONES``).

    A vertex follows several parts. With ``G`` the turn of a part, ``h`` the joint it turns about and ``p`` where that
    joint went, linear blend skinning is: posed vertex = sum over parts of G moment + weight (p - G h).

    Attributes:
        moments: Position of each vertex times its weight for each part, shape (B, V, P, 3).
        weights: How much each vertex follows each part, summing to 1, shape (V, P).
        joints: Where ``POSED_BONES`` begin, shape (B, 10, 3).
        marks: Where the bones begin that were asked for, shape (B, K, 3).
    """

    moments: Tensor
    weights: Tensor
    joints: Tensor
    marks: Tensor


@dataclass(frozen=True)
class Body:
    """One topology of the body.

    Attributes:
        topology: One of ``TOPOLOGIES``.
        faces: Vertex indices, counter-clockwise seen from outside, shape (F, 3).
        canonical: Vertices of the neutral body in its rest pose (arms 45 degrees down), shape (V, 3). Clothes are
            functions of these, so that they fit every phenotype.
    """

    topology: str
    faces: Tensor
    canonical: Tensor
    model: Any

    def vertices(self, phenotypes: Tensor, angles_deg: Tensor) -> Tensor:
        """Shape and pose bodies.

        Args:
            phenotypes: Values in [0, 1] in the order of ``PHENOTYPES``, shape (B, 6).
            angles_deg: Turn of each bone of ``POSED_BONES`` about the body's x, y and z axes; z is applied first and
                x last, shape (B, 10, 3).

        Returns:
            Vertices in metres, shape (B, V, 3); the vertical axis through the pelvis is x = y = 0.
        """
        batch = phenotypes.shape[0]
        assert phenotypes.shape == (batch, len(PHENOTYPES)), phenotypes.shape
        assert angles_deg.shape == (batch, len(POSED_BONES), 3), angles_deg.shape
        turns = torch.eye(4).repeat(batch, len(POSED_BONES), 1, 1)
        turns[..., :3, :3] = euler_matrices(angles_deg)
        pose = {bone: turns[:, index] for index, bone in enumerate(POSED_BONES)}
        kinds = {name: phenotypes[:, index] for index, name in enumerate(PHENOTYPES)}
        with torch.no_grad():
            vertices: Tensor = self.model(pose_parameters=pose, phenotype_kwargs=kinds)["vertices"]
        return vertices

    def reference(self, phenotypes: Tensor, bones: Sequence[str]) -> Reference:
        """Shape bodies and take them apart, so that they can be posed without this model (see ``skeleton.py``).

        Args:
            phenotypes: Values in [0, 1] in the order of ``PHENOTYPES``, shape (B, 6).
            bones: Names of K bones whose beginnings are wanted.
        """
        kinds = {name: phenotypes[:, index] for index, name in enumerate(PHENOTYPES)}
        with torch.no_grad():
            out = self.model(phenotype_kwargs=kinds)
            # Anny keeps vertices in a rest pose of its own; turns start from the reference pose of its bones.
            turned = out["bone_poses"] @ torch.linalg.inv(out["rest_bone_poses"])  # (B, bones, 4, 4)
            rest = torch.nn.functional.pad(out["rest_vertices"], (0, 1), value=1.0)  # (B, V, 4)
            placed = torch.einsum("bnij,bvj->bvni", turned[:, :, :3], rest)  # (B, V, bones, 3)
            skin = self.model.dense_vertex_bone_weights  # (V, bones)
            member = torch.nn.functional.one_hot(self._parts(), 1 + len(POSED_BONES)).to(skin)  # (bones, P)
            moments = torch.einsum("bvni,vn,np->bvpi", placed, skin, member)
            heads = out["bone_poses"][:, :, :3, 3]
        labels = list(self.model.bone_labels)
        joints = heads[:, [labels.index(bone) for bone in POSED_BONES]]
        return Reference(moments, skin @ member, joints, heads[:, [labels.index(bone) for bone in bones]])

    def _parts(self) -> Tensor:
        """Return the part of each bone of the model: that of its nearest posed ancestor, shape (bones,)."""
        parts: list[int] = []
        for label, parent in zip(self.model.bone_labels, self.model.bone_parents, strict=True):
            inherited = parts[parent] if parent >= 0 else 0
            parts.append(1 + POSED_BONES.index(label) if label in POSED_BONES else inherited)
        return torch.tensor(parts)


@lru_cache(maxsize=2)
def load_body(topology: str) -> Body:
    """Build a body once per process.

    The first build on a machine takes most of a minute and fills a cache; later ones take a second or two. Everything
    it needs is inside the installed package: no network.
    """
    if topology not in TOPOLOGIES:
        raise UserError(f"mesh topology must be one of {', '.join(TOPOLOGIES)}, got {topology!r}; choose one of these")
    import anny  # here, because it takes a second to import

    folder = default_folder(anny.__version__)
    anny.paths.set_anny_cache_path(folder)
    # Plain torch skinning: Warp's would be compiled on first use and looks for a GPU with a warning.
    model = build_once(folder, topology, lambda: anny.Anny(topology=topology, skinning_method="lbs").float())
    rest = model()["rest_vertices"][0]
    faces = model.get_triangular_faces().long()
    return Body(topology, faces, rest.detach(), model)


def euler_matrices(angles_deg: Tensor) -> Tensor:
    """Return Rx Ry Rz of angles about x, y and z in degrees: shape (..., 3) to (..., 3, 3)."""
    sine, cosine = angles_deg.deg2rad().sin(), angles_deg.deg2rad().cos()
    (sx, sy, sz), (cx, cy, cz) = sine.unbind(-1), cosine.unbind(-1)
    rows = [
        [cy * cz, -cy * sz, sy],
        [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
        [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


@dataclass(frozen=True)
class Bodies:
    """Bodies of N images. Rows whose status is not ``ok`` hold zeros.

    Attributes:
        status: One of ``STATUSES`` for each image, N of them.
        confidence: From 0 to 1; 1 for the truth, shape (N,).
        phenotypes: In the order of ``PHENOTYPES``, shape (N, 6).
        angles_deg: Turns of ``POSED_BONES``, shape (N, 10, 3).
        cameras: Fields of shape (N,).
        masks: The person that was seen in the image, 0 or 255 (or soft between), at the size of the guidance maps,
            uint8, shape (N, H, W); None where nobody looked.
        mask_iou: Intersection over union of the rendered silhouette and the mask, nan where unknown, shape (N,).
        reprojection: Mean distance of the projected joints from the landmarks that were seen, as a fraction of the
            person's height, nan where unknown, shape (N,).
    """

    status: tuple[str, ...]
    confidence: Tensor
    phenotypes: Tensor
    angles_deg: Tensor
    cameras: Cameras
    masks: Tensor | None
    mask_iou: Tensor
    reprojection: Tensor

    def __len__(self) -> int:
        return len(self.status)

    @property
    def found(self) -> Tensor:
        """True where there is a mesh, shape (N,)."""
        return torch.tensor([status == "ok" for status in self.status], dtype=torch.bool)

    def spread(self, known: Tensor, status: str) -> "Bodies":
        """Put these bodies back among all N images that they were chosen from.

        Args:
            known: True at the images that these bodies belong to, in their order, shape (N,).
            status: Of the others.
        """
        assert int(known.sum()) == len(self), (int(known.sum()), len(self))
        own = iter(self.status)
        empty = no_bodies([next(own) if is_known else status for is_known in known.tolist()])

        def place(values: Tensor, around: Tensor) -> Tensor:
            around[known] = values
            return around

        masks = self.masks
        return Bodies(
            status=empty.status,
            confidence=place(self.confidence, empty.confidence),
            phenotypes=place(self.phenotypes, empty.phenotypes),
            angles_deg=place(self.angles_deg, empty.angles_deg),
            cameras=Cameras(*(place(*pair) for pair in zip(self.cameras, empty.cameras, strict=True))),
            masks=None if masks is None else place(masks, masks.new_zeros(len(known), *masks.shape[1:])),
            mask_iou=place(self.mask_iou, empty.mask_iou),
            reprojection=place(self.reprojection, empty.reprojection),
        )


def no_bodies(status: Sequence[str]) -> Bodies:
    """Return N rows without a body, each with its reason."""
    unknown = sorted(set(status) - set(STATUSES))
    assert not unknown, unknown
    count = len(status)
    return Bodies(
        status=tuple(status),
        confidence=torch.zeros(count),
        phenotypes=torch.zeros(count, len(PHENOTYPES)),
        angles_deg=torch.zeros(count, len(POSED_BONES), 3),
        cameras=Cameras(*(torch.zeros(count) for _ in Cameras._fields)),
        masks=None,
        mask_iou=torch.full((count,), float("nan")),
        reprojection=torch.full((count,), float("nan")),
    )


def default_folder(version: str) -> Path:
    """Return the folder of this user's cache for one version of Anny."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "genvar" / f"anny-{version}"


def build_once(folder: Path, name: str, build: Callable[[], T]) -> T:
    """Call ``build``, alone if it is the first successful call under this name on this machine.

    Two workers that start together, or a process killed meanwhile, would leave a broken file that every later run trips
    over. Here one process builds while the others wait, and the files of a killed one are thrown away.

    Args:
        folder: Read and filled by ``build``.
        name: Of the thing to build.
        build: Quick when ``folder`` holds its files, else slow and writing.

    Returns:
        The result of ``build``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} should keep what the body model computes on its first use, but cannot be made ({error}); "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    ready, building = folder / f"{name}.ready", folder / "building"
    with _locked(folder, fcntl.LOCK_SH):
        if ready.exists():
            return build()
    with _locked(folder, fcntl.LOCK_EX):
        if building.exists():  # its process was killed: any file may be half written
            _empty(folder)
        if ready.exists():
            return build()
        _LOG.info("building the body model %s for the first time on this machine: up to a minute", name)
        building.touch()
        result = build()
        ready.touch()
        building.unlink()
        return result


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """Hold the folder's lock; the system releases it when a process dies."""
    with folder.with_suffix(folder.suffix + ".lock").open("a") as file:
        fcntl.flock(file, kind)
        yield


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
