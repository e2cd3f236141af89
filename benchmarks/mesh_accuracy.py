"""Accuracy of estimated bodies: real crops, real people of known orientation, rendered people, and the time it takes.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mesh_accuracy crops FOLDER      (any pictures of people)
     OMP_NUM_THREADS=1 python -m benchmarks.mesh_accuracy oriented FOLDER   (PPPP_cCs1_00000O_NN.jpg, O from 1 to 8)
     OMP_NUM_THREADS=1 python -m benchmarks.mesh_accuracy rendered          (210 rendered people, three heights)
     OMP_NUM_THREADS=1 python -m benchmarks.mesh_accuracy cost FOLDER

Orientations are used here and nowhere else. Same input, same figures.
"""

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard
from reid_core.mesh.body import PHENOTYPES, POSED_BONES, Bodies, euler_matrices, load_body
from reid_core.mesh.estimate import estimate_bodies, gather
from reid_core.mesh.fit import fit_bodies
from reid_core.mesh.landmarks import Picture
from reid_core.mesh.observe import observe
from reid_core.mesh.skeleton import load_skeleton
from reid_core.mesh.sources import read_truth

SIZE, TOPOLOGY, CPU = (128, 64), "notoes_collapse10pc", torch.device("cpu")
BATCH = 64
NAME = re.compile(r"\d+_c(\d)s\d_0*([1-8])_")
# Joints of which PA-MPJPE is the mean: limbs, neck and head.
JOINTS = ("upperleg01", "lowerleg01", "foot", "upperarm01", "lowerarm01", "wrist")


def read(paths: Sequence[Path]) -> list[Picture]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def estimate(paths: Sequence[Path]) -> list[Bodies]:
    return [
        estimate_bodies(read(paths[start : start + BATCH]), size=SIZE, topology=TOPOLOGY, device=CPU, num_threads=1)
        for start in range(0, len(paths), BATCH)
    ]


