"""Time and memory of one clustering, from features to pseudo labels, on images drawn around random people.

    .venv/bin/python benchmarks/clustering.py --num-images 12936 --num-people 751

Market-1501 has 12,936 training images of 751 people, MSMT17 32,621 of 1,041. OMP_NUM_THREADS bounds the threads.
"""

import argparse
import json
import os
import resource
import time

import numpy as np

from reid_core.clustering.worker import ClusterWorker


def draw_features(num_images: int, num_people: int, dimension: int, *, seed: int = 0) -> np.ndarray:
    """Return L2-normalised features (N, D) float32: people apart from each other, their images close by."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(num_people, dimension)).astype(np.float32)
    noise = generator.normal(size=(num_images, dimension)).astype(np.float32)
    features: np.ndarray = centres[generator.integers(num_people, size=num_images)] + 1.2 * noise
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=12_936)
    parser.add_argument("--num-people", type=int, default=751)
    parser.add_argument("--dimension", type=int, default=2048)
    arguments = parser.parse_args()

    worker = ClusterWorker()
    small = draw_features(200, 10, 16)
    worker.label(small, worker.search(small, 0, 200, 30)[0], 30, 6, 0.55, 4)  # compiles, so that it is not timed

    features = draw_features(arguments.num_images, arguments.num_people, arguments.dimension)
    start = time.perf_counter()
    neighbours, _ = worker.search(features, 0, len(features), 30)
    found = time.perf_counter()
    labels, _, _ = worker.label(features, neighbours, 30, 6, 0.55, 4)
    done = time.perf_counter()
    result = {
        "num_images": len(features),
        "dimension": features.shape[1],
        "neighbours_seconds": round(found - start, 2),
        "labels_seconds": round(done - found, 2),
        "num_clusters": int(labels.max()) + 1,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "num_cpus": os.cpu_count(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
