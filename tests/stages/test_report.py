import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import pytest

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from stages.report import STAGE, ReportConfig
from tests.stages.reporting.folders import METRICS, finished_stages

VOID = {"meta", "img", "input", "br", "link", "path", "use", "rect"}


class Outline(HTMLParser):
    """Collects tags, text and references of a page, and refuses tags that do not close in order."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.references: list[str] = []
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [
            value
            for name, value in attrs
            if value and (name == "src" or (name == "href" and tag != "use") or (name == "xlink:href" and tag != "use"))
        ]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "td" in self.open:
            self.cells[-1] += data


def report(inputs: dict[str, Path], out_dir: Path, config: ReportConfig | None = None) -> tuple[str, Outline]:
    """Run the stage as the runner does; it asks nothing of the machine, so there is none."""
    out_dir.mkdir(exist_ok=True)
    STAGE.run(config or ReportConfig(), inputs, out_dir, cast(Compute, None), cast(Tracker, None))
    document = (out_dir / "report.html").read_text(encoding="utf-8")
    outline = Outline(document)
    assert not outline.open, "every tag closes"
    return document, outline


def test_the_page_tells_the_scores_and_needs_nothing_beside_itself(tmp_path: Path) -> None:
    document, outline = report(finished_stages(tmp_path), tmp_path / "report")
    text = " ".join(" ".join(outline.text).split())

    assert "Joint training reaches 42.1 % mAP: +5.3 against the identity warm-up, +24.1 against the untrained" in text
    for cell in (
        "untrained encoder",
        "identity warm-up",
        "joint training",
        "36.8",
        "42.1",
        "51.3",
        "15.0",
        "last (6)",
        "0.604",
    ):
        assert cell in outline.cells, cell
    for condition in ("camera ids used", "pre-training", "epoch", "data set", "seeds"):
        assert condition in text
    assert "synthetic rendered-1" in outline.cells
    assert "Mean over 80 queries." in text
    assert outline.references, "pictures and links"
    assert all(reference.startswith(("data:image/", "#")) for reference in outline.references)
    assert "script" not in outline.tags
    assert not re.search(r"@import|url\(\s*['\"]?https?:", document)
    assert outline.tags.count("img") == 5
    # retrieval, clusters, truth, losses and speed: 1 + 1 + 1 + 1 + 1, 3 + 1, 1 + 1 + 1 + 2 + 1
    assert outline.tags.count("svg") == 15


def test_intervals_bodies_and_what_was_reused_are_told(tmp_path: Path) -> None:
    rows = [{**row, "mAP_low": row["mAP"] - 3, "mAP_high": row["mAP"] + 3} for row in METRICS["rows"]]
    inputs = finished_stages(tmp_path, metrics={**METRICS, "rows": rows})
    counts = {"ok": 780, "no_person": 19, "unreadable": 1, "failed": 0}
    (inputs["mesh"] / "summary.json").write_text(json.dumps({"num_images": 800, "status": counts}))
    for name, directory in inputs.items():
        marker = json.loads((directory / "stage.json").read_text())
        marker["pipeline"] = "new" if name in ("joint", "evaluate") else "old"
        (directory / "stage.json").write_text(json.dumps(marker))
    document, outline = report(inputs, tmp_path / "report")
    assert "42.1\n39.1–45.1" in outline.cells
    assert "95 % confidence intervals" in document
    assert outline.cells[(place := outline.cells.index("ok")) : place + 3] == ["ok", "780", "97.5 %"]
    assert "failed" not in outline.cells
    assert "2026-01-02 10:02, reused" in outline.cells, "identity"
    assert "2026-01-02 10:05" in outline.cells, "joint"
    assert "best_on_test" in document
    assert outline.tags.count("input") == outline.tags.count("img"), "every picture can be enlarged"


def test_only_the_best_scores_are_marked(tmp_path: Path) -> None:
    document, _ = report(finished_stages(tmp_path), tmp_path / "report")
    assert re.findall(r'<td class="number best">([^<]*)</td>', document) == [
        "42.1",
        "51.3",
        "70.1",
        "79.4",
        "86.0",
        "15.0",
    ]


def test_a_skipped_evaluation_is_a_sentence_in_place_of_the_table(tmp_path: Path) -> None:
    metrics = {**METRICS, "rows": [], "clusters": [], "skipped": "Evaluation was skipped: no image carries an identity"}
    document, outline = report(finished_stages(tmp_path, metrics=metrics), tmp_path / "report")
    assert "Evaluation was skipped: no image carries an identity." in document
    assert "42.1" not in outline.cells
    assert "mINP" not in outline.text


def test_sentences_of_stages_are_shown_at_the_top(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    summary = {"num_images": 9, "note": "real photographs have no mesh, rotation is skipped"}
    (inputs["mesh"] / "summary.json").write_text(json.dumps(summary))
    document, _ = report(inputs, tmp_path / "report")
    assert '<p class="remark small">mesh: real photographs have no mesh, rotation is skipped.</p>' in document


def test_a_broken_picture_and_missing_files_leave_a_report(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    good = (inputs["generator"] / "pictures" / "generator-grid.png").read_bytes()
    (inputs["generator"] / "pictures" / "generator-grid.png").write_bytes(good[: len(good) // 2])
    (inputs["joint"] / "pictures" / "mixing-grid.png").write_text("no picture")
    (inputs["joint"] / "history.jsonl").write_text('{"epoch": 0, "loss": NaN}\n{"epoch": 1, "lo')
    (inputs["identity"] / "monitor.jsonl").write_text("[]\n")
    (inputs["cluster"] / "summary.json").write_bytes(b"\xff\xfe{")
    document, outline = report(inputs, tmp_path / "report")
    assert document.count("could not be read") == 2
    assert outline.tags.count("img") == 3


def test_empty_folders_leave_a_report(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    for directory in inputs.values():
        shutil.rmtree(directory)
        directory.mkdir()
    document, _ = report(inputs, tmp_path / "report")
    assert "The evaluation left no scores." in document
    assert "No stage recorded a measurement by epoch." in document


def test_words_from_files_cannot_become_markup(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    (inputs["data"] / "summary.json").write_text(
        json.dumps({"<script>x</script>": 1, "note": "<b>of the folder & more</b>"})
    )
    document, outline = report(inputs, tmp_path / "report", ReportConfig(title="<i>mine</i>"))
    assert "script" not in outline.tags
    assert "<i>mine" not in document
    assert "&lt;b&gt;of the folder &amp; more" in document


def test_a_second_run_writes_the_same_page(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    assert report(inputs, tmp_path / "report")[0] == report(inputs, tmp_path / "report")[0]


def test_people_without_a_body_are_not_said_to_turn(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    assert "a body turned by the angle above" in " ".join(report(inputs, tmp_path / "report")[0].split())
    (inputs["generator"] / "summary.json").write_text(json.dumps({"num_images_with_mesh": 0}))
    document = " ".join(report(inputs, tmp_path / "report")[0].split())
    assert "Without a mesh nothing can be turned" in document
    assert "a body turned by the angle above" not in document


def test_a_title_is_needed() -> None:
    with pytest.raises(ValueError, match="at least 1 character"):
        ReportConfig(title="")
