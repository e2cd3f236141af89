import hashlib

import torch

from reid_core.seeds import derive_seed, generator_for


def test_the_seed_is_the_documented_hash_and_fits_63_bits() -> None:
    digest = hashlib.blake2b(b"7/joint/3", digest_size=8).digest()
    assert derive_seed(7, "joint", 3) == int.from_bytes(digest, "big") >> 1
    assert all(0 <= derive_seed(seed, "x") < 2**63 for seed in range(200))


def test_every_name_and_their_order_matter() -> None:
    seeds = {derive_seed(0, "a", "b"), derive_seed(0, "b", "a"), derive_seed(1, "a", "b"), derive_seed(0, "a", "b", 0)}
    assert len(seeds) == 4


def test_a_generator_draws_the_same_numbers_when_made_again() -> None:
    first = torch.rand(5, generator=generator_for(3, "joint", 2, "batches"))
    again = torch.rand(5, generator=generator_for(3, "joint", 2, "batches"))
    other = torch.rand(5, generator=generator_for(3, "joint", 3, "batches"))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
