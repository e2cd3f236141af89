"""Finding a data set's images again under the names that another program gave them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from reid_core.errors import UserError


def match_names(names: Sequence[str], images: Sequence[Path], *, where: str) -> list[int | None]:
    """Find the name of every image.

    A name matches when it is the image's file name, whatever its suffix. Of several that match, the one that agrees in
    most of the folders above wins: ``query/a.png`` for ``.../query/a.jpg``.

    Args:
        names: File names or paths, relative or of another machine.
        images: Files to be found.
        where: What holds the names, for the sentence of an error.

    Returns:
        Index into ``names`` of every image, None where no name matches.
    """
    known: dict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
    for index, name in enumerate(names):
        path = PurePosixPath(name.replace("\\", "/"))
        known[path.stem].append((path.parent.parts, index))
    return [_best(known.get(image.stem, []), image, where) for image in images]


def _best(candidates: Sequence[tuple[tuple[str, ...], int]], image: Path, where: str) -> int | None:
    if len(candidates) <= 1:
        return candidates[0][1] if candidates else None
    folders = image.parent.parts
    scores = [_common_tail(parts, folders) for parts, _ in candidates]
    best = max(scores)
    if scores.count(best) > 1:
        raise UserError(
            f"{where} should name every image once, but {scores.count(best)} of its names match {image}; "
            "write the folder of the image before the file name, as the data set has it"
        )
    return candidates[scores.index(best)][1]


def _common_tail(first: Sequence[str], second: Sequence[str]) -> int:
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count
