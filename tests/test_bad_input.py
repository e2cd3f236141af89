"""What a user can get wrong, through the real command line: one sentence, exit code 2, nothing half-written."""

import multiprocessing
import os
import runpy
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

GENVAR = (sys.executable, "-m", "pipeline.cli")
SURROUNDINGS = ("GENVAR_HOME", "DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
SECONDS = 200


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None
    stdout: str
    stderr: str


def run_genvar(*arguments: str, prefix: tuple[str, ...] = ()) -> Ended:
    """Run the command line as a user does."""
    environment = {name: value for name, value in os.environ.items() if name not in SURROUNDINGS}
    done = subprocess.run(
        [*prefix, *GENVAR, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Quick:
    """Runs the command line in processes forked from one that has imported it: importing torch takes seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["pipeline.command", "infra.compute.ray"])

    def __call__(self, *arguments: str, **environment: str) -> Ended:
        stdout, stderr = self.folder / "stdout", self.folder / "stderr"
        process = self.context.Process(target=enter, args=(arguments, environment, stdout, stderr))
        process.start()
        process.join(SECONDS)
        return Ended(process.exitcode, stdout.read_text(), stderr.read_text())


def enter(arguments: tuple[str, ...], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    """Be the process that a user starts."""
    for stream, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    for name in SURROUNDINGS:
        os.environ.pop(name, None)
    os.environ.update(environment)
    sys.argv = ["genvar", *arguments]
    runpy.run_module("pipeline.cli", run_name="__main__")


@pytest.fixture(scope="module")
def genvar(tmp_path_factory: pytest.TempPathFactory) -> Quick:
    return Quick(tmp_path_factory.mktemp("output"))


def refused(done: Ended, *wanted: str) -> None:
    """Check that a command ended as a user's mistake should."""
    assert done.code == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    sentences = [line for line in done.stderr.splitlines() if line.startswith("genvar: ")]
    assert len(sentences) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == sentences[0], "the sentence comes last"
    for words in wanted:
        assert words in sentences[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A bare folder of sixty small pictures."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 64, 32, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number:03d}.jpg")
    return folder


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def other_server() -> Iterator[str]:
    """A server that answers, but knows nothing of MLflow."""

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--dataset", "msmt71"), ("msmt71", "did you mean msmt17?")),
        (("--dataset", "folder"), ("DATA_ROOT",)),
        (("--dataset", "market1501", "--data-root", "/no/such/folder"), ("/no/such/folder does not exist",)),
        (("joint.num_epoch=3",), ('"joint.num_epoch"', "did you mean joint.num_epochs?")),
        (("joint.num_epochs=-1",), ("joint.num_epochs", "greater than or equal to 0", "-1 came")),
        (("joint.num_epochs=many",), ("joint.num_epochs", "'many' came")),
        (("--preset", "huge"), ("tiny, small, paper",)),
        (("--until", "joints"), ('"joints"', "data, mesh, identity")),
        (("--config", "/no/such/file.yaml"), ("/no/such/file.yaml",)),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_setting(genvar: Quick, home: Path, arguments: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    refused(genvar("pipeline", *arguments, "--home", str(home)), *wanted)
    assert not home.exists()


def test_a_folder_without_pictures(genvar: Quick, home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(genvar("pipeline", "--dataset", "folder", "--data-root", str(empty), "--home", str(home)), str(empty))
    assert not home.exists()
    assert not list(empty.iterdir())


def test_a_benchmark_that_is_not_in_the_folder(genvar: Quick, home: Path, photographs: Path) -> None:
    done = genvar("pipeline", "--dataset", "msmt17", "--data-root", str(photographs), "--home", str(home))
    refused(done, "msmt17 was not found", "bounding_box_train")
    assert not home.exists()


def test_an_mlflow_server_that_does_not_answer(genvar: Quick, home: Path, free_port: int) -> None:
    uri = f"http://127.0.0.1:{free_port}"
    refused(genvar("pipeline", "--home", str(home), MLFLOW_TRACKING_URI=uri), uri, "unset MLFLOW_TRACKING_URI")
    assert not home.exists()


def test_a_server_that_is_not_mlflow(genvar: Quick, home: Path, other_server: str) -> None:
    done = genvar("pipeline", "--home", str(home), MLFLOW_TRACKING_URI=other_server)
    refused(done, other_server, "not as an MLflow server")
    assert not home.exists()


def test_a_ray_address_that_does_not_answer(genvar: Quick, home: Path, free_port: int) -> None:
    address = f"127.0.0.1:{free_port}"
    refused(genvar("pipeline", "--home", str(home), RAY_ADDRESS=address), address, "unset RAY_ADDRESS")
    assert not home.exists()


def test_broken_pictures_are_named_and_left_out_but_many_are_an_error(home: Path, photographs: Path) -> None:
    options = ("--dataset", "folder", "--data-root", str(photographs), "--home", str(home))
    whole = {path: path.read_bytes() for path in sorted(photographs.iterdir())[:4]}
    for path in whole:
        path.write_text("no picture")
    refused(run_genvar("pipeline", *options, "--executor", "local", "--until", "data"), "4 of 60", "5%", "000.jpg")
    assert not list(home.rglob("stage.json")), "no stage counts as finished"
    assert not list(home.glob("artifacts/**/*.parquet"))

    for path, content in list(whole.items())[1:]:
        path.write_bytes(content)
    cut_off = photographs / "001.jpg"
    cut_off.write_bytes(whole[cut_off][:600])
    done = run_genvar("pipeline", *options, "--executor", "local", "--until", "data")
    assert done.code == 0, done.stderr
    assert "left out 000.jpg" in done.stderr
    assert "left out 001.jpg" in done.stderr
    (summary,) = home.glob("artifacts/**/summary.json")
    assert '"unreadable": 2' in summary.read_text()
    assert '"train": 58' in summary.read_text()


def test_the_installed_command_refuses_too(home: Path) -> None:
    refused(run_genvar("pipeline", "--seeds", "0,0", "--home", str(home)), "different whole numbers")
    assert not home.exists()


def in_small_disk(folder: Path, options: str) -> tuple[str, ...]:
    """Return the words that run a command with a small disk at ``folder``, seen by it alone."""
    folder.mkdir()
    mount = f'mount -t tmpfs -o {options} tmpfs "{folder}"'
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("a small disk can only be mounted where user namespaces are allowed")
    # What is left on the disk is listed into a file beside it: the disk is gone with the command.
    after = f'find "{folder}" -name stage.json > "{folder}.left"'
    return ("unshare", "-rm", "sh", "-c", f'{mount} && "$@"; code=$?; {after}; exit $code', "sh")


def test_too_little_room_is_refused_before_any_work(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    prefix = in_small_disk(disk, "size=100m")
    refused(
        run_genvar("pipeline", "--home", str(disk / "home"), prefix=prefix), "free disk space", "--home or GENVAR_HOME"
    )
    assert (tmp_path / "disk.left").read_text() == "", "no stage counts as finished"


def test_a_disk_that_fills_up_during_the_work(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    # Room for a hundred files: enough for the database and the first people, not for all of them.
    prefix = in_small_disk(disk, "size=1500m,nr_inodes=100")
    options = ("--home", str(disk / "home"), "--executor", "local", "--until", "data")
    refused(run_genvar("pipeline", *options, prefix=prefix), "no space is left on the disk", "same command")
    assert (tmp_path / "disk.left").read_text() == "", "no stage counts as finished"
