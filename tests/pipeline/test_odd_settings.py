"""Random settings of every kind: each ends as a checked plan or as one sentence, never as a traceback."""

import contextlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from infra.compute.ray_cluster import probe_address
from infra.compute.ray_demand import seconds_to_wait
from infra.home import Home, check_home, find_home
from infra.tracking.address import check_store, tracking_uri
from pipeline.command import Options, plan_of, resolve
from pipeline.commands.experiment import parse_seeds
from pipeline.config import all_keys
from pipeline.plan import STAGES, check
from pipeline.reproduce import read_expected
from pipeline.trained_encoder import find_encoder
from pipeline.tune.space import read_space
from reid_core.errors import UserError

# More of them: GENVAR_FUZZ_CASES=25000 (docs/lab/robustness.md).
_CASES = int(os.environ.get("GENVAR_FUZZ_CASES", "1000"))
_KEYS = [*all_keys({stage.name: stage.config for stage in STAGES}), "preset", "dataset", "data_root", "seed"]
_NAMES = ["synthetic", "folder", "msmt17", "market-1501", "tiny", "small", "paper", "data", "mesh", "joint", "report"]
_TEXTS = [
    "", " ", "~", "~nobody-there/x", "..", "/", "/dev/null", "\x00", "a\x00b", "\ud800", "é", "名前", "\u202e",
    "#", "?x=1", "%2f", "%", "null", "true", "yes", "on", "0", "-1", "1e400", "-.inf", ".nan", "1_000", "0x10",
    "010", "1:30", "2020-01-01", "[", "{", "]", "- a", "a: b: c", "*a", "&a 1", "!!python/object:os.system x",
    "!!binary x", "!x", "<<: 1", "\t", "'", '"', "|", ">", "@", "`", "x" * 300, "x" * 7000, "9" * 400, "=",
    "a=b", "1,2", "[1, [2, [3]]]", "{a: {b: c}}", "{1: 2}", "{null: 1}", "{[1]: 2}",
]  # fmt: skip
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 10**30, -(10**30), 0.5, -0.0, 1e308, float("nan"), float("inf"), [], [1],
    [[]], {}, {"": 1}, {1: 2}, {None: None}, {"a": {"b": 1}}, "", "x", [None], ["a", 1], 2**31, 2**63, "1",
    "none", "imagenet",
]  # fmt: skip
_ENVIRONMENT = ["GENVAR_HOME", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "GENVAR_CLUSTER_WAIT", "DATA_ROOT"]
# Addresses that answer at once: nothing is looked up in a network.
_ADDRESSES = [
    "auto", "local", "127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1", ":", ":::", "[::1]:x",
    "ray://127.0.0.1:1", "[", "http://", "http://127.0.0.1:1", "http://[", "http://127.0.0.1:x", "sqlite://",
    "sqlite:///", "sqlite:///a?b", "sqlite:////nowhere/a.db?timeout=x", "postgresql://", "file:/x",
    "mysql://a:b@/c", "databricks", "x://", "0", "-1", "1e9", "inf", "nan",
]  # fmt: skip


def _text(draw: random.Random) -> str:
    if draw.random() < 0.3:
        return "".join(chr(draw.choice([*range(32, 127), 0xE9, 0x4E2D, 10, 9])) for _ in range(draw.randrange(12)))
    return draw.choice(_TEXTS + _NAMES)


def _key(draw: random.Random) -> str:
    key = draw.choice(_KEYS)
    match draw.randrange(8):
        case 0:
            return _text(draw)
        case 1:
            return key.rsplit(".", 1)[0]
        case 2:
            return f"{key}.{_text(draw)}"
        case 3:
            place = draw.randrange(len(key))
            return key[:place] + draw.choice("abz._-0 ") + key[place + 1 :]
    return key


def _value(draw: random.Random, depth: int = 0) -> Any:
    if depth < 3 and draw.random() < 0.3:
        return {_key(draw): _value(draw, depth + 1) for _ in range(draw.randrange(4))}
    return draw.choice([*_VALUES, *_NAMES, _text(draw)])


