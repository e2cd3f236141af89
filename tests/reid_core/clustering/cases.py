"""Random clustering problems, small and nasty: groups, duplicates, exact ties, lonely points."""

import numpy as np


def random_features(rng: np.random.Generator, num_images: int) -> np.ndarray:
    """Draw L2-normalised features (N, D) float32 of one of four kinds."""
    kind = rng.integers(4)
    if kind == 0:  # signs in 4 or 16 dimensions: inner products are exact, ties are everywhere
        dim = int(rng.choice([4, 16]))
        signs: np.ndarray = (rng.choice([-1.0, 1.0], size=(num_images, dim)) / np.sqrt(dim)).astype(np.float32)
        return signs
    dim = int(rng.integers(2, 9))
    centres = rng.normal(size=(max(1, num_images // 5), dim))
    features = centres[rng.integers(len(centres), size=num_images)] + 0.3 * rng.normal(size=(num_images, dim))
    if kind == 1:  # copies of images
        features = features[rng.integers(max(1, num_images // 2), size=num_images)]
    if kind == 2:  # some far from everything
        features[: num_images // 4] = 5 * rng.normal(size=(num_images // 4, dim))
    normalised: np.ndarray = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def slow_neighbours(features: np.ndarray, k: int) -> np.ndarray:
    """Return neighbour lists from the whole similarity matrix: itself, then by (similarity, index)."""
    similarity = features.astype(np.float32) @ features.T.astype(np.float32)
    lists = [
        sorted(range(len(features)), key=lambda j: (j != i, -similarity[i, j], j))[:k] for i in range(len(features))
    ]
    return np.array(lists, dtype=np.int32)
