from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_core.api import (
    Encoder,
    evaluate,
    list_images,
    load_encoder,
    pseudo_labels,
    rank,
    suggest_threshold,
    threshold_curve,
)
from reid_core.errors import UserError
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import identity_header, save_weights
from reid_core.seeds import initialised


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with an encoder in it."""
    folder = tmp_path / "run" / "artifacts"
    folder.mkdir(parents=True)
    network = initialised(lambda: IdentityEncoder("resnet10"), 0)
    save_weights(network, folder / "identity.safetensors", identity_header(network, (32, 16)))
    return folder.parent


@pytest.fixture
def encoder(run: Path) -> Encoder:
    return load_encoder(run, device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of three sizes, lossless."""
    random = np.random.default_rng(0)
    (tmp_path / "photos" / "deeper").mkdir(parents=True)
    for name, size in (("b.png", (40, 20, 3)), ("deeper/c.png", (32, 16, 3)), ("a.png", (64, 30, 3))):
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_every_form_of_a_picture_gives_the_same_features(encoder: Encoder, photos: Path) -> None:
    paths = list_images(photos)
    assert [path.name for path in paths] == ["a.png", "b.png", "c.png"]
    expected = encoder.embed(photos)
    assert expected.shape == (3, encoder.dim)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)

    images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in images]
    tensors = [torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays]
    forms = (paths, [str(path) for path in paths], images, arrays, tensors, [tensor / 255 for tensor in tensors])
    for form in forms:
        np.testing.assert_allclose(encoder.embed(form, batch_size=2), expected, atol=1e-5)
        np.testing.assert_allclose(encoder.embed(form[1]), expected[1:2], atol=1e-5)
    np.testing.assert_allclose(encoder.embed(np.stack([arrays[2]] * 2)), expected[[2, 2]], atol=1e-5)
    assert not np.allclose(encoder.embed(paths, flip=True), expected, atol=1e-5)


def test_an_encoder_comes_from_a_run_a_file_or_a_name(run: Path, encoder: Encoder, photos: Path) -> None:
    assert (encoder.image_size, encoder.dim) == ((32, 16), 512)
    assert repr(encoder) == "Encoder(resnet10, 32 x 16 pixels, 512 numbers, on cpu)"
    file = run / "artifacts" / "identity.safetensors"
    other = load_encoder(str(file), image_size=(64, 32), device="cpu")
    assert other.image_size == (64, 32)
    np.testing.assert_array_equal(load_encoder(file, device="cpu").embed(photos), encoder.embed(photos))
    named = load_encoder("efficientnet_lite0", device="cpu")
    assert (named.image_size, named.dim, named.network.training) == ((256, 128), 1280, False)


def test_ranking_by_hand() -> None:
    gallery = np.array([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0]])
    hits = rank(np.array([1.0, 0.0]), torch.from_numpy(gallery), top=2)
    assert hits.indices.tolist() == [[2, 1]]
    np.testing.assert_allclose(hits.similarities, [[1, 0.5**0.5]], atol=1e-6)
    assert rank(gallery, gallery).indices.shape == (3, 3)


def test_evaluation_by_hand() -> None:
    # Person 1 is found second, behind a stranger; the nearest image shows person 1 in the query's own camera.
    gallery = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]])
    scores = evaluate(np.array([[1.0, 0.0]]), [1], [1], gallery, np.array([1, 2, 1]), torch.tensor([1, 2, 2]))
    assert scores == {"mAP": 0.5, "rank1": 0.0, "rank5": 1.0, "rank10": 1.0, "mINP": 0.5}


