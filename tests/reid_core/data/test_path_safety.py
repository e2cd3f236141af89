import pytest

from reid_core.data.path_safety import first_outside, leaves_root


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg", "..", "a/..", "~/x.jpg", "..\\x", "C:\\x", "C:/x", "a\0b", ""],
)
def test_what_leaves_the_root(path: str) -> None:
    assert leaves_root(path)


@pytest.mark.parametrize("path", ["a.jpg", "a/b.jpg", "a..b/c...jpg", "..hidden/x.jpg", "a/~b.jpg", "Ünï/ç.jpg"])
def test_what_stays_below_it(path: str) -> None:
    assert not leaves_root(path)


def test_the_first_one_is_named() -> None:
    assert first_outside(["a.jpg", "../b.jpg", "/c.jpg"]) == "../b.jpg"
    assert first_outside([]) is None
