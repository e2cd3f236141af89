"""Batches of image positions: P clusters x K images, or a plain shuffle.

Letters: N images, B global batch, I batches.
"""

import torch
from torch import Tensor

from reid_core.errors import UserError


def pk_batches(
    labels: Tensor,
    *,
    num_clusters: int,
    num_images: int,
    num_batches: int,
    generator: torch.Generator,
    cameras: Tensor | None = None,
) -> Tensor:
    """Draw batches of several images of several clusters; outliers are never drawn.

    Clusters come in random order, each once before any comes again; images of a small cluster repeat.

    Args:
        labels: Pseudo label of each image, -1 for an outlier, shape (N,).
        num_clusters: P, clusters in a batch; fewer clusters than that repeat.
        num_images: K, images of each cluster.
        num_batches: I.
        generator: Source of randomness.
        cameras: Camera of each image, shape (N,): a cluster's images come camera by camera in turn. None uses none.

    Returns:
        Image positions, shape (I, P * K).
    """
    inliers = (labels >= 0).nonzero().squeeze(1)
    if len(inliers) == 0:
        raise UserError("every image is an outlier, nothing can be learned; raise clustering.eps")
    members = [inliers[labels[inliers] == label] for label in torch.unique(labels[inliers]).tolist()]
    order = _cycled_permutations(len(members), num_batches * num_clusters, generator)
    drawn = [_draw_members(members[cluster], num_images, generator, cameras) for cluster in order.tolist()]  # of K
    return torch.stack(drawn).view(num_batches, num_clusters * num_images)


def shuffled_batches(
    index: Tensor, batch_size: int, *, generator: torch.Generator, num_batches: int | None = None
) -> Tensor:
    """Shuffle images into batches; what does not fill a batch is left out, unless there is nothing else.

    Args:
        index: Image positions, shape (N,).
        batch_size: B; images repeat when there are fewer.
        generator: Source of randomness.
        num_batches: I, when it should not depend on N; images then repeat, or some are left out.

    Returns:
        Image positions, shape (I, B), I being max(N // B, 1) when not given.
    """
    if len(index) == 0:
        raise UserError("no image is left to train on; the data set is empty or every image is an outlier")
    num_batches = num_batches or max(len(index) // batch_size, 1)
    order = _cycled_permutations(len(index), num_batches * batch_size, generator)
    return index[order].view(num_batches, batch_size)


def _cycled_permutations(size: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Draw ``wanted`` of the numbers below ``size``: each once, in random order, before any comes again."""
    rounds = -(-wanted // size)
    return torch.cat([torch.randperm(size, generator=generator) for _ in range(rounds)])[:wanted]


def _draw_members(members: Tensor, wanted: int, generator: torch.Generator, cameras: Tensor | None) -> Tensor:
    """Draw images of one cluster, cameras in turn; they repeat when there are fewer than wanted."""
    drawn = members[_cycled_permutations(len(members), max(wanted, len(members)), generator)]
    if cameras is not None:
        drawn = drawn[_turns(cameras[drawn]).argsort(stable=True)]
    return drawn[:wanted]


def _turns(cameras: Tensor) -> Tensor:
    """Number the images of each camera, so that the first of every camera comes before the second of any."""
    turns = torch.zeros_like(cameras)
    for camera in torch.unique(cameras):
        is_of_camera = cameras == camera
        turns[is_of_camera] = torch.arange(int(is_of_camera.sum()))
    return turns
