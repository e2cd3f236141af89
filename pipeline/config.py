"""From a preset, a file and overrides to one checked configuration for every stage."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pipeline.settings_file import read_settings, read_yaml
from reid_core.errors import UserError
from stages.stage import ResultNeutral, Stage, StageConfig

# No setting is longer, and MLflow takes no longer one.
_MAX_VALUE_LENGTH = 6000
_SHOWN_OF_KEY = 100

# Keys of earlier versions: the key of today, or why it went.
RENAMED: Mapping[str, str] = {
    "identity.num_workers": "identity.num_ranks",
    "generator.num_workers": "generator.num_ranks",
    "joint.num_workers": "joint.num_ranks",
    "joint.contrast.encoder_passes": "the encoder passes once over each kind of images; leave the key out",
}


def configure(
    stages: Sequence[Stage],
    preset: Mapping[str, StageConfig],
    *,
    file: Mapping[str, Any] | None = None,
    overrides: Sequence[tuple[str, Any]] = (),
    seed: int | None = None,
) -> dict[str, StageConfig]:
    """Resolve the configuration of every stage; what comes later wins.

    Args:
        stages: All of them.
        preset: Stage name to configuration; a stage's defaults (the published values) where it has none.
        file: Sections of a configuration file.
        overrides: Dotted keys and values, such as ``("joint.num_epochs", 3)``.
        seed: Of every stage that has a ``seed`` of its own.

    Returns:
        Stage name to configuration, all of them valid.
    """
    classes = {stage.name: stage.config for stage in stages}
    keys = all_keys(classes)
    sections: dict[str, Any] = {name: preset[name].model_dump() if name in preset else {} for name in classes}
    seeds = {name: {"seed": seed} for name, config in classes.items() if "seed" in config.model_fields}
    for layer in (file or {}, seeds if seed is not None else {}, *(_under(*pair) for pair in overrides)):
        sections = _merged(sections, layer)
    for name, section in sections.items():
        if name not in classes:
            raise unknown_key(_first_key(name, section), [*classes, *keys])
    configs = {name: _validated(name, config, sections[name], keys) for name, config in classes.items()}
    for key, text in flat(configs).items():
        if len(text) > _MAX_VALUE_LENGTH:
            raise _too_long(key, len(text))
    return configs


def _under(key: str, value: Any) -> dict[str, Any]:
    """Return a value under a dotted key as a section of a file would hold it."""
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _merged(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in above.items():
        is_group = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merged(base[name], value) if is_group else value
    return merged


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as YAML, so that numbers, lists and ``null`` are what they look like."""
    key, sign, value = text.partition("=")
    if len(value) > _MAX_VALUE_LENGTH:
        raise _too_long(key.strip(), len(value))
    if not sign or not key.strip():
        raise UserError(f'an override looks like joint.num_epochs=3, but "{text}" came; see genvar pipeline --help')
    try:
        return key.strip(), read_yaml(value)
    except ValueError as error:
        raise UserError(f'the value of the override "{text}" cannot be read; put quotes around it') from error


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a configuration file: YAML, JSON or TOML, by the end of its name."""
    content = read_settings(path, "the configuration file", "--config")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"the configuration file {path} should hold a section a stage, but holds {type(content)}")
    _refuse_long("", content)
    return content


def _refuse_long(key: str, value: Any) -> None:
    """Refuse names and values that no setting has, before a message repeats them."""
    if isinstance(value, dict):
        for name, below in value.items():
            _refuse_long(f"{key}.{name}".removeprefix("."), below)
    elif isinstance(value, list):
        for below in value:
            _refuse_long(key, below)
    for text in (key, value):
        if isinstance(text, str) and len(text) > _MAX_VALUE_LENGTH:
            raise _too_long(key, len(text))


def _too_long(key: str, length: int) -> UserError:
    return UserError(
        f"a value of at most {_MAX_VALUE_LENGTH:,} characters is wanted for {key[:_SHOWN_OF_KEY]}, but {length:,} "
        "came; shorten it, or name a file instead"
    )


def all_keys(classes: Mapping[str, type[BaseModel]]) -> list[str]:
    """Return every dotted key that can be set."""
    return [f"{name}.{key}" for name, model in classes.items() for key, _ in _settings(model)]


def neutral_keys(config: type[BaseModel], *, display: bool) -> frozenset[str]:
    """Return the dotted keys of a configuration that carry the mark ``ResultNeutral``.

    Args:
        config: Configuration of a stage.
        display: Whether those that decide what is written beside the results are among them.
    """
    return frozenset(
        key
        for key, marks in _settings(config)
        if any(isinstance(mark, ResultNeutral) and (display or not mark.display) for mark in marks)
    )


def unknown_key(key: str, keys: Iterable[str]) -> UserError:
    """Return the error for a key that does not exist; it names the one of today, or the nearest one."""
    for old, new in RENAMED.items():
        if f"{key}.".startswith(f"{old}."):
            is_key = " " not in new
            return UserError(f'the key "{old}" is {f"now {new}; rename it" if is_key else f"gone: {new}"}')
    keys = list(keys)
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [known for known in keys if known.rsplit(".", 1)[-1] == leaf]
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    leaves = {known.rsplit(".", 1)[-1]: known for known in reversed(keys)}
    near_leaf = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.5)]
    nearest = (near if near and near[0] in same_leaf else []) or same_leaf or near or near_leaf
    hint = f"did you mean {nearest[0]}?" if nearest else "genvar pipeline --dry-run lists all of them"
    return UserError(f'there is no configuration key "{key}"; {hint}')


def flat(configs: Mapping[str, StageConfig]) -> dict[str, str]:
    """Return the configuration under dotted names, as text."""
    dumped = {name: config.model_dump(mode="json") for name, config in configs.items()}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in _flat("", dumped)}


def _flat(prefix: str, value: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(f"{prefix}{key}.", item)
        else:
            yield f"{prefix}{key}", item


def _first_key(name: str, value: Any) -> str:
    """Return the first dotted key of what lies under a name."""
    return next(key for key, _ in _flat("", {name: value}))


def _settings(config: type) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Walk a configuration class: the dotted name of every setting, and the marks on it and on what it lies in."""
    for name, field in _fields(config).items():
        if (group := _group_in(field.annotation)) is not None:
            yield from ((f"{name}.{key}", (*field.metadata, *marks)) for key, marks in _settings(group))
        else:
            yield name, tuple(field.metadata)


