"""One rendered identity: body, skin, hair and clothes, and how it stands at one moment of a walk."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_core.mesh.body import POSED_BONES
from reid_core.seeds import derive_seed

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Colour = tuple[float, float, float]  # red, green, blue in [0, 1]

# Few colours on purpose: several people share a top, several share trousers, and only the rest tells them apart.
TOPS: tuple[Colour, ...] = (
    (0.08, 0.08, 0.10),
    (0.85, 0.85, 0.82),
    (0.45, 0.46, 0.48),
    (0.62, 0.10, 0.12),
    (0.12, 0.20, 0.48),
    (0.13, 0.36, 0.20),
    (0.80, 0.62, 0.18),
    (0.45, 0.62, 0.78),
)
BOTTOMS: tuple[Colour, ...] = (
    (0.10, 0.10, 0.12),
    (0.14, 0.18, 0.34),
    (0.34, 0.42, 0.56),
    (0.45, 0.45, 0.44),
    (0.55, 0.46, 0.33),
)
SHOES: tuple[Colour, ...] = ((0.08, 0.07, 0.07), (0.88, 0.88, 0.88), (0.36, 0.22, 0.14), (0.65, 0.12, 0.14))
SKINS: tuple[Colour, ...] = ((0.91, 0.74, 0.64), (0.82, 0.62, 0.49), (0.63, 0.44, 0.32), (0.40, 0.26, 0.18))
HAIRS: tuple[Colour, ...] = ((0.07, 0.06, 0.06), (0.25, 0.15, 0.09), (0.62, 0.46, 0.24), (0.52, 0.50, 0.48))
PATTERNS = ("plain", "hoops", "stripes", "check", "yoke")
PRINTS = ("none", "disc", "square", "bar", "triangle", "ring")
BOTTOM_KINDS = ("trousers", "shorts", "skirt")
BAGS = ("none", "backpack", "shoulder bag")


@dataclass(frozen=True)
class Print:
    """A picture on one side of the top: its shape, colour and half size in metres."""

    shape: str
    colour: Colour
    size: float


@dataclass(frozen=True)
class Person:
    """One identity; the same in every photograph.

    Attributes:
        phenotype: Body shape, six numbers in [0, 1], see ``reid_core.mesh.body.PHENOTYPES``.
        hair_length: Height to which hair falls at the back, in metres above the pelvis of the neutral body.
        cap: Whether a cap in ``accent`` is worn.
        top: Colour of the top, ``accent`` that of its pattern.
        pattern: One of ``PATTERNS``.
        sleeve: Share of the arm that is covered, from the shoulder.
        open_front: Half width, in metres, of the strip of ``accent`` that an open jacket shows; 0 when closed.
        hem: Height of the lower edge of the top, measured like ``hair_length``.
        front: Print on the chest, ``back`` that between the shoulders.
        bottom_kind: One of ``BOTTOM_KINDS``.
        bag: One of ``BAGS``.
    """

    phenotype: tuple[float, ...]
    skin: Colour
    hair: Colour
    hair_length: float
    cap: bool
    top: Colour
    accent: Colour
    pattern: str
    sleeve: float
    open_front: float
    hem: float
    front: Print
    back: Print
    bottom_kind: str
    bottom: Colour
    shoes: Colour
    bag: str
    bag_colour: Colour


def draw_person(seed: int, person_id: int) -> Person:
    """Draw one identity from the seed and its number alone."""
    random = np.random.default_rng(derive_seed(seed, "person", person_id))
    female = random.random() < 0.5
    gender = random.uniform(0.75, 1.0) if female else random.uniform(0.0, 0.25)
    # Gender 0 is male and 1 female in the body model; ages 0.5 to 0.9 are grown up.
    phenotype = (gender, random.uniform(0.5, 0.85), *random.uniform([0.3, 0.4, 0.3, 0.3], [0.8, 1.0, 0.8, 0.8]))
    top = _pick(random, TOPS)
    return Person(
        phenotype=tuple(float(value) for value in phenotype),
        skin=_pick(random, SKINS),
        hair=_pick(random, HAIRS),
        hair_length=float(random.choice([0.35, 0.50, 0.64])) if female else 0.66,
        cap=bool(random.random() < 0.12),
        top=top,
        accent=_pick(random, tuple(colour for colour in TOPS if colour != top)),
        pattern=str(random.choice(PATTERNS, p=[0.5, 0.14, 0.10, 0.12, 0.14])),
        sleeve=float(random.choice([0.0, 0.42, 0.95], p=[0.08, 0.37, 0.55])),
        open_front=float(random.choice([0.0, 0.035, 0.06], p=[0.72, 0.16, 0.12])),
        hem=float(random.choice([0.06, 0.0, -0.12], p=[0.4, 0.45, 0.15])),
        front=_draw_print(random, top),
        back=_draw_print(random, top),
        bottom_kind=str(random.choice(BOTTOM_KINDS, p=[0.68, 0.18, 0.14] if female else [0.76, 0.24, 0.0])),
        bottom=_pick(random, BOTTOMS),
        shoes=_pick(random, SHOES),
        bag=str(random.choice(BAGS, p=[0.62, 0.23, 0.15])),
        bag_colour=_pick(random, TOPS),
    )


def _pick(random: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """Draw one of the colours, a little lighter or darker."""
    shade = np.asarray(colours[random.integers(len(colours))]) * random.uniform(0.92, 1.08)
    red, green, blue = (float(value) for value in np.clip(shade, 0.0, 1.0))
    return red, green, blue


def _draw_print(random: np.random.Generator, top: Colour) -> Print:
    shape = str(random.choice(PRINTS, p=[0.35, 0.13, 0.13, 0.13, 0.13, 0.13]))
    # On a top of nearly its own brightness, a print would not be seen.
    contrasting = tuple(colour for colour in TOPS if abs(sum(colour) - sum(top)) > 0.5)
    return Print(shape, _pick(random, contrasting), float(random.uniform(0.055, 0.09)))


def draw_pose(random: np.random.Generator) -> NDArray[np.float32]:
    """Draw one moment of a walk.

    Args:
        random: Source of randomness of one picture.

    Returns:
        Rotations of the bones of ``POSED_BONES`` about x, y and z, in degrees, shape (10, 3).
    """
    phase = random.uniform(0.0, 2 * np.pi)
    stride = random.uniform(4.0, 26.0)
    swing = stride * random.uniform(0.6, 1.2)
    bend = random.uniform(-24.0, 8.0)
    lowered = random.uniform(36.0, 44.0)
    rotations = {
        # A leg swings about x (negative is forward); its knee bends most while it swings forward.
        "upperleg01.L": (stride * np.sin(phase), 7.0, 0.0),
        "upperleg01.R": (-stride * np.sin(phase), -7.0, 0.0),
        "lowerleg01.L": (stride * (0.9 + 0.9 * np.cos(phase)) * 0.7, 0.0, 0.0),
        "lowerleg01.R": (stride * (0.9 - 0.9 * np.cos(phase)) * 0.7, 0.0, 0.0),
        # Arms hang down and swing against the legs.
        "upperarm01.L": (-swing * np.sin(phase), lowered, 0.0),
        "upperarm01.R": (swing * np.sin(phase), -lowered, 0.0),
        "lowerarm01.L": (-bend, 0.0, 0.0),
        "lowerarm01.R": (-bend - random.uniform(-8.0, 8.0), 0.0, 0.0),
        "spine03": (random.uniform(-2.0, 6.0), 0.0, random.uniform(-6.0, 6.0)),
        "neck01": (random.uniform(-8.0, 12.0), 0.0, random.uniform(-25.0, 25.0)),
    }
    return np.asarray([rotations[bone] for bone in POSED_BONES], dtype=np.float32)
