"""The inner loop of an evaluation: where the true matches of each query stand, by counting what is nearer.

The rank of a true match is one plus the number of strangers that are nearer or as near plus the number of true matches
before it; nothing has to be sorted but the few true matches. Each row is read once, in the order of memory.

B: queries of a block, G: gallery images, C: cameras, P: people; people and cameras are counted from 0 here.
"""

from typing import NamedTuple

import numpy as np

from reid_core.compiled import compiled
from reid_core.threads import in_threads

_STEPS = 256  # of the table that replaces a search among the true matches; fits the fastest cache


class Gallery(NamedTuple):
    """Cameras of the gallery's images, and the images grouped by person.

    Attributes:
        cameras: Camera of each image, (G,) int32.
        start: Images of person p are ``members[start[p]:start[p + 1]]``, (P + 1,) int64.
        members: Images by person, (G,) int64.
        num_cameras: C.
    """

    cameras: np.ndarray
    start: np.ndarray
    members: np.ndarray
    num_cameras: int


class Scores(NamedTuple):
    """Quality of each query's ranking; NaN where there is no true match.

    Column 0 is for the whole gallery, column 1 + c for the images of camera c alone.

    Attributes:
        precision: Average precision, (B, 1 + C) float64.
        first: Rank of the first true match, from 1, (B, 1 + C) float64.
        last: Rank of the last true match in the whole gallery, from 1, (B,) float64.
        num_matches: True matches in the whole gallery, (B,) int64.
    """

    precision: np.ndarray
    first: np.ndarray
    last: np.ndarray
    num_matches: np.ndarray


def group_gallery(people: np.ndarray, cameras: np.ndarray, *, num_people: int, num_cameras: int) -> Gallery:
    """Group gallery images, whose people and cameras (G,) are counted from 0, by person."""
    start = np.zeros(num_people + 1, dtype=np.int64)
    np.cumsum(np.bincount(people, minlength=num_people), out=start[1:])
    members = np.argsort(people, kind="stable").astype(np.int64)
    return Gallery(cameras.astype(np.int32), start, members, num_cameras)


def score_block(
    similarity: np.ndarray, people: np.ndarray, cameras: np.ndarray, gallery: Gallery, *, num_threads: int
) -> Scores:
    """Score the rankings of a block of queries.

    Args:
        similarity: Of each query with each gallery image, the larger the nearer, (B, G) float32.
        people: Person of each query, (B,), whole numbers.
        cameras: Camera of each query, (B,), whole numbers.
        gallery: The gallery.
        num_threads: Threads among which the rows are divided.

    Returns:
        Scores; they do not depend on the number of threads.
    """
    size = len(similarity)
    assert similarity.shape == (size, len(gallery.cameras)), (similarity.shape, len(gallery.cameras))
    scores = Scores(
        np.full((size, 1 + gallery.num_cameras), np.nan),
        np.full((size, 1 + gallery.num_cameras), np.nan),
        np.full(size, np.nan),
        np.zeros(size, dtype=np.int64),
    )

    def work(start: int, stop: int) -> None:
        rows = slice(start, stop)
        labels = (people[rows].astype(np.int32), cameras[rows].astype(np.int32))
        _score_rows(similarity[rows], *labels, *gallery, *(column[rows] for column in scores))

    in_threads(work, size, num_threads)
    return scores


@compiled()
def _tabulate(values, size, table):  # type: ignore[no-untyped-def]
    """Divide the range of the falling ``values`` into equal steps and note where a search in each step begins.

    Entry b of ``table`` is the number of values whose step lies above b. The step of a number never falls when the
    number rises, also after rounding, so these values are all above any number of step b: beginning there is exact.

    Returns:
        Steps per unit of similarity.
    """
    steps = len(table)
    width = values[0] - values[size - 1]
    scale = np.float32(steps) / width if width > 0 else np.float32(0)
    if not np.isfinite(scale):
        scale = np.float32(0)
    above = 0
    for step in range(steps - 1, -1, -1):
        while above < size and _step(values[above], values[size - 1], scale, steps) > step:
            above += 1
        table[step] = above
    return scale


@compiled(inline="always")
def _step(value, lowest, scale, steps):  # type: ignore[no-untyped-def]
    return int(min((value - lowest) * scale, np.float32(steps - 1)))


@compiled(inline="always")
def _slot(value, values, size, table, scale):  # type: ignore[no-untyped-def]
    """Return the first index of the falling ``values`` whose entry is at most ``value``, which is at least the last."""
    slot = table[_step(value, values[size - 1], scale, len(table))]
    while values[slot] > value:
        slot += 1
    return slot


@compiled()
def _score_matches(before, is_counted, size):  # type: ignore[no-untyped-def]
    """Score one ranking from the strangers before each match.

    Args:
        before: Strangers that stand between a match and the one before it, (at least size,).
        is_counted: Which matches count, (at least size,); the others are passed over.
        size: Number of matches.

    Returns:
        Average precision, rank of the first match and of the last; the first is NaN when none counts.
    """
    strangers, num, first, position, total = 0, 0, 0, 0, 0.0
    for a in range(size):
        strangers += before[a]
        if is_counted[a]:
            num += 1
            position = strangers + num
            total += num / position
            if num == 1:
                first = position
    return (total / num if num else np.nan), first, position


@compiled()
def _score_rows(  # type: ignore[no-untyped-def]
    similarity, people, cameras, gallery_cameras, group_start, members, num_cameras,
    precision, first, last, num_matches,
):  # fmt: skip
    widest = 1
    for p in range(len(group_start) - 1):
        widest = max(widest, group_start[p + 1] - group_start[p])
    found = np.empty(widest, dtype=np.float32)
    found_camera = np.empty(widest, dtype=np.int32)
    values = np.empty(widest, dtype=np.float32)  # similarities of the true matches, falling
    value_cameras = np.empty(widest, dtype=np.int32)
    # Images of each camera that stand between a true match and the one before it.
    before = np.empty((widest, num_cameras), dtype=np.int64)
    table = np.empty(_STEPS, dtype=np.int32)
    for row in range(similarity.shape[0]):
        group = members[group_start[people[row]] : group_start[people[row] + 1]]
        size = 0
        for image in group:
            if gallery_cameras[image] != cameras[row]:
                found[size] = similarity[row, image]
                found_camera[size] = gallery_cameras[image]
                size += 1
        num_matches[row] = size
        if size == 0:
            continue
        order = np.argsort(-found[:size])
        for a in range(size):
            values[a] = found[order[a]]
            value_cameras[a] = found_camera[order[a]]
        before[:size] = 0
        scale = _tabulate(values, size, table)
        lowest = values[size - 1]
        for image in range(similarity.shape[1]):
            value = similarity[row, image]
            if value >= lowest:
                before[_slot(value, values, size, table, scale), gallery_cameras[image]] += 1
        for image in group:  # the person's own images, true matches or left out, stand in nobody's way
            value = similarity[row, image]
            if value >= lowest:
                before[_slot(value, values, size, table, scale), gallery_cameras[image]] -= 1
        is_counted = np.ones(size, dtype=np.bool_)
        precision[row, 0], first[row, 0], last[row] = _score_matches(before[:size].sum(axis=1), is_counted, size)
        for camera in range(num_cameras):
            is_counted = value_cameras[:size] == camera
            if is_counted.any():
                found_here = _score_matches(before[:, camera], is_counted, size)
                precision[row, 1 + camera], first[row, 1 + camera], _ = found_here
