"""Pictures of the stages, embedded into the page with a sentence on what to look for."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LARGEST_PNG_BYTES = 200_000  # above this a picture is embedded as JPEG, so that a report can be sent by mail
LARGEST_SIDE = 2400  # pixels
PAGE_WIDTH = 1100  # pixels of the page that a laptop shows
PAGE_HEIGHT = 1600  # pixels; a picture that would become taller is not shown twice as large
LARGEST_PIXELS = 200_000_000  # an image that claims more is not opened

# Title of a picture and what to look for, by the name of its file.
CAPTIONS = {
    "generator-grid": (
        "What the generator makes",
        "One person a row: input, body, reconstruction, the seven rotations, and one of them turned back. The "
        "reconstruction should show the input's colours and pose, the rotations the same clothes on a body turned by "
        "the angle above.",
    ),
    "generator-grid-without-mesh": (
        "What the generator makes",
        "One person a row: input, its edges in place of a body, reconstruction. Without a mesh nothing can be turned, "
        "so the columns of rotations repeat the reconstruction.",
    ),
    "mixing-grid": (
        "Two people mixed",
        "With D-mixup clothes and colours blend while the outline stays that of one body. Plain mixup, for comparison, "
        "lays two ghost silhouettes over each other, and F-mixup mixes pose and clothes alike.",
    ),
    "ranked-lists-random": (
        "Ranked lists of random queries",
        "The query, then its nearest gallery images; a true match is framed and marked by a word. This is what to "
        "expect of a search.",
    ),
    "ranked-lists-best": (
        "Ranked lists of the best queries",
        "The easy cases. Ask what makes them easy: the clothes, or the background?",
    ),
    "ranked-lists-worst": (
        "Ranked lists of the worst queries",
        "What confuses the encoder: the same clothes, the same background, or a side of the person it never saw.",
    ),
    "projection-people": (
        "The test images on a map, coloured by person",
        "t-SNE of the embeddings: images that the encoder finds alike lie together. Islands of one colour are right; "
        "a colour in several islands is a person whose sides or cameras the encoder keeps apart.",
    ),
    "projection-cameras": (
        "The test images on a map, coloured by camera",
        "The same map. Colours should be mixed within every island: islands of one colour say that the encoder sees "
        "the camera before the person.",
    ),
    "cluster-sizes": (
        "Sizes of the clusters",
        "How many pseudo labels have how many images. One bar far to the right is a cluster that swallowed others.",
    ),
    "clusters-largest": (
        "The largest clusters",
        "One pseudo label a row. One person a row is right; a row of several people is what contrast learns wrongly.",
    ),
    "clusters-most-mixed": (
        "The most mixed clusters",
        "The pseudo labels whose images are least alike. Several people in a row share what the encoder looks at: "
        "clothes, camera, pose.",
    ),
    "clusters-outliers": (
        "Outliers",
        "Images that no cluster took; they are left out of an epoch. Expect rare sides, occlusion and blur.",
    ),
    "guidance": (
        "Bodies",
        "People, the body laid over them in green, and the body turned step by step. The green should cover the "
        "person, and the body should face where the person faces.",
    ),
    "people": ("The people", "One person a row, in several cameras, and mostly from different sides."),
    "sample": ("A sample of the images", "What the encoder learns from."),
}


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


def picture(stage: str, path: Path, *, kind: str) -> Picture:
    """Embed one picture; a file that cannot be read becomes a sentence in its place.

    Args:
        stage: Stage that drew it.
        path: The file.
        kind: What it shows: a key of ``CAPTIONS``, or any name.
    """
    title, caption = caption_for(kind)
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > LARGEST_PIXELS:
                return Picture(stage, title, caption, "", problem=f"{path.name} is too large to be shown")
            image.load()
            kind, content = smaller(image, content)
            has_room = image.width * 2 <= PAGE_WIDTH and image.height * 2 <= PAGE_HEIGHT
            width = image.width * (2 if has_room else 1)
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


def caption_for(kind: str) -> tuple[str, str]:
    """Return title and caption of a kind of picture."""
    return CAPTIONS.get(kind, (kind.replace("_", " ").replace("-", " ").capitalize(), ""))
