"""Tests of benchmarks/ablation.py: what it writes into the page."""

from pathlib import Path

from benchmarks.ablation import TITLES, table, with_section

ROOT = Path(__file__).parents[2]


def measures(before: float, after: float) -> dict[str, float]:
    return {"mAP/identity": before, "rank1/identity": before, "mAP/joint": after, "rank1/joint": after}


def test_differences_from_the_first_variant_seed_by_seed() -> None:
    written = table(
        {
            "classical": {0: measures(60.0, 70.0), 1: measures(62.0, 80.0)},
            "both": {0: measures(60.0, 73.0), 1: measures(62.0, 79.0)},
            "dmixup": {1: measures(62.0, 81.0)},
        }
    )
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines()] == [
        ["variant", "mAP", "rank-1", "seed 0", "seed 1", "mean"],
        ["---"] * 6,
        ["identity warm-up", "61.0 ± 1.4", "61.0 ± 1.4", "", "", ""],
        ["classical augmentation only", "75.0 ± 7.1", "75.0 ± 7.1", "70.0", "80.0", ""],
        ["rotation and D-mixup", "76.0 ± 4.2", "76.0 ± 4.2", "+3.0", "-1.0", "+1.0"],
        ["D-mixup only", "81.0", "81.0", "", "+1.0", "+1.0"],
    ]


def test_the_first_table_of_a_section_is_replaced() -> None:
    page = (ROOT / "docs" / "lab" / "ablation.md").read_text()
    for heading in ("Rendered people", "Real people"):
        changed = with_section(page, heading, "| new |\n")
        before, after = page.splitlines(), changed.splitlines()
        gone = [line for line in before if line not in after]
        assert "| new |" in after
        assert [line.split(" | ")[0] for line in gone] == [
            "| identity warm-up",
            *(f"| {each}" for each in TITLES.values()),
        ]
    assert with_section("", "Rendered people", "| new |\n") == "## Rendered people\n\n| new |\n"
