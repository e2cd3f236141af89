"""The documents against the tree: what they link, name and promise exists, and they stay short."""

import ast
import re
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
GUIDE = [path for path in PAGES if path.parent.name == "guide"]
FLOORS = ("reid_core", "infra", "stages", "pipeline")
STAGE_NAMES = "data|mesh|identity|generator|cluster|joint|evaluate|report"
NAMED_FILE = re.compile(rf"(?<![\w/.])(?:{'|'.join((*FLOORS, 'benchmarks', 'tests', 'docs'))})/[\w./-]*\w")
# Options of other programs.
FOREIGN_OPTIONS = {"--address", "--head", "--help", "--no-cam", "--shm-size"}

NO_FIGURES = re.compile(
    r"""`[^`]*`                                                        # code
    | \]\([^)]*\)                                                      # links
    | \([A-Z\d]+(?:,\ [A-Z\d]+)+\)                                     # shapes
    | arXiv:?\s?[\d.]+ | [A-Z]+\s\d{4}                                # papers
    | (?:[Ss]eeds?|Python)\s[\d.]+(?:,?\ (?:(?:and|or|to)\ )?[\d.]+)*   # seeds and versions by their numbers
    """,
    re.VERBOSE,
)


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(text: str) -> list[str]:
    """Return the code blocks and the code spans of a page."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    return [*blocks, *re.findall(r"`([^`]+)`", without_blocks(text))]


def without_blocks(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def links_of(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", link)]


def anchors_of(text: str) -> set[str]:
    """Return the anchors that the headings of a page get."""
    headings = re.findall(r"(?m)^#+ (.+)$", without_blocks(text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paragraphs_of(text: str) -> list[str]:
    """Return paragraphs and list items: no tables, code, headings, numbers of a list."""
    lines = [line for line in without_blocks(text).splitlines() if not line.startswith(("#", "|", "!["))]
    return [
        re.sub(r"^\d+\. ", "", part.strip()) for part in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    ]


def numbers_of(paragraph: str) -> list[str]:
    """Return the numbers of a paragraph; a number with its deviation, a size or a range counts once."""
    plain = NO_FIGURES.sub("", paragraph)
    number = r"[+-]?\d[\d,.]*\d?(?:e-?\d+)?"
    joined = rf"{number}(?:\s?(?:±|x|to|/)\s{number}(?!\w))*"
    return re.findall(rf"(?<![\w.-]){joined}(?![\w-])", plain)


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_links_and_pictures_exist(path: Path) -> None:
    for link in links_of(path.read_text()):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target.read_text()), link


def test_every_picture_is_shown() -> None:
    shown = {(path.parent / link).resolve() for path in PAGES for link in links_of(path.read_text())}
    pictures = {path for path in (ROOT / "docs").rglob("*") if path.suffix in {".png", ".svg", ".jpg"}}
    assert pictures <= shown, sorted(map(page_name, pictures - shown))


def example_of(path: Path) -> str:
    """Return the name of what a page shows how to add: of the first file on it that does not exist."""
    named = [ROOT / name for name in NAMED_FILE.findall(path.read_text()) if path.name.startswith("add_")]
    return next((file.stem for file in named if not file.exists()), "no example")


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_files_that_are_named_exist(path: Path) -> None:
    for code in code_of(path.read_text()):
        for name in NAMED_FILE.findall(code):
            assert (ROOT / name).exists() or name.endswith("/.env") or example_of(path) in name, name
        for module in re.findall(r"-m (benchmarks\.\w+)", code):
            assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def definitions() -> dict[str, set[str]]:
    """Return the names that every module defines or imports, by the module's dotted name; nothing is imported."""
    found = {}
    for path in (file for floor in (*FLOORS, "benchmarks") for file in (ROOT / floor).rglob("*.py")):
        tree = ast.parse(path.read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = names
    return found


def test_modules_and_functions_that_are_named_exist() -> None:
    defined = definitions()
    words = set().union(*defined.values())
    for path in PAGES:
        example = example_of(path)
        for code in code_of(path.read_text()):
            for name in re.findall(rf"(?<![\w/.])(?:{'|'.join(FLOORS)})(?:\.\w+)+", code):
                module, _, attribute = name.rpartition(".")
                exists = name in defined or attribute in defined.get(module, ())
                assert exists or example in name, f"{page_name(path)}: {name}"
            if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", code):
                assert code in words or example in code.lower(), f"{page_name(path)}: {code}"


def test_words_of_the_code_that_are_named_exist() -> None:
    """A setting, column, tag or file name between backticks occurs in the code."""
    files = [path for floor in (*FLOORS, "benchmarks") for path in (ROOT / floor).rglob("*") if path.is_file()]
    code = "\n".join(path.read_text() for path in files if path.suffix in {".py", ".yaml", ".j2", ".sbatch"})
    words = set(re.findall(r"\w+", code)) | {path.stem for path in files}
    for path in PAGES:
        named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", without_blocks(path.read_text())))
        unknown = {name for name in named - words if not name.startswith("test_") and example_of(path) not in name}
        assert not unknown, f"{page_name(path)}: {sorted(unknown)}"


def test_messages_of_the_troubleshooting_page_exist() -> None:
    files = [path for floor in FLOORS for path in (ROOT / floor).rglob("*") if path.suffix in {".py", ".sh"}]
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in files))  # messages of several lines
    page = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text()
    for row in re.findall(r"(?m)^\|([^|]+)\|", page):
        for message in re.findall(r"`([^`]+)`", row):
            for part in re.split(r"\.\.\.|\d+|\bN\b|%", message):
                assert part.strip(" ,") in code or message == "CUDA out of memory", message


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for code in code_of(path.read_text()):
        for words in re.findall(r"(?:^|\s)make((?: [a-z-]+)+)(?=\s*$| [A-Z#])", code, flags=re.MULTILINE):
            assert set(words.split()) <= targets, f"make{words}"


