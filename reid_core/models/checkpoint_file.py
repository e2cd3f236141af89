"""Reading checkpoints of other projects: tensors alone, whatever else lies in the file and whatever it really is."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from reid_core.errors import UserError, first_line

_WRAPPINGS = ("state_dict", "model", "model_state_dict", "model_state", "net", "network")
_ARCHIVES = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR"}
_START = 1024  # bytes that tell what a file is
_QUOTED = 60  # characters of a text that are repeated


class _PassedOver:
    """Stands for NumPy's numbers and arrays and for options beside the weights, so that none of their code runs."""

    def __init__(self, *content: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# Scores (torchreid keeps rank-1 as a NumPy number) and options of the command line, under their names in a pickle.
_PASSED_OVER = [
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    "argparse.Namespace",
    "builtins.bytes",  # what an empty array holds
]


def read_foreign_state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint of any of the peers: safetensors, a state dict, or one inside of ``state_dict`` or ``model``.

    What a file is, its content tells, not its suffix.
    """
    if path.is_dir():
        raise UserError(f"the checkpoint {path} is a folder; name the file in it")
    if not path.exists():
        raise UserError(
            f"the checkpoint {path} does not exist; give none, imagenet, offline or an existing file as weights"
        )
    refuse_other_files(path)
    try:
        content = load_file(path) if _is_safetensors(path) else _load_tensors(path)
    except pickle.UnpicklingError as error:
        # Torch's own words advise to load it all the same.
        named = re.search(r"GLOBAL (\S+)", str(error))
        problem = (
            f"it holds Python objects ({named[1]}), which could execute anything"
            if named
            else "it is none that torch saved, or damaged"
        )
        raise UserError(
            f"the checkpoint {path} cannot be read as tensors alone: {problem}; save it again as a plain state dict"
        ) from error
    except Exception as error:  # whatever a damaged file makes the readers stumble over
        raise UserError(
            f"the checkpoint {path} cannot be read as tensors alone ({first_line(error)}); "
            "download it again, or save it again as a plain state dict"
        ) from error
    state = _unwrapped(content)
    if not isinstance(state, Mapping):
        raise UserError(f"the checkpoint {path} holds a {type(state).__name__}, wanted a state dict (name to tensor)")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(sorted(map(str, state))[:5]) or "none"
        raise UserError(
            f"the checkpoint {path} holds no tensors, neither itself nor under {' or '.join(_WRAPPINGS[:2])} "
            f"(its keys: {keys}); save the network's state dict alone"
        )
    return tensors


def refuse_other_files(path: Path) -> None:
    """Refuse what is often found in the place of weights: an empty file, a pointer, a web page, a text, an archive."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError as error:
        raise UserError(f"the weights {path} cannot be read ({error.strerror}); name a file that can be") from error
    text = _as_text(start)
    archive = next((name for magic, name in _ARCHIVES.items() if start.startswith(magic)), None)
    if start[257:262] == b"ustar":
        archive = "tar"
    if not start:
        problem = "is empty; download or copy the weights again"
    elif start.startswith(b"version https://git-lfs"):
        problem = "is a Git LFS pointer, not the weights it points to; fetch them with git lfs pull"
    elif re.match(r"\s*<(!doctype|html|head|\?xml|!--)", text, re.IGNORECASE):
        problem = "is a web page, not weights; open the address in a browser and save the file that it offers"
    elif text:
        beginning = " ".join(text.split())[:_QUOTED]
        problem = f"is a text, not weights (it begins with {beginning!r}); name a checkpoint or download it again"
    elif archive:
        problem = f"is a packed archive ({archive}), not weights; unpack it and name the file inside"
    else:
        return
    raise UserError(f"{path} {problem}")


def _as_text(start: bytes) -> str:
    """Return a file's beginning as text, empty where it is none."""
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        # A character may have been cut at the end.
        text = start.decode(encoding, errors="strict" if len(start) < _START else "ignore")
    except UnicodeDecodeError:
        return ""
    if len(text.encode(encoding)) < len(start) - 4:  # more than one cut character was ignored
        return ""
    return text if all(character.isprintable() or character.isspace() for character in text) else ""


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _load_tensors(path: Path) -> Any:
    passed_over: Any = [(_PassedOver, name) for name in _PASSED_OVER]
    with warnings.catch_warnings(), torch.serialization.safe_globals(passed_over):
        warnings.simplefilter("ignore")  # on the kind of pickle
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrapped(content: Any) -> Any:
    """Return the state dict inside of the mappings around it."""
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = next((content[key] for key in _WRAPPINGS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    return content
