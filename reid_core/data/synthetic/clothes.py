"""Clothes, skin and hair: the colour of every point of a body, by its place on the neutral body in rest pose.

Because colours depend on that place alone, clothes follow every pose and are crisp at any resolution. Coordinates are
those of ``reid_core.mesh.body``, in metres: x to the person's left, -y to the front, z up from the pelvis; arms are
stretched 45 degrees down. Letters: N points.
"""

import numpy as np

from reid_core.data.synthetic.person import Array, Colour, Mask, Person, Print

# Places on the neutral body.
SHOULDER, WRIST = np.array([0.165, 0.465]), np.array([0.445, 0.165])  # |x| and z
JAW, HAIRLINE = 0.60, 0.725
WAIST, KNEE, ANKLE = 0.08, -0.36, -0.735
SHOE_BLACKENING = 0.75


def paint(person: Person, points: Array, facing_front: Array) -> Array:
    """Return the colours of points of a dressed body.

    Args:
        person: Identity to paint.
        points: Coordinates in rest pose, shape (N, 3).
        facing_front: Cosine of the angle between the surface in rest pose and the front, -1 to 1, shape (N,).

    Returns:
        Red, green and blue in [0, 1], not lit, shape (N, 3).
    """
    x, z = points[:, 0], points[:, 2]
    front = facing_front > 0
    along_arm = _along_arm(points)
    arm = along_arm > 0.0
    colours = np.tile(np.asarray(person.skin, dtype=np.float32), (len(points), 1))

    _fill(colours, ~arm & _bottom_zone(person, z), person.bottom)
    _fill(colours, z < ANKLE + 0.035, person.shoes)
    _fill(colours, z < ANKLE - 0.055, _darker(person.shoes, SHOE_BLACKENING))

    # A round hole for the neck, deeper at the front; the shoulders outside of it are covered.
    hole = np.hypot(x, (z - JAW) * 0.55) < np.where(front, 0.085, 0.065)
    torso = ~arm & (z > person.hem) & (z < JAW) & ~hole
    top = torso | (arm & (along_arm < person.sleeve))
    _fill(colours, top, person.top)
    _fill(colours, top & _pattern(person.pattern, points, along_arm, arm), person.accent)
    if person.open_front > 0:
        _fill(colours, torso & front & (np.abs(x) < person.open_front), person.accent)
    _print(colours, torso & front, person.front, x, z)
    _print(colours, torso & ~front, person.back, x, z)
    _bag(colours, person, torso, front, x, z)
    _head(colours, person, points, front)
    return colours


def _along_arm(points: Array) -> Array:
    """Return the share of the way from shoulder (0) to wrist (1), above 1 on the hand; -1 away from the arms."""
    axis = WRIST - SHOULDER
    length = float(np.hypot(*axis))
    offset = np.stack([np.abs(points[:, 0]), points[:, 2]], axis=1) - SHOULDER
    along = offset @ (axis / length)
    away = np.abs(offset @ (np.array([-axis[1], axis[0]]) / length))
    share = along / length
    return np.where((share > 0.03) & (away < 0.11) & (np.abs(points[:, 0]) > 0.17), share, -1.0).astype(np.float32)


def _bottom_zone(person: Person, z: Array) -> Mask:
    low = {"trousers": ANKLE + 0.02, "shorts": KNEE + 0.06, "skirt": KNEE + 0.01}[person.bottom_kind]
    return (z < WAIST + 0.04) & (z > low)


def _pattern(kind: str, points: Array, along_arm: Array, arm: Mask) -> Mask:
    # Hoops go on along the sleeves: heights there count from the shoulder downwards.
    height = np.where(arm, 0.465 - 0.41 * along_arm, points[:, 2])
    hoops: Mask = np.sin(height * (2 * np.pi / 0.11)) > 0.15
    stripes: Mask = np.sin(points[:, 0] * (2 * np.pi / 0.085)) > 0.25
    if kind == "hoops":
        return hoops
    if kind == "stripes":
        return np.logical_and(stripes, ~arm)
    if kind == "check":
        return np.logical_xor(hoops, stripes)
    if kind == "yoke":
        return np.asarray(height > 0.33)
    return np.zeros(len(points), dtype=np.bool_)


def _print(colours: Array, where: Mask, picture: Print, x: Array, z: Array) -> None:
    across, up = x / picture.size, (z - 0.29) / picture.size  # from the middle of the print, in half sizes
    radius = np.hypot(across, up)
    shapes = {
        "disc": radius < 1.0,
        "ring": (radius < 1.15) & (radius > 0.6),
        "square": (np.abs(across) < 0.9) & (np.abs(up) < 0.9),
        "bar": (np.abs(across) < 1.6) & (np.abs(up) < 0.45),
        "triangle": (up > -0.8) & (up < 1.0) & (np.abs(across) < (1.0 - up) * 0.65),
    }
    if picture.shape in shapes:
        _fill(colours, where & shapes[picture.shape], picture.colour)


def _bag(colours: Array, person: Person, torso: Mask, front: Mask, x: Array, z: Array) -> None:
    if person.bag == "backpack":
        straps = front & (np.abs(np.abs(x) - 0.105) < 0.022) & (z > 0.2)
        pack = ~front & (np.abs(x) < 0.135) & (z > 0.08) & (z < 0.44)
        _fill(colours, torso & (straps | pack), person.bag_colour)
        _fill(colours, torso & pack & (np.abs(z - 0.2) < 0.012), _darker(person.bag_colour, 0.6))
    elif person.bag == "shoulder bag":
        strap = np.abs(z - 0.27 - 1.25 * x) < 0.035
        bag = (x < -0.03) & (z < 0.16) & (z > -0.06) & ~front
        _fill(colours, torso & strap, person.bag_colour)
        _fill(colours, bag & (np.abs(x) < 0.22), person.bag_colour)


def _head(colours: Array, person: Person, points: Array, front: Mask) -> None:
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    face = front & (y < -0.055) & (z < HAIRLINE) & (np.abs(x) < 0.075)
    behind = (z > person.hair_length) & ~front & (np.abs(x) < 0.10)
    hair = ((z > JAW + 0.04) & ~face) | behind
    _fill(colours, hair & (np.abs(x) < 0.13) & ((z > 0.56) | behind), person.hair)
    if person.cap:
        _fill(colours, (z > HAIRLINE - 0.01) & (np.abs(x) < 0.13), person.accent)


def _fill(colours: Array, where: Mask, colour: Colour) -> None:
    colours[where] = colour


def _darker(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor
