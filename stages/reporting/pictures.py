"""Pictures of the stages, embedded into the page with a sentence on what to look for."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LARGEST_PNG_BYTES = 600_000  # above this a picture is embedded as JPEG, so that a report can be sent by mail
LARGEST_SIDE = 2400  # pixels
PAGE_WIDTH = 1100  # pixels of the page that a laptop shows
LARGEST_PIXELS = 200_000_000  # an image that claims more is not opened

# What to look for, by words of the file's name; the first line whose words are all there is taken.
CAPTIONS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("mix",),
        "Two people mixed",
        "Clothes and colours should blend while the outline stays that of one body (D-mixup); plain mixup lays two "
        "ghost silhouettes over each other, and F-mixup mixes pose and clothes alike.",
    ),
    (
        ("rotation",),
        "The same person from other sides",
        "Each row is one person. Colours and trousers should stay while the body turns by the angle of the column; "
        "turned back, it should be the first picture again.",
    ),
    (
        ("grid",),
        "What the generator makes",
        "Each row is one person: input, body, reconstruction, the rotations, turned back. The reconstruction should "
        "show the input's colours and pose, and the rotations the same clothes on a turned body.",
    ),
    (
        ("generated",),
        "What the generator makes",
        "Each row is one person: input, body, reconstruction, the rotations, turned back. The reconstruction should "
        "show the input's colours and pose, and the rotations the same clothes on a turned body.",
    ),
    (
        ("best",),
        "Ranked lists: the best queries",
        "The query stands left, then its nearest gallery images; a true match is framed and marked by a word. "
        "These are the easy cases: ask whether clothes or background make them easy.",
    ),
    (
        ("worst",),
        "Ranked lists: the worst queries",
        "The query stands left, then its nearest gallery images. Look at what confuses the encoder: the same "
        "clothes, the same background, or a side of the person that it never saw.",
    ),
    (
        ("rank",),
        "Ranked lists",
        "The query stands left, then its nearest gallery images; a true match is framed and marked by a word. "
        "Random queries, so this is what to expect of a search.",
    ),
    (
        ("largest",),
        "The largest clusters",
        "Each row is one pseudo label. One person a row is right; a row that several people share is what the "
        "contrast learns wrongly.",
    ),
    (
        ("mixed",),
        "The most mixed clusters",
        "Each row is one pseudo label that holds several identities. Look for what they share: clothes, camera, pose.",
    ),
    (
        ("outlier",),
        "Outliers",
        "Images that no cluster took; they are left out of the epoch. Expect rare sides, occlusion and blur.",
    ),
    (("cluster",), "Clusters", "Each row is one pseudo label. One person a row is right."),
    (
        ("mesh",),
        "Bodies",
        "Each person beside the body that was placed into the picture, and the body turned. The outline should cover "
        "the person, and the front should be the front.",
    ),
    (
        ("guidance",),
        "Bodies",
        "Each person beside the body that was placed into the picture, and the body turned. The outline should cover "
        "the person, and the front should be the front.",
    ),
    (
        ("people",),
        "The people",
        "A sample of the images. One row is one person, seen by different cameras and mostly from different sides.",
    ),
    (("sample",), "A sample of the images", "What the encoder learns from."),
)


@dataclass(frozen=True)
class Picture:
    """A picture to be shown.

    Attributes:
        stage: Stage that drew it.
        title: What it shows.
        caption: What to look for.
        source: Data URI, or empty when the file could not be read.
        width: How wide it is shown, in pixels of the page; small pictures twice as large as they are.
        wide: Whether it is much wider than high, so that a phone scrolls it.
        problem: Why there is no source.
    """

    stage: str
    title: str
    caption: str
    source: str
    width: int = 0
    wide: bool = False
    problem: str = ""


def picture(stage: str, path: Path) -> Picture:
    """Embed one picture; a file that cannot be read becomes a sentence in its place."""
    title, caption = caption_for(path.stem)
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > LARGEST_PIXELS:
                return Picture(stage, title, caption, "", problem=f"{path.name} is too large to be shown")
            image.load()
            kind, content = smaller(image, content)
            width = image.width * 2 if image.width * 2 <= PAGE_WIDTH else image.width
            wide = image.width > 1.6 * image.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Picture(stage, title, caption, "", problem=f"{path.name} could not be read ({error})")
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Picture(stage, title, caption, source, width, wide)


def smaller(image: Image.Image, content: bytes) -> tuple[str, bytes]:
    """Return format and bytes of a picture, encoded again as JPEG when it is large."""
    if len(content) <= LARGEST_PNG_BYTES:
        return "png", content
    reduced = image.convert("RGB")
    reduced.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    reduced.save(buffer, "JPEG", quality=88)
    return "jpeg", buffer.getvalue()


def caption_for(stem: str) -> tuple[str, str]:
    """Return title and caption for a picture's file name."""
    words = stem.lower().replace("-", "_")
    for needed, title, caption in CAPTIONS:
        if all(word in words for word in needed):
            return title, caption
    return stem.replace("_", " ").replace("-", " ").capitalize(), ""
