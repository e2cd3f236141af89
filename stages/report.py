"""The report stage: one page that tells what happened, from what the other stages left in their folders."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from stages import cluster, data, evaluate, generator, identity, joint, mesh
from stages.reporting.facts import read_facts
from stages.reporting.page import page
from stages.stage import Stage, StageConfig

REPORTED = (
    data.STAGE,
    mesh.STAGE,
    identity.STAGE,
    generator.STAGE,
    cluster.STAGE,
    joint.STAGE,
    evaluate.STAGE,
)


class ReportConfig(StageConfig):
    """Settings of the report."""

    title: str = Field(
        default="Person re-identification by generated variance",
        min_length=1,
        max_length=200,
        description="Heading of the page.",
    )


def run(config: ReportConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Write ``report.html``: self-contained, no script, nothing fetched; and its size into ``summary.json``."""
    stages = {stage.name: read_facts(stage, inputs[stage.name]) for stage in REPORTED}
    document = page(config.title, stages)
    (out_dir / "report.html").write_text(document, encoding="utf-8")
    summary = {"report": "report.html", "num_pictures": sum(len(facts.pictures) for facts in stages.values())}
    (out_dir / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


STAGE = Stage(
    name="report",
    version=1,
    config=ReportConfig,
    needs=tuple(stage.name for stage in REPORTED),
    run=run,
    does="writes this page",
)
