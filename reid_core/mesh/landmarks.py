"""Landmarks of a person in a picture, by MediaPipe's pose and face networks. The only module that knows MediaPipe.

The pose network looks at a square of the picture. Pictures of people are cut out around them, so the first square is
simply the whole picture and something around it; MediaPipe's own detector, made for people anywhere in a photograph,
misses every tenth small crop, costs a third of the time and is only asked when the first look finds nobody.

MediaPipe's graphs do not survive a fork: each process builds its own.

Letters: h x w pixels of a picture, K = 33 landmarks of BlazePose.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]  # (h, w, 3), RGB
Array = NDArray[np.float64]

NUM_LANDMARKS = 33
# A landmark's partner on the other side of the body.
MIRRORED = np.array(
    [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9] + [side for pair in range(11, 33, 2) for side in (pair + 1, pair)]
)
POSE_PIXELS = 256  # what the pose network sees
FACE_PIXELS = 192  # what the face network sees
_DETECTOR_PIXELS = 448  # twice what the person detector sees

_POSE = """
num_threads: {threads}
input_stream: "IMAGE:image"
input_stream: "NORM_RECT:roi"
output_stream: "NORM_LANDMARKS:landmarks"
output_stream: "LANDMARKS:world"
output_stream: "MASK:mask"
input_side_packet: "model_complexity"
input_side_packet: "enable_segmentation"
node {{
  calculator: "PoseLandmarkByRoiCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "MODEL_COMPLEXITY:model_complexity"
  input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
  output_stream: "LANDMARKS:landmarks"
  output_stream: "WORLD_LANDMARKS:world"
  output_stream: "SEGMENTATION_MASK:soft_mask"
}}
node {{ calculator: "FromImageCalculator" input_stream: "IMAGE:soft_mask" output_stream: "IMAGE_CPU:mask" }}
"""
_PERSON = """
num_threads: {threads}
input_stream: "IMAGE:image"
output_stream: "DETECTIONS:people"
node {{ calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:people" }}
"""
_FACE = """
num_threads: {threads}
input_stream: "IMAGE:image"
output_stream: "DETECTIONS:faces"
node {{
  calculator: "FaceDetectionFullRange"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:faces"
  node_options {{ [type.googleapis.com/mediapipe.FaceDetectionOptions] {{ delegate {{ xnnpack {{}} }} }} }}
}}
"""
# The networks answer with a probability; what is worth a body is decided in estimate.py, so little is cut off here.
_LEAST_PRESENCE, _LEAST_PERSON, _LEAST_FACE = 0.1, 0.2, 0.02


class Square(NamedTuple):
    """A square of a picture in its pixels, from the upper left corner; it may reach beyond the picture."""

    center_x: float
    center_y: float
    side: float


class Look(NamedTuple):
    """Answer of the pose network about one square.

    Attributes:
        points: Landmarks in pixels of the picture, x and y, shape (K, 2).
        world: Landmarks in metres from the middle of the hips: right, down and away from the camera, shape (K, 3).
        visibility: Probability that a landmark is in the picture and not hidden, shape (K,).
        presence: Mean probability that landmarks are in the square at all: near 1 for a person, low for a wall.
        mask: Probability of the person in each cell of the square, shape (256, 256).
        square: Of the picture.
    """

    points: Array
    world: Array
    visibility: Array
    presence: float
    mask: NDArray[np.float32]
    square: Square


def look_at(picture: Picture, square: Square, *, mirrored: bool, num_threads: int) -> Look | None:
    """Find a person's landmarks in a square.

    Args:
        picture: 8-bit RGB, shape (h, w, 3).
        square: Where the person is; about 1.25 times the person's height is best.
        mirrored: Show the network the mirrored picture. The answer is turned back: it is about the true picture.
        num_threads: Of MediaPipe's graph.

    Returns:
        The look, None when the network sees nobody.
    """
    from mediapipe.framework.formats import rect_pb2

    pixels = cut(picture, square, POSE_PIXELS)
    if mirrored:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    whole = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0, rotation=0.0)
    answer = _networks(os.getpid(), num_threads).pose.process({"image": pixels, "roi": whole})
    if answer.landmarks is None or answer.world is None or answer.mask is None:
        return None
    flat = [[mark.x, mark.y, mark.visibility, mark.presence] for mark in answer.landmarks.landmark]
    marks = np.array(flat, dtype=np.float64)
    world = np.array([[mark.x, mark.y, mark.z] for mark in answer.world.landmark], dtype=np.float64)
    mask = np.array(answer.mask, dtype=np.float32)
    if mirrored:
        marks, world, mask = marks[MIRRORED], world[MIRRORED] * (-1.0, 1.0, 1.0), np.ascontiguousarray(mask[:, ::-1])
        marks[:, 0] = 1.0 - marks[:, 0]
    corner = (square.center_x - square.side / 2, square.center_y - square.side / 2)
    return Look(marks[:, :2] * square.side + corner, world, marks[:, 2], float(marks[:, 3].mean()), mask, square)


def find_person(picture: Picture, square: Square, *, num_threads: int) -> Square | None:
    """Ask the person detector where the most central person of a square is, as a square for ``look_at``."""
    pixels = cut(picture, square, _DETECTOR_PIXELS)
    people = _networks(os.getpid(), num_threads).person.process({"image": pixels}).people
    if not people:
        return None
    # Its first key point is the middle of the hips, its second says how far the body reaches around it.
    marks = np.array([[(mark.x, mark.y) for mark in person.location_data.relative_keypoints[:2]] for person in people])
    central = marks[np.argmin(np.linalg.norm(marks[:, 0] - 0.5, axis=1))]
    radius = float(np.linalg.norm(central[1] - central[0]))
    x, y = central[0] * square.side + (square.center_x - square.side / 2, square.center_y - square.side / 2)
    return Square(float(x), float(y), 2.5 * radius * square.side)


def face_score(picture: Picture, square: Square, *, reach: float, num_threads: int) -> float:
    """Score the surest face near the middle of a square, from 0 to 1.

    Args:
        picture: 8-bit RGB, shape (h, w, 3).
        square: With the head in its middle; the network is made for faces of a tenth of its picture.
        reach: How far from the middle a face may be, as a fraction of the side.
        num_threads: Of MediaPipe's graph.
    """
    faces = _networks(os.getpid(), num_threads).face.process({"image": cut(picture, square, FACE_PIXELS)}).faces
    best = 0.0
    for face in faces or []:
        box = face.location_data.relative_bounding_box
        x, y = box.xmin + box.width / 2 - 0.5, box.ymin + box.height / 2 - 0.5
        if max(abs(x), abs(y)) <= reach:
            best = max(best, float(face.score[0]))
    return best


def cut(picture: Picture, square: Square, pixels: int) -> Picture:
    """Cut a square out of a picture and resize it; beyond the picture its edge goes on.

    A flat frame would look like a wall to the networks, and reflections like a second person.
    """
    height, width = picture.shape[:2]
    left, top = square.center_x - square.side / 2, square.center_y - square.side / 2
    margins = [
        (max(0, int(np.ceil(-top)) + 1), max(0, int(np.ceil(top + square.side - height)) + 1)),
        (max(0, int(np.ceil(-left)) + 1), max(0, int(np.ceil(left + square.side - width)) + 1)),
        (0, 0),
    ]
    padded = Image.fromarray(np.pad(picture, margins, mode="edge"))
    left, top = left + margins[1][0], top + margins[0][0]
    box = (left, top, min(left + square.side, padded.width), min(top + square.side, padded.height))
    return np.asarray(padded.resize((pixels, pixels), Image.Resampling.BICUBIC, box=box))


class _Networks(NamedTuple):
    """MediaPipe's graphs: pose in a square, people in a picture, faces in a picture."""

    pose: Any
    person: Any
    face: Any


@lru_cache(maxsize=1)
def _networks(process: int, num_threads: int) -> _Networks:
    """Build the networks once a process; ``process`` keeps a forked child from using its parent's."""
    from mediapipe.framework.formats import rect_pb2

    # MediaPipe 0.10.14 calls what this protobuf calls deprecated, at every message.
    warnings.filterwarnings("ignore", message=r"SymbolDatabase\.GetPrototype", category=UserWarning)
    with _quiet():
        import mediapipe.modules.face_detection.face_detection_pb2  # noqa: F401  # names the options of _FACE
        from mediapipe.python.solution_base import SolutionBase

        networks = _Networks(
            SolutionBase(
                graph_config=_POSE.format(threads=num_threads),
                side_inputs={"model_complexity": 1, "enable_segmentation": True},
                outputs=["landmarks", "world", "mask"],
                calculator_params={
                    "poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold": (
                        _LEAST_PRESENCE
                    )
                },
            ),
            SolutionBase(
                graph_config=_PERSON.format(threads=num_threads),
                outputs=["people"],
                calculator_params={
                    "posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": _LEAST_PERSON,
                },
            ),
            SolutionBase(
                graph_config=_FACE.format(threads=num_threads),
                outputs=["faces"],
                calculator_params={
                    "facedetectionfullrange__facedetection__TensorsToDetectionsCalculator.min_score_thresh": _LEAST_FACE
                },
            ),
        )
        # Graphs start in threads of their own; after a first answer they have said all they have to say.
        black = np.zeros((FACE_PIXELS, FACE_PIXELS, 3), dtype=np.uint8)
        whole = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0, rotation=0.0)
        networks.pose.process({"image": black, "roi": whole})
        networks.person.process({"image": black})
        networks.face.process({"image": black})
    return networks


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MediaPipe's start-up notes off standard error.

    They are written by C++ to the file descriptor and no setting or environment variable of this version stops them,
    so the descriptor leads nowhere for the fraction of a second in which the graphs start.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
