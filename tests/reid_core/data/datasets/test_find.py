from pathlib import Path

import pytest

from reid_core.data.datasets.base import Counts, DatasetSpec, Layout, count_splits
from reid_core.data.datasets.find import DATASETS, canonical_name, describe_names, find_dataset, spec_of
from reid_core.errors import UserError
from tests.reid_core.data.datasets.test_msmt17 import make_msmt17

_TINY = Counts(1, 1, 1, 1, 1, 2)


def _market(root: Path, camera: int = 1) -> Path:
    for folder, name in (
        ("bounding_box_train", f"0001_c{camera}s1_000001_00.jpg"),
        ("query", f"0002_c{camera}s1_000001_00.jpg"),
        ("bounding_box_test", f"0002_c{camera + 1}s1_000001_00.jpg"),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / name).touch()
    return root


@pytest.fixture
def tiny_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let miniature copies pass for whole ones."""
    for name in ("market1501", "dukemtmc-reid"):
        monkeypatch.setitem(spec_of(name).published, "trainval", _TINY)
    monkeypatch.setitem(spec_of("msmt17").published, "trainval", Counts(3, 1, 1, 1, 1, 5))
    monkeypatch.setitem(spec_of("msmt17").published, "train", Counts(2, 1, 1, 1, 1, 4))


@pytest.mark.usefixtures("tiny_counts")
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("market1501", "."),
        ("market1501", "market1501"),
        ("market1501", "Market-1501-v15.09.15"),
        ("market1501", "market1501/Market-1501-v15.09.15"),
        ("dukemtmc-reid", "dukemtmc-reid/DukeMTMC-reID"),
        ("dukemtmc-reid", "dukemtmcreid/DukeMTMC-reID"),
        ("dukemtmc-reid", "."),
        ("personx", "personx"),
    ],
)
def test_market_layouts_are_found_wherever_they_lie(tmp_path: Path, name: str, folder: str) -> None:
    _market(tmp_path / folder)
    (tmp_path / "__MACOSX").mkdir()
    found = find_dataset(name, tmp_path)
    assert found.root == tmp_path / folder
    assert [record.split for record in found.records] == ["train", "query", "gallery"]
    if name == "personx":
        assert found.version == "PersonX of 3 images"
        assert "cannot be verified" in found.notes[0]
    elif name == "dukemtmc-reid":
        assert "withdrawn by its authors in 2019" in found.notes[0]
    else:
        assert found.notes == ()
    assert found.layout == "Market-1501 folders"


_V1 = ("train", "test")
_V2 = ("mask_train_v2", "mask_test_v2")


@pytest.mark.usefixtures("tiny_counts")
@pytest.mark.parametrize(
    ("folder", "folders", "version", "layout"),
    [
        (".", _V1, "MSMT17 (version not named)", "lists with train and test"),
        ("MSMT17_V1", _V1, "MSMT17_V1", "lists with train and test"),
        ("msmt17/MSMT17_V1", _V1, "MSMT17_V1", "lists with train and test"),
        ("MSMT17_V1/inner", _V1, "MSMT17_V1", "lists with train and test"),
        ("MSMT17_V2", _V2, "MSMT17_V2", "lists with mask_train_v2 and mask_test_v2"),
        ("MSMT17_V2/MSMT17_V2", _V2, "MSMT17_V2", "lists with mask_train_v2 and mask_test_v2"),
        ("MSMT17", _V1, "MSMT17 (version not named)", "lists with train and test"),
        ("MSMT17/unpacked", _V1, "MSMT17 (version not named)", "lists with train and test"),
    ],
)
def test_msmt17_lists_are_found_wherever_they_lie(
    tmp_path: Path, folder: str, folders: tuple[str, str], version: str, layout: str
) -> None:
    make_msmt17(tmp_path / folder, folders)
    (tmp_path / "__MACOSX" / folder / folders[0]).mkdir(parents=True)
    (tmp_path / folder / "__MACOSX").mkdir(exist_ok=True)
    found = find_dataset("msmt17", tmp_path)
    # Counts, people and cameras: the published ones of the miniature, or find_dataset would have refused it.
    assert len(found.records) == 5
    assert (found.version, found.layout, found.root) == (version, layout, tmp_path / folder)
    assert len(find_dataset("msmt17", tmp_path, train_split="train").records) == 4
    by_its_own_folder = find_dataset("msmt17", tmp_path / folder)
    assert by_its_own_folder.records == found.records


@pytest.mark.parametrize("folder", ["MSMT17_V1", "MSMT17_V1/MSMT17_V1", "msmt17/MSMT17_V1"])
def test_msmt17_in_market_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setitem(spec_of("msmt17").published, "trainval", _TINY)
    _market(tmp_path / folder, camera=14)
    (tmp_path / "__MACOSX").mkdir()
    found = find_dataset("msmt17", tmp_path)
    assert [record.camera_id for record in found.records] == [13, 13, 14]
    assert (found.version, found.layout) == ("MSMT17_V1", "Market-1501 folders")
    with pytest.raises(UserError, match="do not say which images are for validation"):
        find_dataset("msmt17", tmp_path, train_split="train")


@pytest.mark.usefixtures("tiny_counts")
def test_mixed_layouts_in_one_folder_are_one_clear_sentence(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17_V1")
    for folder in _V2:
        (root / folder).mkdir()
    with pytest.raises(UserError, match="mixes the layouts lists with train and test and lists with mask_train_v2"):
        find_dataset("msmt17", tmp_path)
    for folder in _V2:
        (root / folder).rmdir()
    _market(root)
    with pytest.raises(UserError, match="mixes the layouts Market-1501 folders and lists with train and test"):
        find_dataset("msmt17", tmp_path)


def test_a_layout_with_a_gap_names_what_is_missing(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17_V1")
    (root / "list_val.txt").unlink()
    with pytest.raises(UserError, match=r"MSMT17_V1 has train, test, list_train.txt, .* but not list_val.txt; unpack"):
        find_dataset("msmt17", tmp_path)
    market = _market(tmp_path / "market1501")
    next((market / "query").iterdir()).unlink()
    (market / "query").rmdir()
    with pytest.raises(UserError, match="has bounding_box_train, bounding_box_test but not query; unpack the archive"):
        find_dataset("market1501", tmp_path)
    with pytest.raises(UserError, match="for an evaluation give all three folders"):
        find_dataset("folder", market)


@pytest.mark.usefixtures("tiny_counts")
def test_lists_beside_the_images_of_another_version(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17_V1")
    next((root / "test" / "0000").iterdir()).unlink()
    with pytest.raises(UserError, match="1 of 5 images that the lists in"):
        find_dataset("msmt17", tmp_path)


@pytest.mark.usefixtures("tiny_counts")
def test_two_versions_side_by_side_are_for_the_user_to_choose(tmp_path: Path) -> None:
    make_msmt17(tmp_path / "MSMT17_V1")
    make_msmt17(tmp_path / "MSMT17_V2", _V2)
    with pytest.raises(UserError, match="more than once"):
        find_dataset("msmt17", tmp_path)


def test_an_incomplete_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train 1 instead of 12,936"):
        find_dataset("market1501", _market(tmp_path))


def test_a_folder_in_market_layout(tmp_path: Path) -> None:
    found = find_dataset("folder", _market(tmp_path))
    assert (found.version, found.layout) == ("own images", "Market-1501 folders")
    assert [record.person_id for record in found.records] == [1, 2, 2]


def test_a_bare_folder_becomes_training_images_recursively(tmp_path: Path) -> None:
    for path in ("b.jpg", "day1/a.PNG", "day1/._a.PNG", ".cache/c.jpg", "__MACOSX/d.jpg", "notes.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    found = find_dataset("folder", tmp_path)
    assert [record[:4] for record in found.records] == [
        ("train", "b.jpg", None, None),
        ("train", "day1/a.PNG", None, None),
    ]


def test_a_bare_folder_with_market_names_knows_cameras(tmp_path: Path) -> None:
    for name in ("0001_c1s1_000001_00.jpg", "0001_c2s1_000001_00.jpg", "-1_c2s1_000001_00.jpg"):
        (tmp_path / name).touch()
    found = find_dataset("folder", tmp_path)
    assert [(record.person_id, record.camera_id) for record in found.records] == [(1, 0), (1, 1)]


def test_missing_empty_and_wrong_roots_each_have_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_dataset("folder", tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        find_dataset("folder", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture lies in DATA_ROOT"):
        find_dataset("folder", tmp_path / "empty")
    with pytest.raises(UserError, match=r"looked for .*bounding_box_train.*list_train\.txt.*there are: empty, file"):
        find_dataset("msmt17", tmp_path)


def test_a_market_folder_without_training_images_is_refused(tmp_path: Path) -> None:
    root = _market(tmp_path)
    next((root / "bounding_box_train").iterdir()).unlink()
    with pytest.raises(UserError, match="no training image"):
        find_dataset("folder", root)


def test_train_split_is_for_msmt17(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="msmt17 only"):
        find_dataset("folder", _market(tmp_path), train_split="train")


def test_person_0_is_a_distractor_where_the_data_set_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, names in (
        ("bounding_box_train", ["0001_c1s1_000001_00.jpg"]),
        ("query", ["0000_c1s1_000001_00.jpg"]),
        ("bounding_box_test", ["0000_c2s1_000001_00.jpg", "0002_c2s1_000001_00.jpg", "-1_c2s1_000001_00.jpg"]),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    for name, people, distractors in (
        ("market1501", 1, 1),
        ("dukemtmc-reid", 1, 1),
        ("msmt17", 2, 0),
        ("folder", 2, 0),
    ):
        if name != "folder":
            monkeypatch.setitem(spec_of(name).published, "trainval", Counts(1, 1, 2, 1, 1, 2))
        dataset = find_dataset(name, tmp_path)
        gallery = count_splits(dataset.records, dataset.distractors)[2]
        assert (gallery.images, gallery.people, gallery.distractors) == (2, people, distractors), name


def test_people_numbered_from_0_in_the_lists_of_msmt17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_msmt17(tmp_path / "MSMT17_V1", num_test_people=3)
    monkeypatch.setitem(spec_of("msmt17").published, "trainval", Counts(3, 3, 3, 1, 3, 5))
    dataset = find_dataset("msmt17", tmp_path)
    gallery = count_splits(dataset.records, dataset.distractors)[2]
    assert (gallery.people, gallery.distractors) == (3, 0)


def test_every_name_means_one_data_set() -> None:
    names = [name for spec in DATASETS for name in (spec.name, *spec.aliases)]
    assert len(set(names)) == len(names)
    assert all(canonical_name(name) == spec.name for spec in DATASETS for name in (spec.name, *spec.aliases))
    assert all(canonical_name(spec.title) == spec.name for spec in DATASETS if spec.read is None)
    assert describe_names().startswith("synthetic, market1501, ")
    assert describe_names(synthetic=False).startswith("market1501, ")


_LAYOUTS = [(spec, layout) for spec in DATASETS if spec.read is None for layout in spec.layouts]


@pytest.mark.parametrize(("spec", "layout"), _LAYOUTS, ids=[f"{s.name}: {layout.name}" for s, layout in _LAYOUTS])
def test_every_layout_of_every_data_set_is_read(tmp_path: Path, spec: DatasetSpec, layout: Layout) -> None:
    root = tmp_path / spec.title
    for part, folder in layout.folders.items():
        path = root / folder / (layout.example.rsplit(maxsplit=1)[0] if layout.lists else layout.example)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if layout.lists:
            (root / layout.lists[part]).write_text(layout.example + "\n")
    dataset = find_dataset(spec.name, tmp_path, verify_size=False)
    assert (dataset.name, dataset.layout, dataset.root) == (spec.name, layout.name, root)
    assert {record.split for record in dataset.records} == {"train", "query", "gallery"}
    assert all(record.person_id is not None and record.camera_id is not None for record in dataset.records)


def test_names_are_forgiving_and_errors_name_the_nearest() -> None:
    assert canonical_name("Market-1501") == "market1501"
    assert canonical_name("DukeMTMC_reID") == "dukemtmc-reid"
    assert canonical_name("MSMT17") == "msmt17"
    with pytest.raises(UserError, match="did you mean msmt17"):
        canonical_name("mstm17")
