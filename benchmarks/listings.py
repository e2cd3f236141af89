"""Time of ``genvar data check`` on a copy of MSMT17 of the published size: 126,441 names of a few pictures.

    .venv/bin/python benchmarks/listings.py

The copy is made of hard links, so that it takes the room of its folders alone, and is removed afterwards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# Folder, images and people of each list; persons are numbered from 0 in train and, anew, in test.
_LISTS = {
    "train": ("train", 30_248, 1_041),
    "val": ("train", 2_373, 1_041),
    "query": ("test", 11_659, 3_060),
    "gallery": ("test", 82_161, 3_060),
}
_CAMERAS = 15
_PICTURES = 8  # a file system may allow no more than 65,000 names of one file


def write_msmt17(root: Path) -> int:
    """Write lists and images of the published size; returns the number of images."""
    root.mkdir(parents=True)
    pictures = [root.parent / f"{number}.jpg" for number in range(_PICTURES)]
    draws = np.random.default_rng(0)
    for picture in pictures:
        Image.fromarray(draws.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(picture)
    num_images = 0
    for part, (folder, images, people) in _LISTS.items():
        for person in range(people):
            (root / folder / f"{person:04d}").mkdir(parents=True, exist_ok=True)
        lines = []
        for index in range(images):
            person, camera = index % people, 1 + index // people % _CAMERAS
            path = f"{person:04d}/{person:04d}_{index:06d}_{camera:02d}_0303morning_{part}.jpg"
            os.link(pictures[num_images % _PICTURES], root / folder / path)
            lines.append(f"{path} {person}\n")
            num_images += 1
        (root / f"list_{part}.txt").write_text("".join(lines))
    return num_images


def main() -> None:
    """Write the copy, check it by the command line, and print what it printed and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="Where the copy is made; a temporary folder.")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        num_images = write_msmt17(Path(folder) / "MSMT17_V1")
        command = [sys.executable, "-m", "pipeline.cli", "data", "check", "msmt17", "--data-root", folder]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    print(done.stdout, done.stderr, sep="")
    print(f"{num_images:,} images, exit code {done.returncode}, {seconds:.1f} s")


if __name__ == "__main__":
    main()