def joined(parts: Sequence[Bodies], field: Callable[[Bodies], Tensor]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = torch.cat([field(part) for part in parts]).double().numpy()
    return values


def describe(parts: Sequence[Bodies]) -> NDArray[np.bool_]:
    """Print what every set of pictures has; return where there is a mesh."""
    statuses = Counter(status for part in parts for status in part.status)
    found = joined(parts, lambda part: part.found) > 0
    iou, off = joined(parts, lambda part: part.mask_iou)[found], joined(parts, lambda part: part.reprojection)[found]
    print(f"images {len(found)}  ok {100 * found.mean():.1f} %  {dict(statuses)}")
    print(f"IoU with the mask: median {np.median(iou):.3f}, 5th percentile {np.percentile(iou, 5):.3f}")
    print(
        f"landmarks off by {100 * off.mean():.2f} % of the height on average, 95th percentile "
        f"{100 * np.percentile(off, 95):.2f} %"
    )
    return found


def wrapped(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (degrees + 180.0) % 360.0 - 180.0
    return result


def yaw_line(label: str, error: NDArray[np.float64]) -> None:
    size = np.abs(error)
    print(
        f"{label:24} {len(size):5}  median {np.median(size):5.1f}  within 45: {100 * np.mean(size <= 45):5.1f} %  "
        f"front-back: {100 * np.mean(size > 135):4.1f} %"
    )


def crops(folder: Path) -> None:
    describe(estimate(sorted(folder.rglob("*.jpg"))))


def oriented(folder: Path) -> None:
    paths = [path for path in sorted(folder.rglob("*.jpg")) if NAME.match(path.name)]
    marks = [match.groups() for path in paths if (match := NAME.match(path.name))]
    camera, side = (np.array([int(mark[place]) for mark in marks]) for place in (0, 1))
    parts = estimate(paths)
    found = describe(parts)
    azimuth = joined(parts, lambda part: part.cameras.azimuth_deg)
    error = wrapped(azimuth - 45.0 * side)
    for number in np.unique(camera):
        # One constant a camera: the circular mean of what is between the names' zero and the camera's.
        rows = found & (camera == number)
        offset = np.rad2deg(np.angle(np.exp(1j * np.deg2rad(error[rows])).mean()))
        error[camera == number] = wrapped(error[camera == number] - offset)
        yaw_line(f"camera {number} (offset {offset:.0f})", error[rows])
    yaw_line("both", error[found])
    for number in np.unique(camera):
        for turn in range(1, 9):
            yaw_line(f"camera {number} orientation {turn}", error[found & (camera == number) & (side == turn)])


def rendered(_: Path) -> None:
    for height in (64, 128, 256):
        settings = SyntheticSettings(
            num_train_people=20,
            num_test_people=1,
            image_height=height,
            image_width=height // 2,
            seed=7,
            topology="notoes_collapse10pc" if height > 64 else "notoes_collapse5pc",
        )
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for shard in (shards := plan_shards(settings, folder)):
                render_shard(shard)
            finish(shards, folder)
            _rendered_set(folder, height)


def _rendered_set(folder: Path, height: int) -> None:
    table = pq.read_table(folder / "truth.parquet", columns=["path", "camera_id"])
    paths = [folder / "images" / path for path in table["path"].to_pylist()]
    camera = np.array(table["camera_id"].to_pylist())
    truth, parts = read_truth(folder / "truth.parquet", paths), estimate(paths)
    print(f"\n{height} px")
    found = describe(parts)
    error = wrapped(joined(parts, lambda part: part.cameras.azimuth_deg) - truth.cameras.azimuth_deg.double().numpy())
    away = _pa_mpjpe(
        torch.cat([part.phenotypes for part in parts]), torch.cat([part.angles_deg for part in parts]), truth
    )
    for number in np.unique(camera):
        rows = found & (camera == number)
        yaw_line(f"camera {number}", error[rows])
        print(f"{'':30} PA-MPJPE {away[rows].mean():.0f} mm")
    yaw_line("all", error[found])
    right = found & (np.abs(error) <= 135)
    print(f"PA-MPJPE {away[found].mean():.0f} mm, {away[right].mean():.0f} mm without front-back confusions")


def _pa_mpjpe(kinds: Tensor, angles: Tensor, truth: Bodies) -> NDArray[np.float64]:
    """Mean distance of Anny's joints after the best similarity transform, millimetres, shape (N,)."""
    found, true = _joints(kinds, angles), _joints(truth.phenotypes, truth.angles_deg)
    one, other = found - found.mean(dim=1, keepdim=True), true - true.mean(dim=1, keepdim=True)
    left, strength, right = torch.linalg.svd(one.transpose(1, 2) @ other)
    handed = torch.ones(len(found), 3)
    handed[:, 2] = torch.sign(torch.linalg.det(left @ right))
    scale = (strength * handed).sum(dim=1) / one.square().sum(dim=(1, 2))
    moved = scale[:, None, None] * (one @ left @ torch.diag_embed(handed) @ right)
    distance: NDArray[np.float64] = 1000.0 * (moved - other).norm(dim=-1).mean(dim=1).double().numpy()
    return distance


def _joints(kinds: Tensor, angles: Tensor) -> Tensor:
    """Return where bones of posed bodies begin, shape (N, 14, 3)."""
    model = load_body(TOPOLOGY).model
    labels = list(model.bone_labels)
    names = [f"{joint}.{side}" for joint in JOINTS for side in "LR"] + ["neck01", "head"]
    turns = torch.eye(4).repeat(*angles.shape[:2], 1, 1)
    turns[..., :3, :3] = euler_matrices(angles)
    with torch.no_grad():
        poses: Tensor = model(
            pose_parameters={bone: turns[:, index] for index, bone in enumerate(POSED_BONES)},
            phenotype_kwargs={name: kinds[:, index] for index, name in enumerate(PHENOTYPES)},
        )["bone_poses"]
    return poses[:, [labels.index(name) for name in names], :3, 3]


def cost(folder: Path) -> None:
    """Time of MediaPipe alone (as its users call it) against estimation and fit, processor seconds of one thread."""
    from mediapipe.python.solutions.pose import Pose  # type: ignore[import-untyped, unused-ignore]

    torch.set_num_threads(1)
    pictures = read(sorted(folder.rglob("*.jpg"))[:BATCH])
    framed = [np.asarray(Image.fromarray(_square(picture)).resize((512, 512))) for picture in pictures]
    pose = Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True, min_detection_confidence=0.2)
    alone = _seconds(lambda: [pose.process(picture) for picture in framed])
    skeleton, people = load_skeleton(CPU), [seen for seen in (observe(p, num_threads=1) for p in pictures) if seen]
    looks = _seconds(lambda: [observe(picture, num_threads=1) for picture in pictures])
    fits = _seconds(lambda: fit_bodies(skeleton, gather(people)[0]))
    whole = _seconds(lambda: estimate_bodies(pictures, size=SIZE, topology=TOPOLOGY, device=CPU, num_threads=1))
    count = len(pictures)
    for label, seconds in (("MediaPipe alone", alone), ("looks and face", looks), ("fit", fits), ("all", whole)):
        print(f"{label:16} {1000 * seconds / count:6.1f} ms an image, {seconds / alone:.2f} x MediaPipe alone")


def _square(picture: Picture) -> Picture:
    side = round(1.6 * max(picture.shape[:2]))
    top, left = (side - picture.shape[0]) // 2, (side - picture.shape[1]) // 2
    margins = ((top, side - picture.shape[0] - top), (left, side - picture.shape[1] - left), (0, 0))
    return np.pad(picture, margins, mode="edge")


def _seconds(work: Callable[[], object]) -> float:
    """Processor time of a call, the best of three after one for warming up."""
    work()
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    commands = {"crops": crops, "oriented": oriented, "rendered": rendered, "cost": cost}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=commands)
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    commands[chosen.what](chosen.folder)


if __name__ == "__main__":
    main()