def test_pseudo_labels_of_two_people_and_a_stranger(caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    people = np.eye(3, 16).repeat([10, 10, 1], axis=0) + 0.05 * random.normal(size=(21, 16))
    expected = [0] * 10 + [1] * 10 + [-1]
    assert pseudo_labels(people, k1=10, k2=1).tolist() == expected
    # A camera that moves all its features apart is taken away again.
    cameras = np.arange(21) % 2
    people[cameras == 1, 5:] += 2.0
    assert pseudo_labels(torch.from_numpy(people[:20]), k1=10, k2=1, cameras=cameras[:20]).tolist() == expected[:20]
    assert not caplog.messages
    assert len(np.unique(pseudo_labels(np.ones((4, 3))))) == 4
    assert "each image is its own class" in caplog.messages[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda encoder: load_encoder("resnet10"), "wants the folder of a run, a .safetensors file, or one of eff"),
        (lambda encoder: load_encoder(Path(__file__).parent), "holds no identity.safetensors"),
        (lambda encoder: load_encoder(__file__), "is a text, not weights"),
        (lambda encoder: encoder.embed([]), "there is no picture"),
        (lambda encoder: encoder.embed("gone.jpg"), "gone.jpg does not exist"),
        (lambda encoder: encoder.embed([__file__]), r"test_api.py cannot be read as a picture \(cannot identify"),
        (lambda encoder: encoder.embed(np.zeros((4, 4, 3))), r"but float64 \(4, 4, 3\) came"),
        (lambda encoder: encoder.embed(-torch.ones(3, 4, 4)), r"but float32 \(4, 4, 3\) came"),
        (lambda encoder: encoder.embed([3]), "but int came"),
        (
            lambda encoder: encoder.embed(np.zeros((1, 8, 8, 3), np.uint8), batch_size=0),
            "batch_size must be at",
        ),
        (lambda encoder: rank(np.ones((1, 2)), np.ones((1, 3))), "have 2 numbers and gallery features 3"),
        (lambda encoder: rank(np.ones((1, 2)), np.ones(2)), r"gallery must be of shape .*, got \(2,\)"),
        (lambda encoder: rank(np.ones((1, 2)), np.ones((1, 2)), top=0), "top must be at least 1"),
        (lambda encoder: pseudo_labels(np.full((2, 2), np.nan)), "features holds NaN"),
        (lambda encoder: pseudo_labels(np.ones((2, 2)), eps=1.0), r"eps must be in \[0, 1\), got 1.0"),
        (lambda encoder: pseudo_labels(np.ones((2, 2)), k1=0), "k1 must be at least 1, got 0"),
        (lambda encoder: pseudo_labels(np.ones((2, 2)), cameras=[1]), "cameras must be 2 whole numbers"),
        (
            lambda encoder: evaluate(np.ones((1, 2)), np.array([0.5]), [1], np.ones((1, 2)), [1], [1]),
            "query_ids must be 1 whole",
        ),
    ],
)
def test_mistakes_are_named_in_one_sentence(encoder: Encoder, call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UserError, match=message):
        call(encoder)


def test_the_same_person_or_not() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(60), 4)
    vectors = random.normal(size=(60, 32))[people] + 0.4 * random.normal(size=(240, 32))
    found = suggest_threshold(vectors)
    assert found.has_gap
    assert 0 <= found.false_share < 0.2
    strict = suggest_threshold(vectors, max_false=0.01)
    assert strict.false_share <= 0.01
    assert strict.threshold > suggest_threshold(vectors, max_false=0.3).threshold
    assert suggest_threshold(vectors[:30], vectors[30:]).threshold < 1

    cameras = np.tile([0, 1, 0, 1], 60)
    curve = threshold_curve(vectors, people, cameras, vectors, people, cameras)
    at = np.searchsorted(curve["threshold"], strict.threshold)
    assert curve["precision"][at] > 0.95
    assert list(curve) == ["threshold", "precision", "recall", "false_match_rate"]
    assert {len(column) for column in curve.values()} == {401}


def test_thresholds_that_cannot_be_are_refused() -> None:
    random = np.random.default_rng(0)
    for wrong in (0, 1, -0.1):
        with pytest.raises(UserError, match="max_false must be between 0 and 1"):
            suggest_threshold(random.normal(size=(40, 8)), max_false=wrong)
    with pytest.raises(UserError, match="at least 20 gallery pictures"):
        suggest_threshold(random.normal(size=(10, 8)), max_false=0.1)
    with pytest.raises(UserError, match="no threshold keeps the expected share"):
        suggest_threshold(random.normal(size=(400, 256)), max_false=0.01)
    with pytest.raises(UserError, match="no other picture"):
        suggest_threshold(random.normal(size=(1, 8)))
