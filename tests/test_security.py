"""What somebody else's files may try, each refused with a sentence; and that the defaults keep to this machine."""

import ast
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import parse_override, read_config_file
from pipeline.settings_file import read_yaml
from reid_core.data.datasets.layouts import read_images
from reid_core.data.datasets.msmt17 import LISTS_V1
from reid_core.data.manifest import SCHEMA, Manifest, read_manifest, write_manifest
from reid_core.errors import UserError
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import load_identity, load_pretrained

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("reid_core", "infra", "stages", "pipeline")


class _Bomb:
    """Executes a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def _manifest(folder: Path, path: str) -> Path:
    row = {"image_id": "train-000000", "split": "train", "path": path, "width": 1, "height": 1}
    table = pa.Table.from_pylist([{**row, "person_id": None, "camera_id": None}], schema=SCHEMA)
    write_manifest(Manifest(table, folder, {}), folder / "manifest.parquet", root=".")
    return folder / "manifest.parquet"


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "images/../../x.jpg"])
def test_a_manifest_cannot_name_files_outside_its_root(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"names the file .*, wanted one below its folder") as caught:
        read_manifest(_manifest(tmp_path, path))
    assert path in str(caught.value)


def test_a_list_of_msmt17_cannot_name_files_outside_its_root(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    for name in ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt"):
        (tmp_path / name).write_text("../../etc/0000_000_01_passwd 0\n")
    with pytest.raises(UserError, match=r"list_train\.txt holds the line '\.\./\.\./etc/"):
        read_images(tmp_path, LISTS_V1, train_split="train")


@pytest.mark.parametrize("name", ["evil.pth", "evil.safetensors"])
def test_a_pickle_in_place_of_a_checkpoint_is_refused_and_not_executed(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "executed", tmp_path / name
    path.write_bytes(pickle.dumps({"state_dict": _Bomb(marker)}))
    with pytest.raises(UserError, match="cannot be read as tensors alone"):
        load_pretrained(IdentityEncoder("resnet10"), str(path))
    with pytest.raises(UserError) as caught:
        load_pretrained(IdentityEncoder("resnet10"), str(path))
    assert "weights_only" not in str(caught.value)  # no advice to load it all the same
    torch.save({"state_dict": _Bomb(marker)}, path)
    with pytest.raises(UserError, match="cannot be read as tensors alone"):
        load_pretrained(IdentityEncoder("resnet10"), str(path))
    with pytest.raises(UserError, match="does not hold weights that genvar wrote"):
        load_identity(path)
    assert not marker.exists()


def test_a_configuration_file_of_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(UserError, match=r"^the configuration file \S+ may have up to 1,000,000 bytes, but has 1,073,"):
        read_config_file(path)


@pytest.mark.parametrize(
    "text", ["data:\n  dataset: {}", "data:\n  ? {}\n  : 1", "joint:\n  angles: [{}]", "? {}\n: 1"], ids=range(4)
)
def test_a_long_value_in_a_configuration_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text.format('"' + "x" * 20_000 + '"'))
    with pytest.raises(UserError, match=r"at most 6,000 characters is wanted for .*, but 20,\d\d\d came") as caught:
        read_config_file(path)
    assert len(str(caught.value)) < 300


def test_a_long_value_on_the_command_line_is_refused_unparsed() -> None:
    with pytest.raises(UserError, match=r"wanted for data\.dataset, but 10,000,000 came"):
        parse_override("data.dataset=" + "[" * 10_000_000)


def test_nothing_of_the_library_unpacks_archives_or_executes_what_it_reads() -> None:
    """No archive is ever unpacked, so no entry of one can escape; where a new reader is added, it shows here."""
    allowed = {
        # Restricted to arrays; and what a process of this program sends to another one.
        ("reid_core/mesh/smpl_model.py", "pickle"),
        # np.load without pickles reads arrays of an .npz in memory; zipfile only tells whether it is one.
        ("reid_core/mesh/smpl_model.py", "zipfile"),
        ("reid_core/mesh/smpl_source.py", "zipfile"),
        ("infra/compute/processes.py", "pickle"),
        ("reid_core/models/checkpoint_file.py", "pickle"),  # the name of its error
        ("pipeline/settings_file.py", "yaml.load"),  # its loader is a SafeLoader, which the next test holds
    }
    found: set[tuple[str, str]] = set()
    for path in [path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py")]:
        name = path.relative_to(_ROOT).as_posix()
        found |= {(name, what) for what in _dangerous(ast.parse(path.read_text()))}
    assert found - allowed == set()


def test_files_of_settings_build_no_objects() -> None:
    with pytest.raises(ValueError, match="could not determine a constructor"):
        read_yaml("joint: !!python/object/apply:os.getcwd []")


def _dangerous(tree: ast.AST) -> Iterator[str]:
    modules = {"zipfile", "tarfile", "pickle", "cPickle", "dill", "shelve", "marshal", "joblib"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ({alias.name.split(".")[0] for alias in node.names} & modules)
        elif isinstance(node, ast.ImportFrom):
            yield from ({(node.module or "").split(".")[0]} & modules)
        elif isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if call == "torch.load" and keywords.get("weights_only") != "True":
                yield call
            if call in (
                "eval",
                "exec",
                "os.system",
                "os.popen",
                "yaml.load",
                "yaml.unsafe_load",
                "shutil.unpack_archive",
            ):
                yield call
            if keywords.get("shell") == "True" or keywords.get("allow_pickle") == "True":
                yield f"{call} with shell or allow_pickle"


_LISTENING = """
import json
import psutil
from infra.compute import ray_cluster
from infra.compute.lifetime import users_of
from infra.compute.ray import RayCompute

folders = []
make = ray_cluster._folder
ray_cluster._folder = lambda: folders.append(make()) or folders[-1]
compute = RayCompute(num_cpus=1)
try:
    assert compute.map_shards(abs, [-1], description="waking a worker") == [1]
    found = [psutil.Process(number) for number in users_of(folders[0])]
    connections = [connection for process in found for connection in process.net_connections("inet")]
    print(json.dumps([c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]))
finally:
    compute.close()
"""


def test_a_cluster_started_here_listens_on_the_loopback_alone() -> None:
    # In a process of its own: where Ray listens is decided when it is imported.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", _LISTENING], cwd=_ROOT, env=kept, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    listening = json.loads(done.stdout.splitlines()[-1])
    assert len(listening) > 3
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening


def test_a_marker_of_a_stage_holds_no_environment(tmp_path: Path) -> None:
    # Provenance names versions and a commit; nothing of what the environment holds.
    from pipeline.fingerprint import package_versions

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
        assert "hunter2" not in json.dumps(package_versions())


def test_a_truncated_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({"path": ["a.jpg"]}), path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="is not a manifest of genvar"):
        read_manifest(path)
