"""The pages in a real browser, as wide as a laptop and as a phone."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare import compared, comparison_page
from stages.reporting.page import page
from tests.stages.reporting.folders import METRICS, facts_of, finished_stages

_BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
          "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000")  # fmt: skip

pytestmark = pytest.mark.skipif(not _BROWSER, reason="no Chromium is installed, so the pages are not looked at")

# Shows the page in a frame of the wanted width: a browser window cannot be as narrow as a phone. What it measures
# stands in the document afterwards.
_FRAME = """<!doctype html><body><iframe id="frame" style="width:{width}px;height:900px;border:0"></iframe>
<pre id="measured"></pre><script>
const frame = document.getElementById("frame");
frame.onload = () => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const images = [...page.images];
  const before = images.map(image => image.getBoundingClientRect().width);
  page.querySelector(".zoom input")?.click();
  const first = images[0]?.getBoundingClientRect();
  document.getElementById("measured").textContent = JSON.stringify({{
    overflow: page.documentElement.scrollWidth - view.innerWidth,
    broken: images.filter(image => !image.complete || image.naturalWidth === 0).length,
    images: images.length, width: before[0] ?? 0,
    zoomed: first ? [first.width, first.height, first.left, first.top] : null,
    curves: [...page.querySelectorAll(".curves svg")].filter(svg => svg.getBoundingClientRect().width > 50).length,
    colour: view.getComputedStyle(page.querySelector(".curves svg path[style*='--series-1']")).stroke,
    font: parseFloat(view.getComputedStyle(page.body).fontSize),
  }});
}};
frame.srcdoc = {document};
</script>"""


def look(document: str, folder: Path, *, width: int) -> dict[str, Any]:
    """Open a page in the browser and return what it measured."""
    text = json.dumps(document).replace("</", "<\\/")
    (folder / "frame.html").write_text(_FRAME.format(width=width, document=text), encoding="utf-8")
    url = (folder / "frame.html").as_uri()
    command = [_BROWSER, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    measured = done.stdout.partition('<pre id="measured">')[2].partition("</pre>")[0]
    found = json.loads(measured.replace("&quot;", '"'))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_fits_a_laptop_and_a_phone(tmp_path: Path, width: int) -> None:
    rows = [{**row, "mAP_low": row["mAP"] - 3, "mAP_high": row["mAP"] + 3} for row in METRICS["rows"]]
    inputs = finished_stages(tmp_path, metrics={**METRICS, "rows": rows})
    found = look(page("Report", facts_of(inputs)), tmp_path, width=width)
    assert found["overflow"] <= 0, "the page itself never scrolls sideways, only its tables do"
    assert (found["images"], found["broken"]) == (5, 0)
    assert found["curves"] == 15
    assert found["colour"] == "rgb(20, 100, 92)", "curves take the colours of the page"
    assert found["font"] >= 16
    # A click makes the picture as large as the window.
    assert found["width"] < width
    assert found["zoomed"] == [width, 900, 0, 0]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_comparison_fits_a_laptop_and_a_phone(tmp_path: Path, width: int) -> None:
    runs = [compared(f"people tiny seed {seed}", finished_stages(tmp_path / str(seed))) for seed in range(3)]
    found = look(comparison_page("Runs compared", runs), tmp_path, width=width)
    assert found["overflow"] <= 0
    assert found["curves"] > 10
