"""What a set of rendered people looks like as a whole."""

import hashlib
import json
from dataclasses import asdict, dataclass

from reid_core.errors import UserError
from reid_core.mesh.body import TOPOLOGIES

# Raised when the same settings give other pictures.
VERSION = 2

# Bounds of the whole numbers among the settings: name, smallest, largest.
_BOUNDS = (
    ("num_train_people", 1, 5000),
    ("num_test_people", 1, 4000),
    ("images_per_person", 4, 90),
    ("num_cameras", 2, 6),
    ("image_height", 32, 1024),
    ("image_width", 16, 512),
    ("people_per_shard", 1, 1000),
)


@dataclass(frozen=True)
class SyntheticSettings:
    """Size and seed of a set of rendered people.

    Attributes:
        num_train_people: Identities of the training split.
        num_test_people: Other identities, of query and gallery.
        images_per_person: Photographs of each, spread over the cameras the person passes.
        num_cameras: Cameras, each with its side, light, colours and backgrounds.
        image_height: Pixels.
        image_width: Pixels.
        seed: Decides everything drawn; the number of shards decides nothing.
        topology: Body mesh to photograph.
        people_per_shard: Unit of work.
    """

    num_train_people: int = 80
    num_test_people: int = 40
    images_per_person: int = 10
    num_cameras: int = 4
    image_height: int = 128
    image_width: int = 64
    seed: int = 0
    topology: str = "notoes_collapse5pc"
    people_per_shard: int = 5

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"{name} of the rendered people must be from {low} to {high}, got {value}; change it")
        if self.topology not in TOPOLOGIES:
            raise UserError(f"topology must be one of {', '.join(TOPOLOGIES)}, got {self.topology!r}; choose one")

    @property
    def num_people(self) -> int:
        """Identities of both splits."""
        return self.num_train_people + self.num_test_people

    def digest(self) -> str:
        """Short name of everything that the pictures depend on: not of the sharding, not of the number of people."""
        kept = {"version": VERSION, **asdict(self)}
        for name in ("people_per_shard", "num_train_people", "num_test_people"):
            del kept[name]
        return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()
