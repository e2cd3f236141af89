import numpy as np
import torch

from reid_core.evaluation.plots.ranked_lists import draw_search

_BLUE, _GREY = (30, 90, 200), (115, 115, 115)


def test_hits_are_framed_from_the_threshold_on() -> None:
    queries = torch.zeros(2, 3, 96, 48, dtype=torch.uint8)
    hits = [torch.full((3, 3, 96, 48), 255, dtype=torch.uint8), torch.full((1, 3, 96, 48), 255, dtype=torch.uint8)]
    similarity = [np.array([0.9, 0.5, 0.49]), np.array([0.1])]
    picture = np.asarray(draw_search(queries, hits, similarity, 0.5, ["first", "second"]))
    frames = [picture[60, 4 + column * 56] for column in range(4)]  # at half height of the first row's frames
    assert [tuple(int(value) for value in frame) for frame in frames[1:]] == [_BLUE, _BLUE, _GREY]
    second = picture[picture.shape[0] // 2 :]
    assert not (second == _BLUE).all(axis=2).any()
    assert (second == _GREY).all(axis=2).any()