def _fields(config: type[Any]) -> Mapping[str, FieldInfo]:
    if issubclass(config, BaseModel):
        return config.model_fields
    hints = typing.get_type_hints(config, include_extras=True)
    return {field.name: FieldInfo.from_annotation(hints[field.name]) for field in dataclasses.fields(config)}


def _group_in(annotation: Any) -> type | None:
    """Return the settings class inside an annotation such as ``Settings`` or ``Settings | None``."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [group for part in typing.get_args(annotation) if (group := _group_in(part)) is not None]
        return found[0] if found else None
    return None


def _validated(name: str, config: type[StageConfig], section: Any, keys: Sequence[str]) -> StageConfig:
    try:
        return config.model_validate(section)
    except ValidationError as error:
        problems = error.errors()
        first = problems[0]
        key = ".".join([name, *(str(part) for part in first["loc"])])
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            raise unknown_key(_first_key(key, first["input"]), keys) from error
        if first["type"] in ("model_type", "dataclass_type"):
            below = next(known for known in keys if known.startswith(f"{key}."))
            raise UserError(f'"{key}" is a group of settings; set one of them, such as {below}') from error
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise UserError(f"{key}: {_sentence(first)}{more}") from error


def _sentence(problem: ErrorDetails) -> str:
    """Turn pydantic's "Input should be ..." into what was wanted and what came."""
    if problem["type"] == "missing":
        return "a value is wanted, but none came; set it"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if isinstance(problem["input"], dict):
        return f"{message}; correct it"
    return f"{message}, but {problem['input']!r} came; correct it"