def test_commands_and_options_exist() -> None:
    from pipeline.cli import app

    group = typer.main.get_command(app)
    commands = {"": group, **group.commands}  # type: ignore[attr-defined]
    for name in ("data", "mesh"):
        commands |= {f"{name} {each}": command for each, command in commands[name].commands.items()}
    options = {option for command in commands.values() for each in command.params for option in each.opts}
    for path in (ROOT / "benchmarks").glob("*.py"):
        options |= set(re.findall(r"\"(--[a-z][a-z-]+)\"", path.read_text()))
    options |= set(re.findall(r"--[a-z-]+", (ROOT / "benchmarks" / "scale.py").read_text())) | FOREIGN_OPTIONS
    for path in PAGES:
        text = path.read_text()
        for code in code_of(text):
            for command, sub in re.findall(r"(?m)(?:^|[\s/])genvar (?!needs)([a-z]+)(?: ([a-z]+))?", code):
                assert command in commands, f"{page_name(path)}: genvar {command}"
                if command in ("data", "mesh"):
                    assert f"{command} {sub}" in commands, f"{page_name(path)}: genvar {command} {sub}"
        unknown = set(re.findall(r"(?<![\w|-])--[a-z][a-z-]+", text)) - options
        assert not unknown, f"{page_name(path)}: {sorted(unknown)}"


def test_configuration_keys_exist() -> None:
    from pipeline.plan import STAGES  # the one heavy import here

    defaults = {stage.name: stage.config() for stage in STAGES}
    for path in PAGES:
        for code in code_of(path.read_text()):
            for owner, key in re.findall(
                rf"(?<![\w./*])({STAGE_NAMES}|\*)\.([a-z]\w*(?:\.[a-z]\w*)*)(?![\w(/*])", code
            ):
                if key in {"html", "json", "yaml", "parquet", "md", "py", "safetensors"}:
                    continue
                owners = defaults.values() if owner == "*" else [defaults[owner]]
                assert any(has(each, key) for each in owners) or example_of(path) in key, (
                    f"{page_name(path)}: {owner}.{key}"
                )


def has(config: object, key: str) -> bool:
    for name in key.split("."):
        if not hasattr(config, name):
            return False
        config = getattr(config, name)
    return True


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_lines_are_at_most_120_characters(path: Path) -> None:
    """Only tables, and what cannot be broken, may be longer."""
    long = [line for line in path.read_text().splitlines() if len(line) > 120 and not line.startswith(("|", "!["))]
    assert not [line for line in long if " " in line.strip()], long


@pytest.mark.parametrize("path", GUIDE, ids=page_name)
def test_pages_of_the_guide_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 80


def test_the_readme_is_short() -> None:
    assert sum(bool(re.search(r"\w", word)) for word in without_blocks(README.read_text()).split()) <= 1100


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_no_paragraph_has_more_than_three_numbers(path: Path) -> None:
    crowded = [each for each in paragraphs_of(path.read_text()) if len(numbers_of(each)) > 3]
    assert not crowded, "\n\n".join(f"{numbers_of(each)}: {each}" for each in crowded)
