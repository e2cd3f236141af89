"""Simulated surveillance cameras: what each does to the light of a scene, the same in all of its pictures."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from reid_core.data.synthetic.person import Array
from reid_core.seeds import derive_seed


@dataclass(frozen=True)
class SurveillanceCamera:
    """One camera of the set.

    Attributes:
        side_deg: Side of people that it mostly sees, as an azimuth.
        elevation_deg: Angle by which it looks down.
        gains: Colour cast: factors of red, green and blue.
        gamma: Exponent of its tone curve.
        contrast: Factor about middle gray.
        blur: Deviation of its blur, in pixels of a picture 128 high.
        noise: Deviation of its sensor noise, where white is 1.
        quality: Quality of its JPEG files, 35 to 90.
        light_deg: Direction from which light falls, about the vertical axis; 0 is from behind the camera.
        occlusion: Share of pictures in which something stands before the person.
    """

    side_deg: float
    elevation_deg: float
    gains: tuple[float, float, float]
    gamma: float
    contrast: float
    blur: float
    noise: float
    quality: int
    light_deg: float
    occlusion: float


def draw_camera(seed: int, camera_id: int, num_cameras: int) -> SurveillanceCamera:
    """Draw one camera from the seed and its number; the sides of all cameras are spread evenly around the person."""
    random = np.random.default_rng(derive_seed(seed, "camera", camera_id))
    turn = 360.0 * np.random.default_rng(derive_seed(seed, "sides")).random()
    # Warm and cold casts alternate, so that neighbours never agree by chance.
    warmth = (1 if camera_id % 2 else -1) * random.uniform(0.05, 0.14)
    green = random.uniform(-0.05, 0.05)
    return SurveillanceCamera(
        side_deg=float((turn + 360.0 * camera_id / num_cameras) % 360.0),
        elevation_deg=float(random.uniform(2.0, 22.0)),
        gains=(float(1 + warmth), float(1 + green), float(1 - warmth)),
        gamma=float(random.uniform(0.8, 1.3)),
        contrast=float(random.uniform(0.8, 1.15)),
        blur=float(random.uniform(0.35, 1.1)),
        noise=float(random.uniform(0.01, 0.05)),
        quality=int(random.integers(35, 90)),
        light_deg=float(random.uniform(-75.0, 75.0)),
        occlusion=float(random.uniform(0.1, 0.25)),
    )


def develop(picture: Array, camera: SurveillanceCamera, random: np.random.Generator) -> Image.Image:
    """Turn light into the picture that the camera delivers (before JPEG).

    Args:
        picture: Linear light, about 0 to 1, shape (H, W, 3).
        camera: Camera whose colours, blur and noise are applied.
        random: Source of randomness of this one picture.

    Returns:
        8-bit RGB picture of W x H pixels.
    """
    scale = picture.shape[0] / 128.0  # blur is given for pictures 128 high
    exposure = float(np.exp(random.normal(0.0, 0.08)))
    gains = np.asarray(camera.gains) * np.exp(random.normal(0.0, 0.015, size=3))
    light = np.clip(picture * exposure * gains, 0.0, 1.5) ** camera.gamma
    light = (light - 0.45) * camera.contrast + 0.45
    blur = camera.blur * scale * random.uniform(0.8, 1.4)
    light = ndimage.gaussian_filter(light, sigma=(blur, blur, 0))
    grain = random.normal(0.0, camera.noise, size=light.shape)
    return Image.fromarray((np.clip(light + grain, 0.0, 1.0) * 255).round().astype(np.uint8), mode="RGB")


def encode(picture: Image.Image, camera: SurveillanceCamera) -> bytes:
    """Return the JPEG file of a picture, compressed as this camera does."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=camera.quality)
    return buffer.getvalue()
