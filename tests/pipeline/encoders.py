"""An encoder on disk, and a home with finished runs that hold it, for the tests of what uses trained encoders."""

from collections.abc import Mapping
from pathlib import Path

from infra.home import Home
from infra.tracking.store import RunStore
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import identity_header, save_weights
from reid_core.seeds import initialised

SIZE = (32, 16)


def write_encoder(path: Path, *, seed: int = 0) -> Path:
    """Write an encoder with the weights it was born with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = initialised(lambda: IdentityEncoder("resnet10"), seed)
    save_weights(encoder, path, identity_header(encoder, SIZE))
    return path


def finish_pipeline(home: Home, name: str, seeds: Mapping[str, int], folder: Path) -> dict[str, str]:
    """Leave a finished pipeline whose stages hold encoders of the given seeds; returns run ids by stage."""
    store = RunStore(home, f"sqlite:///{home.database}", "people")
    parent = store.start(name, params={}, tags={"kind": "pipeline"}, parent=None)
    ids = {"pipeline": parent}
    for stage, seed in seeds.items():
        ids[stage] = store.start(stage, params={}, tags={"stage": stage}, parent=parent)
        out_dir = folder / f"{name} {stage}"
        write_encoder(out_dir / "identity.safetensors", seed=seed)
        store.upload(ids[stage], out_dir)
        store.end(ids[stage], "FINISHED")
    store.end(parent, "FINISHED")
    return ids
