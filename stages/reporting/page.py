"""The report as one page: what its template is filled with, section by section."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined

from stages.reporting.curves import Curve, curves, is_number
from stages.reporting.facts import StageFacts
from stages.reporting.pictures import CAPTIONS, Picture, picture
from stages.reporting.results import (
    best_on_test,
    body_table,
    camera_note,
    camera_table,
    cluster_table,
    encoder_table,
    has_intervals,
    headline,
    query_note,
    sentence,
)

# The packages that a result can depend on; the others are in each stage's own record.
PACKAGES_SHOWN = (
    "genvar", "python", "torch", "torchvision", "pytorch3d", "easypytorch3d", "anny", "faiss-gpu", "faiss-cpu", "ray",
    "mlflow", "numpy", "pyarrow", "pydantic", "scikit-learn", "pillow",
)  # fmt: skip
# Entries of a summary that are sentences for people, and what is said before them.
SENTENCES = {"note": "", "notes": "", "left out": "left out unreadable images: "}
LONGEST_REMARK = 400  # characters


@dataclass(frozen=True)
class StageLine:
    """One stage as the page tells it.

    Attributes:
        name: Name of the stage.
        does: What it does, in a few words.
        time: How long it took.
        when: When it was computed, and whether this pipeline reused it from an earlier one.
        wrote: How much it wrote.
        facts: Its own summary, name and value.
        curves: Its measurements by epoch.
    """

    name: str
    does: str
    time: str
    when: str
    wrote: str
    facts: tuple[tuple[str, str], ...]
    curves: tuple[Curve, ...]


def page(title: str, stages: Mapping[str, StageFacts]) -> str:
    """Return the report as one HTML document that needs nothing beside itself.

    Args:
        title: Heading; the data set's name is appended by the caller if wanted.
        stages: Facts of every stage before the report, in the order of the pipeline.
    """
    metrics = stages["evaluate"].metrics
    newest = newest_pipeline(stages)
    return render(
        "report.html.j2",
        title=title,
        dataset=dataset_of(stages),
        version=metrics.get("version") or "",
        when=finished(stages),
        total_time=duration(sum(seconds_of(facts) for facts in stages.values())),
        headline=headline(stages),
        encoders=encoder_table(stages),
        query_note=query_note(stages),
        camera_note=camera_note(stages),
        intervals=has_intervals(stages),
        best_on_test=best_on_test(stages),
        cameras=camera_table(stages),
        clusters=cluster_table(stages),
        bodies=body_table(stages["mesh"]),
        monitored=any(facts.monitor for facts in stages.values()),
        lines=[stage_line(facts, newest) for facts in stages.values()],
        gallery=pictures_of(stages),
        remarks=remarks(stages),
        environment=environment_of(stages),
        configuration=configuration(stages),
        deterministic=any(facts.marker.get("deterministic") is True for facts in stages.values()),
    )


def render(template: str, **values: object) -> str:
    """Return a page; every value is escaped, and a name that the template uses must be given.

    Args:
        template: File name in the ``stages`` package.
        values: What it is filled with.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_read)
    )
    return environment.get_template(template).render(**values)


def _read(name: str) -> str:
    return (files("stages") / name).read_text(encoding="utf-8")


def newest_pipeline(stages: Mapping[str, StageFacts]) -> str:
    """Return the pipeline that computed the stage which ended last, or an empty text when none recorded it."""
    known = [facts.marker for facts in stages.values() if isinstance(facts.marker.get("pipeline"), str)]
    return str(max(known, key=lambda marker: str(marker.get("finished")))["pipeline"]) if known else ""


