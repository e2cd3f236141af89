"""From a preset, a file and overrides to one checked configuration for every stage."""

import dataclasses
import difflib
import importlib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reid_core.errors import UserError
from stages.stage import ResultNeutral, Stage, StageConfig

# Settings are a few kilobytes; a parser would need many times the size of a large file.
_MAX_FILE_BYTES = 1_000_000
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

Sections = dict[str, dict[str, Any]]


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
    sections = {stage.name: preset[stage.name].model_dump() if stage.name in preset else {} for stage in stages}
    classes = {stage.name: stage.config for stage in stages}
    keys = all_keys(classes)
    _merge(sections, dict(file or {}), keys)
    if seed is not None:
        for stage in stages:
            if "seed" in stage.config.model_fields:
                sections[stage.name]["seed"] = seed
    for key, value in overrides:
        set_key(sections, key, value, keys)
    configs = {name: _validated(name, classes[name], section, keys) for name, section in sections.items()}
    for key, text in flat(configs).items():
        if len(text) > _MAX_VALUE_LENGTH:
            raise _too_long(key, len(text))
    return configs


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as YAML, so that numbers, lists and ``null`` are what they look like."""
    key, sign, value = text.partition("=")
    if len(value) > _MAX_VALUE_LENGTH:
        raise _too_long(key.strip(), len(value))
    if not sign or not key.strip():
        raise UserError(f'an override looks like joint.num_epochs=3, but "{text}" came; see genvar pipeline --help')
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f'the value of the override "{text}" cannot be read; put quotes around it') from error


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a configuration file: YAML, JSON or TOML, by the end of its name."""
    if path.is_file() and (size := path.stat().st_size) > _MAX_FILE_BYTES:
        raise UserError(
            f"the configuration file {path} may have up to {_MAX_FILE_BYTES:,} bytes, but has {size:,}; it holds "
            "settings alone, so name data and weights by their paths"
        )
    try:
        text = path.read_text()
        if path.suffix == ".toml":
            content: Any = _read_toml(text)
        elif path.suffix == ".json":
            content = json.loads(text)
        else:
            content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"the configuration file {path} cannot be read ({error.strerror}); check --config") from error
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the configuration file {path} is not valid ({reason}); correct it") from error
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
    if (new := RENAMED.get(key)) is not None:
        is_key = " " not in new
        return UserError(f'the key "{key}" is now {new}; rename it' if is_key else f'the key "{key}" is gone: {new}')
    keys = list(keys)
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [known for known in keys if known.rsplit(".", 1)[-1] == leaf]
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    leaves = {known.rsplit(".", 1)[-1]: known for known in reversed(keys)}
    near_leaf = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.5)]
    nearest = (near if near and near[0] in same_leaf else []) or same_leaf or near or near_leaf
    hint = f"did you mean {nearest[0]}?" if nearest else "genvar pipeline --dry-run lists all of them"
    return UserError(f'there is no configuration key "{key}"; {hint}')


def set_key(sections: Sections, key: str, value: Any, keys: Sequence[str]) -> None:
    """Set one dotted key of the sections, which must exist."""
    parents = [known for known in keys if key.startswith(known + ".")]
    if key not in keys and not any(_is_table(sections, parent) for parent in parents):
        if any(known.startswith(key + ".") for known in keys):
            raise UserError(f'"{key}" is a group of settings; set one of them, such as {_below(key, keys)}')
        raise unknown_key(key, keys)
    *path, leaf = key.split(".")
    section: Any = sections
    for name in path:
        section = section.setdefault(name, {})
    section[leaf] = value


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


def _merge(sections: Sections, file: dict[str, Any], keys: Sequence[str]) -> None:
    for name, section in file.items():
        if name not in sections:
            raise unknown_key(name, [*sections, *keys])
        if not isinstance(section, dict):
            raise UserError(f'the section "{name}" of the configuration file should hold settings, but is {section!r}')
        for key, value in _leaves(name, section, keys):
            set_key(sections, key, value, keys)


def _leaves(prefix: str, section: Mapping[str, Any], keys: Sequence[str]) -> Iterable[tuple[str, Any]]:
    for name, value in section.items():
        key = f"{prefix}.{name}"
        if isinstance(value, dict) and any(known.startswith(key + ".") for known in keys):
            yield from _leaves(key, value, keys)
        else:
            yield key, value


def _settings(config: type) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Walk a configuration class: the dotted name of every setting, and the marks on it and on what it lies in."""
    for name, annotation, marks in _fields(config):
        if (nested := _nested(annotation)) is not None:
            yield from ((f"{name}.{key}", (*marks, *below)) for key, below in _settings(nested))
        else:
            yield name, marks


def _fields(config: type) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    if issubclass(config, BaseModel):
        yield from ((name, field.annotation, tuple(field.metadata)) for name, field in config.model_fields.items())
        return
    assert dataclasses.is_dataclass(config)
    hints = typing.get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        annotation, *marks = typing.get_args(hint) if _is_marked(hint := hints[field.name]) else (hint,)
        yield field.name, annotation, tuple(marks)


def _is_marked(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Annotated


def _nested(annotation: Any) -> type | None:
    """Return the settings class inside an annotation such as ``Settings`` or ``Settings | None``."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [model for part in typing.get_args(annotation) if (model := _nested(part)) is not None]
        return found[0] if found else None
    return None


def _is_table(sections: Sections, key: str) -> bool:
    value: Any = sections
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return isinstance(value, dict)


def _below(key: str, keys: Sequence[str]) -> str:
    return next(known for known in keys if known.startswith(key + "."))


def _validated(name: str, model: type[StageConfig], section: dict[str, Any], keys: Sequence[str]) -> StageConfig:
    try:
        return model.model_validate(section)
    except ValidationError as error:
        problems = error.errors()
        first = problems[0]
        key = ".".join([name, *(str(part) for part in first["loc"])])
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            raise unknown_key(key, keys) from error
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


def _read_toml(text: str) -> Any:
    try:
        tomllib = importlib.import_module("tomllib")
    except ModuleNotFoundError as error:
        raise ValueError("TOML needs Python 3.11 or newer; write it as YAML") from error
    return tomllib.loads(text)
