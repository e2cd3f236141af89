from pathlib import Path

import pytest

from pipeline.command import Options, resolve
from pipeline.tune.space import READY_SPACES, Dimension, check_space, parse_dimension, read_space
from reid_core.errors import UserError


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("uniform(0.4, 0.7)", "uniform", (0.4, 0.7)),
        (" log( 1e-4 ,1e-2 ) ", "log", (1e-4, 1e-2)),
        ("int(4, 30)", "int", (4, 30)),
        ("choice(dmixup, none)", "choice", ("dmixup", "none")),
        ("choice(true, false)", "choice", (True, False)),
    ],
)
def test_what_a_setting_may_be(text: str, kind: str, values: tuple[object, ...]) -> None:
    dimension = parse_dimension("joint.x", text)
    assert (dimension.kind, dimension.values, dimension.stage) == (kind, values, "joint")


def test_a_dimension_reads_back_what_it_says() -> None:
    dimension = Dimension("joint.lr", "log", (1e-4, 1e-2))
    key, _, text = str(dimension).partition("=")
    assert parse_dimension(key, text) == dimension


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.5", "is written as uniform"),
        ("normal(0, 1)", "is written as uniform"),
        ("uniform(0.7, 0.4)", "the lower end should be below the upper"),
        ("log(0, 1)", "above 0"),
        ("int(1.5, 3)", "two whole numbers"),
        ("uniform(1)", "two numbers"),
        ("choice(a)", "at least two different values"),
        ("choice(a, a)", "at least two different values"),
    ],
)
def test_what_cannot_be_varied_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_dimension("joint.x", text)


def _check(space: tuple[Dimension, ...]) -> None:
    base = Options(dataset="synthetic")
    check_space(space, lambda pairs: resolve(Options(overrides=tuple(f"{k}={v}" for k, v in pairs)), None) and base)


@pytest.mark.parametrize("name", READY_SPACES)
def test_ready_spaces_are_allowed_by_the_configuration(name: str) -> None:
    space = read_space(name, ())
    assert len({dimension.key for dimension in space}) == len(space) >= 2
    _check(space)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("joint.learning_rate=log(1e-4, 1e-2)", "there is no configuration key"),
        ("joint.lr=log(1e-4, 100)", "joint.lr: should be less than or equal to 1"),
        ("joint.batch_size=uniform(2.5, 16)", "joint.batch_size"),
        ("joint.mixing=choice(dmixup, cutmix)", "joint.mixing"),
    ],
)
def test_a_space_that_the_configuration_does_not_allow_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        _check(read_space(None, (text,)))


def test_a_file_and_later_texts(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("joint.lr: log(1e-4, 1e-2)\njoint.clustering.eps: uniform(0.4, 0.6)\n")
    space = read_space(str(file), ("joint.lr=choice(0.001, 0.002)", "joint.clustering.k1=int(5, 9)"))
    assert [str(dimension) for dimension in space] == [
        "joint.lr=choice(0.001, 0.002)",
        "joint.clustering.eps=uniform(0.4, 0.6)",
        "joint.clustering.k1=int(5, 9)",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "there is no"), ("[1, 2]", "should map settings"), ("a: [", "is not valid")]
)
def test_a_file_that_is_none_is_refused(content: str | None, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_space(str(file), ())


def test_nothing_to_vary_is_refused() -> None:
    with pytest.raises(UserError, match="something to vary"):
        read_space(None, ())
    with pytest.raises(UserError, match="--vary looks like"):
        read_space(None, ("joint.lr",))


def test_values_that_yaml_cannot_read_are_texts() -> None:
    [dimension] = read_space(None, ("joint.mixing=choice(*a, !x)",))
    assert dimension.values == ("*a", "!x")
    for text in ("joint.lr=log([, 1)", "joint.lr=uniform(\t@, {)"):
        with pytest.raises(UserError, match="wants two numbers"):
            read_space(None, (text,))


def test_a_file_that_is_no_space_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"the search space .* is not valid"):
        read_space(str(path), ())
    with pytest.raises(UserError, match="but there is no"):
        read_space("x" * 300, ())
