"""A map of embeddings: t-SNE, coloured by person or by camera.

N: images, D: embedding size.
"""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

MIN_IMAGES = 5  # fewer are no map
_PERPLEXITY = 30.0  # as scikit-learn and the method's authors suggest; smaller for few images
_NAMED = 10  # groups that a legend can name
_MARKERS = "osD^vP*X"
_GREY = "#b5b9be"
_INCHES, _DPI = 6.4, 120


def choose_whole_people(
    people: np.ndarray, num_images: int, generator: np.random.Generator, *, distractors: Sequence[int] = ()
) -> np.ndarray:
    """Choose images so that people stay whole: a map of single images would show nothing of persons.

    Args:
        people: Person of each image, (N,).
        num_images: Chosen images, at most; at least one person's.
        generator: Draws the people.
        distractors: Person numbers that stand for nobody in particular; never chosen.

    Returns:
        Positions, rising.
    """
    order = generator.permutation(np.unique(people[~np.isin(people, distractors)]))
    sizes = np.array([(people == person).sum() for person in order], dtype=np.int64)
    fitting = max(1, int((sizes.cumsum() <= num_images).sum()))
    return np.flatnonzero(np.isin(people, order[:fitting]))


def project(features: np.ndarray, *, seed: int) -> np.ndarray:
    """Lay embeddings out on a plane by t-SNE (van der Maaten and Hinton, JMLR 2008) on the cosine distance.

    Args:
        features: L2-normalised, (N, D) float32, N at least 5.
        seed: Of the descent.

    Returns:
        Places, (N, 2) float32; near ones are alike, distances between far ones mean nothing.
    """
    if len(features) < MIN_IMAGES:
        raise ValueError(f"a map wants at least {MIN_IMAGES} images, but {len(features)} came; leave it out")
    from sklearn.manifold import TSNE  # imported where it is used: it takes a second

    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    places = TSNE(perplexity=perplexity, metric="cosine", init="pca", random_state=seed).fit_transform(features)
    result: np.ndarray = places.astype(np.float32)
    return result


def draw_projection(places: np.ndarray, groups: Sequence[int], *, kind: str, first: int = 0) -> Image.Image:
    """Draw a map, one colour and marker a group.

    Args:
        places: From ``project``, (N, 2).
        groups: Person or camera of each image, N of them; a negative one is drawn grey.
        kind: What a group is, in the singular, for the heading and the legend.
        first: Added to a group's number in the legend; 1 for cameras, which are stored from 0.

    Returns:
        The picture.
    """
    from matplotlib import colormaps

    column = np.asarray(groups)
    assert len(places) == len(column), (len(places), len(column))
    known = np.unique(column[column >= 0])
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["tab10" if len(known) <= _NAMED else "tab20"]
    num_colours = 10 if len(known) <= _NAMED else 20
    axes.scatter(places[column < 0, 0], places[column < 0, 1], s=14, color=_GREY, marker="o", linewidths=0)
    for place, group in enumerate(known):
        axes.scatter(
            places[column == group, 0],
            places[column == group, 1],
            s=22,
            color=colours(place % num_colours),
            marker=_MARKERS[place // num_colours % len(_MARKERS)],
            linewidths=0,
            label=f"{kind} {group + first}",
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for side in axes.spines.values():
        side.set_color(_GREY)
    axes.set_title(f"{len(places)} images, coloured by {kind} ({len(known)})", fontsize=10)
    if 1 < len(known) <= _NAMED:
        axes.legend(fontsize=8, framealpha=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer)
