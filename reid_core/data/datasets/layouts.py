"""Which entries of a folder make a data set, what is there of them, and what is not."""

from pathlib import Path
from typing import NamedTuple

from reid_core.data.datasets.market_style import FOLDERS
from reid_core.data.datasets.msmt17 import LISTS
from reid_core.errors import UserError


class Layout(NamedTuple):
    """One way in which a data set is passed around.

    Attributes:
        name: Said to people and recorded with the results.
        entries: Files and folders that all have to be there.
        has_lists: Whether list files say which image belongs to which split.
    """

    name: str
    entries: tuple[str, ...]
    has_lists: bool


MARKET = Layout("Market-1501 folders", tuple(FOLDERS.values()), has_lists=False)
LISTS_V2 = Layout("lists with mask_train_v2 and mask_test_v2", ("mask_train_v2", "mask_test_v2", *LISTS), True)
LISTS_V1 = Layout("lists with train and test", ("train", "test", *LISTS), has_lists=True)


class Candidate(NamedTuple):
    """A folder that was looked into for one layout.

    Attributes:
        folder: Absolute.
        layout: What was looked for.
        missing: Entries of the layout that are not there.
    """

    folder: Path
    layout: Layout
    missing: tuple[str, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """Entries of the layout that are there."""
        return tuple(entry for entry in self.layout.entries if entry not in self.missing)

    @property
    def is_partial(self) -> bool:
        """Whether so much of the layout is there that the rest was probably lost."""
        return bool(self.missing) and len(self.present) >= 2


def look_into(folder: Path, layouts: tuple[Layout, ...]) -> list[Candidate]:
    """Look for layouts in one folder; nothing but names is read."""
    found = []
    for layout in layouts:
        missing = [entry for entry in layout.entries if not _is_there(folder / entry)]
        found.append(Candidate(folder, layout, tuple(missing)))
    return found


def choose(name: str, candidates: list[Candidate], nothing: str) -> Candidate:
    """Return the one folder and layout that are whole.

    Args:
        name: Data set, for the sentences.
        candidates: Folders that were looked into.
        nothing: What to say when none of them looks like the data set at all.

    Returns:
        The candidate; a UserError when there is none, or more than one.
    """
    whole = [candidate for candidate in candidates if not candidate.missing]
    folders = {candidate.folder for candidate in whole}
    if len(folders) > 1:
        listed = ", ".join(str(folder) for folder in sorted(folders))
        raise UserError(f"{name} was found more than once ({listed}); point DATA_ROOT at one")
    if len(whole) > 1:
        mixed = " and ".join(candidate.layout.name for candidate in whole)
        raise UserError(
            f"{whole[0].folder} mixes the layouts {mixed}, so it cannot be told which images belong together; keep one"
        )
    if whole:
        return whole[0]
    partial = max((c for c in candidates if c.is_partial), key=lambda c: len(c.present), default=None)
    if partial is not None:
        raise UserError(
            f"{name} in {partial.folder} has {', '.join(partial.present)} but not {', '.join(partial.missing)}; "
            "unpack the archive again"
        )
    raise UserError(nothing)


def _is_there(path: Path) -> bool:
    return path.is_file() if path.suffix == ".txt" else path.is_dir()
