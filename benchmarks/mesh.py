"""Time of a guidance map: body topologies by picture sizes, on one core.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mesh
"""

import time

import torch

from reid_core.data.synthetic.photograph import photograph_person
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.mesh.body import Body, load_body
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import ANGLES, guidance_maps

SIZES = ((64, 32), (128, 64), (256, 128))
BODIES = 8


def seconds_a_view(body: Body, size: tuple[int, int]) -> float:
    vertices = body.vertices(torch.full((BODIES, 6), 0.5), torch.zeros(BODIES, 10, 3))
    values = (0.0, 5.0, 1.0, 0.5, 0.5, 0.5)
    cameras = Cameras(*(torch.full((BODIES,), value) for value in values))
    guidance_maps(vertices, body, cameras, size=size)
    start = time.perf_counter()
    guidance_maps(vertices, body, cameras, size=size)
    return (time.perf_counter() - start) / (BODIES * len(ANGLES))


def main() -> None:
    torch.set_num_threads(1)
    for topology in ("notoes_collapse3pc", "notoes_collapse5pc", "notoes_collapse10pc"):
        body = load_body(topology)
        for size in SIZES:
            milliseconds = 1000 * seconds_a_view(body, size)
            print(f"{topology:20} {len(body.faces):6} faces  {size[0]:3} x {size[1]:3}  {milliseconds:6.1f} ms a view")
    settings = SyntheticSettings()
    photograph_person(settings, 1)
    start = time.perf_counter()
    for person_id in range(2, 6):
        photograph_person(settings, person_id)
    spent = (time.perf_counter() - start) / (4 * settings.images_per_person)
    print(f"a photograph of {settings.image_height} x {settings.image_width}: {1000 * spent:.1f} ms")


if __name__ == "__main__":
    main()
