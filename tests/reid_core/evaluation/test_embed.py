from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reid_core.data.images import as_float, load_images
from reid_core.errors import UserError
from reid_core.evaluation.embed import embed, embed_files


class _Encoded(NamedTuple):
    embedding: Tensor


class _Encoder(nn.Module):
    """A convolution, batch normalisation (which behaves differently in training) and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, images: Tensor) -> _Encoded:
        assert images.min() >= -1
        assert images.max() <= 1
        return _Encoded(self.layers(images))


@pytest.fixture
def encoder() -> _Encoder:
    torch.manual_seed(0)
    return _Encoder()


def _images(num: int) -> Tensor:
    return torch.randint(0, 256, (num, 3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_rows_have_length_one_and_no_gradient(encoder: _Encoder) -> None:
    features = embed(encoder, _images(5), batch_size=2, device="cpu")
    assert features.shape == (5, 4)
    assert not features.requires_grad
    torch.testing.assert_close(features.norm(dim=1), torch.ones(5))


def test_batches_do_not_change_the_result(encoder: _Encoder) -> None:
    whole = embed(encoder, _images(7), batch_size=7, device="cpu")
    torch.testing.assert_close(embed(encoder, _images(7), batch_size=3, device="cpu"), whole)


def test_modes_statistics_and_random_state_are_left_alone(encoder: _Encoder) -> None:
    encoder.train()
    encoder.layers[1].eval()  # a frozen part inside a training encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    embed(encoder, _images(4), batch_size=4, device="cpu")
    assert [module.training for module in encoder.layers] == [True, False, True, True, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_files_equal_images_in_memory(encoder: _Encoder, tmp_path: Path) -> None:
    paths = []
    for index, image in enumerate(_images(5)):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(paths[-1])
    in_memory = embed(encoder, load_images(paths, (10, 8)), batch_size=2, device="cpu")
    from_files = embed_files(encoder, paths, size=(10, 8), batch_size=2, device="cpu", num_threads=2)
    assert torch.equal(in_memory, from_files)


def test_refuses_nothing(encoder: _Encoder) -> None:
    with pytest.raises(AssertionError, match="no image"):
        embed(encoder, _images(0), batch_size=2, device="cpu")
    with pytest.raises(AssertionError, match="no image"):
        embed_files(encoder, [], size=(8, 4), batch_size=2, device="cpu")


def test_flip_makes_an_image_and_its_mirror_the_same(encoder: _Encoder) -> None:
    images = _images(4)
    found = embed(encoder, images, batch_size=2, device="cpu", flip=True)
    torch.testing.assert_close(embed(encoder, images.flip(-1), batch_size=3, device="cpu", flip=True), found)
    encoder.eval()
    both = encoder(as_float(images)).embedding + encoder(as_float(images.flip(-1))).embedding
    torch.testing.assert_close(found, torch.nn.functional.normalize(both.detach(), dim=1))


def test_a_cpu_always_computes_in_full_precision(encoder: _Encoder) -> None:
    plain = embed(encoder, _images(3), batch_size=3, device="cpu")
    assert torch.equal(embed(encoder, _images(3), batch_size=3, device="cpu", mixed_precision=True), plain)


@pytest.mark.gpu
def test_mixed_precision_stays_close_on_a_gpu(encoder: _Encoder) -> None:
    encoder.cuda()
    plain = embed(encoder, _images(8), batch_size=8, device="cuda")
    lower = embed(encoder, _images(8), batch_size=8, device="cuda", mixed_precision=True)
    torch.testing.assert_close(lower, plain, atol=5e-3, rtol=0)


def test_a_broken_file_is_named_also_by_the_thread_that_reads_ahead(encoder: _Encoder, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.png was a readable picture"):
        embed_files(encoder, [tmp_path / "text.png"], size=(8, 6), batch_size=2, device="cpu", num_threads=2)