def stage_line(facts: StageFacts, newest: str = "") -> StageLine:
    """Return what the page says of one stage; ``newest`` is the pipeline that computed the latest of them."""
    reused = bool(newest) and facts.marker.get("pipeline", newest) != newest
    return StageLine(
        name=facts.stage.name,
        does=facts.stage.does,
        time=duration(seconds_of(facts)) if is_number(facts.marker.get("seconds")) else "–",
        when=minute(str(facts.marker.get("finished") or "–")) + (", reused" if reused else ""),
        wrote=f"{facts.num_files:,} {'file' if facts.num_files == 1 else 'files'}, {size(facts.num_bytes)}",
        facts=()
        if facts.metrics
        else tuple(  # the scores stand in the table of results already
            (name.replace("_", " "), words(value)) for name, value in facts.summary.items() if value != ""
        ),
        curves=curves(facts.history, facts.monitor),
    )


def pictures_of(stages: Mapping[str, StageFacts]) -> list[Picture]:
    """Embed the pictures: those of the last stage first, so what was found before what it was made from."""
    known = list(CAPTIONS)
    return [
        picture(facts.stage.name, path, kind=kind_of(path.stem, facts))
        for facts in reversed(list(stages.values()))
        for path in sorted(
            facts.pictures, key=lambda path: known.index(path.stem) if path.stem in known else len(known)
        )
    ]


def kind_of(stem: str, facts: StageFacts) -> str:
    """Return what a picture shows: its file's name, unless the same sheet was drawn without bodies."""
    without_mesh = stem == "generator-grid" and facts.summary.get("num_images_with_mesh") == 0
    return "generator-grid-without-mesh" if without_mesh else stem


def remarks(stages: Mapping[str, StageFacts]) -> list[str]:
    """Collect the sentences that stages wrote for people: no mesh, unreadable images, a withdrawn data set."""
    said: dict[str, None] = {}
    for facts in stages.values():
        for name, value in facts.summary.items():
            if isinstance(value, str) and value and name in SENTENCES:
                text = value if len(value) <= LONGEST_REMARK else value[:LONGEST_REMARK].rsplit(" ", 1)[0] + " ..."
                said[f"{facts.stage.name}: {sentence(SENTENCES[name] + text)}"] = None
    return list(said)


def dataset_of(stages: Mapping[str, StageFacts]) -> str:
    """Return the name of the data set."""
    known = stages["evaluate"].metrics.get("dataset") or stages["data"].summary.get("dataset")
    return str(known or stages["data"].config.get("dataset") or "unknown data")


def environment_of(stages: Mapping[str, StageFacts]) -> list[tuple[str, str]]:
    """Return package versions and commit, from the last stage that recorded them."""
    for facts in reversed(list(stages.values())):
        packages = facts.marker.get("packages") or facts.marker.get("package_versions")
        if isinstance(packages, dict):
            shown = [(name, str(packages[name])) for name in PACKAGES_SHOWN if name in packages]
            commit = facts.marker.get("git_commit") or facts.marker.get("commit")
            return [*shown, *([("commit", str(commit))] if commit else [])]
    return []


def configuration(stages: Mapping[str, StageFacts]) -> str:
    """Return the resolved configuration of every stage, as a file that ``--config`` reads."""
    resolved = {name: dict(facts.config) for name, facts in stages.items() if facts.config}
    return yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True) if resolved else ""


def finished(stages: Mapping[str, StageFacts]) -> str:
    """Return when the last stage ended, as it wrote it, to the minute."""
    times = [facts.marker.get("finished") for facts in stages.values()]
    return minute(max((time for time in times if isinstance(time, str)), default=""))


def minute(time: str) -> str:
    """Write a time as a stage recorded it to the minute; anything else as it is."""
    try:
        return datetime.datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return time


def seconds_of(facts: StageFacts) -> float:
    """Return how long a stage took; 0 when it did not say."""
    seconds = facts.marker.get("seconds")
    return float(seconds) if is_number(seconds) else 0.0


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(num_bytes: int) -> str:
    """Write a number of bytes for people."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def words(value: Any) -> str:
    """Write a value of a summary for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {words(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(words(part) for part in value)
    return "none" if value is None else str(value)