def _section(key: str, value: Any) -> Any:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _file(draw: random.Random, folder: Path) -> Path:
    """Write a configuration file, or something that is called one."""
    path = folder / f"settings{draw.choice(['.yaml', '.json', '.toml', '', '.txt'])}"
    match draw.randrange(6):
        case 0:
            path.write_bytes(draw.randbytes(draw.randrange(60)))
        case 1:
            path.write_text(_text(draw), encoding="utf-8", errors="replace")
        case 2:
            path.write_text(draw.choice(["[", "{a: ", "- "]) * draw.choice([3, 300]))
        case 3:
            return draw.choice([folder, folder / "none.yaml", Path("/dev/null"), folder / ("x" * 300), Path("\x00")])
        case _:
            content: Any = {}
            for _ in range(draw.randrange(4)):
                content |= _section(_key(draw), _value(draw))
            if path.suffix == ".json":
                path.write_text(json.dumps(content, default=str, skipkeys=True))
            else:
                path.write_text(yaml.safe_dump(content), encoding=draw.choice(["utf-8", "utf-16", "utf-8-sig"]))
    return path


def _options(draw: random.Random, folder: Path) -> Options:
    def maybe(make: Callable[[], Any], share: float = 0.2) -> Any:
        return make() if draw.random() < share else None

    roots = [folder, folder / "crops", Path(_text(draw) or ".")]
    return Options(
        overrides=tuple(
            f"{_key(draw)}{'=' * (draw.random() < 0.95)}{draw.choice([_text(draw), str(_value(draw))])}"
            for _ in range(draw.randrange(4))
        ),
        dataset=maybe(lambda: draw.choice([*_NAMES, _text(draw)])),
        data_root=maybe(lambda: draw.choice(roots)),
        preset=maybe(lambda: draw.choice(["tiny", "small", "paper", _text(draw)])),
        config_file=maybe(lambda: _file(draw, folder), 0.5),
        first=maybe(lambda: draw.choice(_NAMES), 0.1),
        last=maybe(lambda: draw.choice(_NAMES), 0.1),
        force=tuple(draw.choice(_NAMES) for _ in range(draw.choice([0, 0, 0, 2]))),
        home=maybe(lambda: draw.choice([folder / "home", Path(_text(draw) or ".")])),
    )


def _plan(draw: random.Random, options: Options) -> None:
    """Do what a dry run does, up to the table."""
    seeds = parse_seeds(None, draw.choice([None, None, None, _text(draw)]))
    _, configs = resolve(options, seeds[0] if seeds else draw.choice([None, None, 0, -1, 2**40]))
    check(configs, last=options.last)
    plan_of(options, configs)


def _words(draw: random.Random, folder: Path) -> None:
    """Read what else is typed: a search space, an encoder, a file of expected figures."""
    kind = draw.choice(["uniform", "log", "int", "choice", _text(draw)])
    form = f"{kind}({_text(draw)}, {draw.choice(['1', '0.5', '1e-3', _text(draw)])})"
    for read in (
        lambda: read_space(None, (f"{_key(draw)}={draw.choice([form, _text(draw)])}",)),
        lambda: read_space(draw.choice([_text(draw), str(_file(draw, folder))]), ()),
        lambda: read_expected(_file(draw, folder)),
        lambda: "MLFLOW_TRACKING_URI" in os.environ or find_encoder(_text(draw), Home(folder / "empty")),
    ):
        with contextlib.suppress(UserError):
            read()


def _environment(options: Options) -> None:
    home = find_home(options.home)
    check_home(home)
    check_store(tracking_uri(home))


def test_every_setting_is_a_plan_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crops").mkdir()
    for index in range(9):
        Image.new("RGB", (16, 32), (index, 0, 0)).save(tmp_path / "crops" / f"{index:04d}_c{index % 2}s1.png")
    planned = refused = 0
    for case in range(_CASES):
        draw = random.Random(case)
        for name in _ENVIRONMENT:
            value = draw.choice([_text(draw), draw.choice(_ADDRESSES)])
            if draw.random() < 0.3 and "\x00" not in value and value.isprintable():
                monkeypatch.setenv(name, value)
            else:
                monkeypatch.delenv(name, raising=False)
        options = _options(draw, tmp_path)
        for part in (
            lambda: _plan(draw, options),  # noqa: B023 - called at once
            lambda: _environment(options),  # noqa: B023
            lambda: _words(draw, tmp_path),  # noqa: B023
            probe_address,
            seconds_to_wait,
        ):
            try:
                part()
                planned += 1
            except UserError as error:
                sentence = str(error)
                assert len(sentence) > 20, (case, sentence)
                assert "\n" not in sentence, (case, sentence)
                refused += 1
            except Exception as error:
                raise AssertionError(f"case {case}: {type(error).__name__} at {options}") from error
    # Either way must be taken often, or the cases say nothing.
    assert min(planned, refused) > _CASES // 10, (planned, refused)
