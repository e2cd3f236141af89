from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.data.synthetic.settings import SyntheticSettings
from stages import cluster, data, generator, identity, mesh
from stages.stage import Stage, StageConfig
from tests.stages.small_configs import CLUSTERING, GENERATOR, IDENTITY


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Output folders of every stage before joint training, on a few rendered people."""
    root = tmp_path_factory.mktemp("upstream")
    people = SyntheticSettings(num_train_people=4, num_test_people=2, images_per_person=6, num_cameras=2)
    plan: tuple[tuple[Stage, StageConfig], ...] = (
        (data.STAGE, data.DataConfig(image_height=64, image_width=32, synthetic=people)),
        (mesh.STAGE, mesh.MeshConfig(topology="notoes_collapse3pc")),
        (identity.STAGE, IDENTITY),
        (generator.STAGE, GENERATOR),
        (cluster.STAGE, cluster.ClusterStageConfig(clustering=CLUSTERING)),
    )
    compute = LocalCompute(num_cpus=1, deterministic=True)
    outputs: dict[str, Path] = {}
    for stage, config in plan:
        outputs[stage.name] = root / stage.name / "out"
        outputs[stage.name].mkdir(parents=True)
        inputs = {need: outputs[need] for need in stage.needs}
        stage.run(config, inputs, outputs[stage.name], compute, SilentTracker())
    yield outputs
    compute.close()
