"""Conditions that the scores of a network hold under, written by the stage that trained it, and inherited."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from reid_core.data.manifest import read_manifest

FILE = "conditions.json"
UNKNOWN = "unknown"


class Conditions(BaseModel):
    """Facts that a result is to be read with; None where the stage, of an earlier version, did not record them.

    Attributes:
        camera_ids: Settings by which camera ids reached the weights or the labels, of all stages up to here.
        pretraining: Weights that the first training started from.
        epoch: The one whose weights were kept.
        dataset: Name and version of the data set.
        image_size: Height and width of the images, in pixels.
        seeds: Stage to seed, of all stages up to here.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    camera_ids: tuple[str, ...] | None = None
    pretraining: str | None = None
    epoch: str | None = None
    dataset: str | None = None
    image_size: tuple[int, int] | None = None
    seeds: dict[str, int] | None = None

    def trained(self, stage: str, seed: int, num_epochs: int, camera_ids: Iterable[str] = ()) -> "Conditions":
        """Return the conditions of what a training stage made of weights that hold under these.

        Args:
            stage: Its name.
            seed: Of its random draws.
            num_epochs: Epochs that were trained; after none, no other setting had an effect.
            camera_ids: Its settings by which camera ids reached the weights.
        """
        changed = self.using(stage, camera_ids) if num_epochs else self
        epoch = f"last ({num_epochs})" if num_epochs else "none"
        return changed.model_copy(update={"epoch": epoch, "seeds": {**(self.seeds or {}), stage: seed}})

    def using(self, stage: str, camera_ids: Iterable[str]) -> "Conditions":
        """Return these conditions and the settings by which a stage used camera ids."""
        own = tuple(f"{stage}.{setting}" for setting in camera_ids)
        if self.camera_ids is None:  # an own use is certain, but no own use does not mean none before
            return self.model_copy(update={"camera_ids": own or None})
        return self.model_copy(update={"camera_ids": self.camera_ids + own})

    def words(self) -> dict[str, str]:
        """Return the conditions for people: heading to text, the seeds last."""
        cameras, size, seeds = self.camera_ids, self.image_size, sorted(set((self.seeds or {}).values()))
        return {
            "camera ids used": UNKNOWN if cameras is None else "yes" if cameras else "no",
            "pre-training": self.pretraining or UNKNOWN,
            "epoch": self.epoch or UNKNOWN,
            "data set": self.dataset or UNKNOWN,
            "image size": f"{size[0]} x {size[1]}" if size else UNKNOWN,
            "seeds": f"1 (seed{'s' * (len(seeds) > 1)} {' and '.join(map(str, seeds))})" if seeds else UNKNOWN,
        }


_FILES = TypeAdapter(dict[str, Conditions])


def untrained(data_dir: Path, *, weights: str, seed: int) -> Conditions:
    """Return the conditions of an encoder that has only been loaded.

    Args:
        data_dir: Output of the data stage.
        weights: Name of the weights, or their file; of what a file was trained with, nothing is known.
        seed: Of the layers that no weights were loaded into.
    """
    info = read_manifest(data_dir / "manifest.parquet").info
    is_file = Path(weights).expanduser().is_file()
    return Conditions(
        camera_ids=None if is_file else (),
        pretraining=Path(weights).name if is_file else weights,
        epoch="none",
        dataset=f"{info['dataset']} {info['version'] or ''}".strip(),
        image_size=info["image_size"],
        seeds={"identity": seed},
    )


def write_conditions(stage_dir: Path, conditions: Mapping[str, Conditions]) -> None:
    """Write the conditions of what a stage leaves, by the name that results are listed under."""
    (stage_dir / FILE).write_bytes(_FILES.dump_json(dict(conditions), indent=1))


def read_conditions(stage_dir: Path) -> Mapping[str, Conditions]:
    """Read what ``write_conditions`` wrote; every name has unknown conditions where that is missing or broken."""
    try:
        known = _FILES.validate_json((stage_dir / FILE).read_bytes())
    except (OSError, ValidationError):
        known = {}
    return defaultdict(Conditions, known)
