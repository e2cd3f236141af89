"""Settings of a set of rendered people."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Lt

from reid_core.mesh.body import Topology

# Raised when the same settings give other pictures.
VERSION = 2


@dataclass(frozen=True)
class SyntheticSettings:
    """Size and seed of a set of rendered people; all defaults are ours.

    Attributes:
        num_train_people: Identities of the training split.
        num_test_people: Other identities, of query and gallery.
        images_per_person: Photographs of each, spread over the cameras the person passes.
        num_cameras: Cameras, as many as Market-1501 at most, each with its side, light, colours and backgrounds.
        image_height: Pixels.
        image_width: Pixels.
        seed: Decides people, cameras and photographs.
        topology: Body mesh to photograph.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    num_train_people: Annotated[int, Ge(1), Le(5000)] = 80
    num_test_people: Annotated[int, Ge(1), Le(4000)] = 40
    images_per_person: Annotated[int, Ge(4), Le(90)] = 10
    num_cameras: Annotated[int, Ge(2), Le(6)] = 4
    image_height: Annotated[int, Ge(32), Le(1024)] = 128
    image_width: Annotated[int, Ge(16), Le(512)] = 64
    seed: Annotated[int, Ge(0), Lt(2**31)] = 0
    topology: Topology = "notoes_collapse5pc"

    @property
    def num_people(self) -> int:
        """Identities of both splits."""
        return self.num_train_people + self.num_test_people

    def digest(self) -> str:
        """Return a short name of everything that one picture depends on, so not of the number of people."""
        facts = {"version": VERSION, **asdict(self)}
        for name in ("num_train_people", "num_test_people"):
            del facts[name]
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()
