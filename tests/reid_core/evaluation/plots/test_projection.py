import numpy as np
import pytest

from reid_core.evaluation.plots.projection import choose_whole_people, draw_projection, project


def _features(num_people: int, per_person: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings close to one direction a person."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(1, num_people + 1), per_person)
    features = np.eye(num_people, 16)[people - 1] + rng.normal(0, 0.05, (len(people), 16))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), people


def test_people_are_chosen_whole_and_distractors_are_not() -> None:
    people = np.array([0, 3, 3, 1, 0, 2, 2, 2, 1])
    for seed in range(5):
        chosen = choose_whole_people(people, 5, np.random.default_rng(seed), distractors=[0])
        found = people[chosen]
        assert len(chosen) <= 5
        assert 0 not in found
        assert all((found == person).sum() == (people == person).sum() for person in np.unique(found))
    rng = np.random.default_rng(0)
    assert len(choose_whole_people(people, 1, rng, distractors=[0])) >= 2, "one person even where it is too large"
    assert list(choose_whole_people(people, 99, rng, distractors=[0])) == [1, 2, 3, 5, 6, 7, 8]
    assert list(choose_whole_people(people, 99, rng)) == list(range(9)), "elsewhere, person 0 is a person"


def test_images_of_a_person_lie_together() -> None:
    features, people = _features(num_people=4, per_person=12)
    places = project(features, seed=0)
    assert places.shape == (48, 2)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(48, np.inf))
    assert (people[distance.argmin(axis=1)] == people).mean() > 0.95
    np.testing.assert_array_equal(places, project(features, seed=0))


def test_a_handful_of_images_is_laid_out_and_fewer_are_refused() -> None:
    assert project(_features(5, 1)[0], seed=0).shape == (5, 2)
    with pytest.raises(ValueError, match="at least 5 images, but 4 came"):
        project(_features(4, 1)[0], seed=0)


def test_every_group_has_its_colour() -> None:
    places = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    drawn = np.asarray(draw_projection(places, [0, 0, 2, -1], kind="camera", first=1).convert("RGB"))
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3).tolist()}
    assert {(31, 119, 180), (255, 127, 14), (181, 185, 190)} <= colours  # the first two of the palette, and grey


def test_many_people_differ_in_colour_or_marker() -> None:
    places = np.random.default_rng(0).normal(size=(60, 2))
    picture = draw_projection(places, list(range(60)), kind="person")
    assert picture.size == (768, 768)
