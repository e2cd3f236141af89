import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException

from infra.home import Home
from infra.tracking import address
from infra.tracking.address import (
    cause_of,
    check_store,
    is_away,
    is_of_store,
    known_store,
    tracking_uri,
    wait_for_store,
)
from infra.tracking.mlflow import database_file, mlflow_client
from reid_core.errors import UserError


def _check(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", text)
    check_store(tracking_uri(Home(Path("/home/me"))))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("localhost:5000", "write http://localhost:5000,"),
        ("127.0.0.1:5000/", "write http://127.0.0.1:5000/,"),
        ("[::1]:5000", "write http://[::1]:5000,"),
        ("http:/server:5000", "write http://server:5000,"),
        ("http://", "write http://HOST:5000,"),
        ("HTTP://server", "write http://server,"),
        ("sqlite:mlflow.db", "write sqlite:///{cwd}/mlflow.db,"),
        ("sqlite://mlflow.db", "write sqlite:///{cwd}/mlflow.db,"),
        ("sqlite:/data/mlflow.db", "write sqlite:////data/mlflow.db,"),
        ("mlflow.db", "write sqlite:///{cwd}/mlflow.db,"),
        ("postgresql:runs", "write postgresql://***@HOST/DATABASE,"),
        ("/tmp/mlruns", "no longer writes to plain folders"),
        ("file:///tmp/mlruns", "no longer writes to plain folders"),
        ("sqlite://", "write sqlite:///{cwd}/mlflow.db,"),
        ("sqlite:///", "database in memory, which ends with the command"),
        ("sqlite:///:memory:", "database in memory, which ends with the command"),
        ("sqlite:///file::memory:?uri=true", "database in memory, which ends with the command"),
        ("sqlite:////{cwd}", "is a folder"),
        ("oracle://server/runs", "cannot be used"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://server:port", "is not a valid host or port"),
        ("mysql+unheard://server/runs", "needs a driver that is not installed"),
        ("postgresql://me:hunter2@127.0.0.1:9/runs", r"127.0.0.1:9/runs cannot be opened"),
        ("http://me:hunter2@127.0.0.1:9", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_sentence(
    typed: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if typed.startswith("postgresql://"):
        pytest.importorskip("psycopg2", reason="psycopg2 connects MLflow to PostgreSQL; install genvar[server]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        _check(typed.replace("{cwd}", str(tmp_path)), monkeypatch)
    assert meant.replace("{cwd}", str(tmp_path)) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_database_is_the_same_one_in_every_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///my.db?timeout=60")
    uri = tracking_uri(Home(tmp_path))
    assert uri == f"sqlite:///{tmp_path}/my.db?timeout=60"
    assert database_file(uri) == tmp_path / "my.db"
    check_store(uri)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "installed", "wanted"),
    [
        ("postgresql://h/d", {"psycopg2"}, "postgresql+psycopg2://h/d"),
        ("postgresql://h/d", {"psycopg"}, "postgresql+psycopg://h/d"),
        ("postgres://h/d", {"psycopg2", "psycopg"}, "postgresql+psycopg2://h/d"),
        ("postgresql://h/d", set(), "postgresql://h/d"),
        ("mysql://h/d", {"pymysql"}, "mysql+pymysql://h/d"),
        ("mysql+mysqldb://h/d", {"pymysql"}, "mysql+mysqldb://h/d"),
    ],
)
def test_the_driver_that_is_installed_serves(
    typed: str, installed: set[str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "_is_installed", lambda module: module in installed)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", typed)
    assert tracking_uri(Home(Path("/home/me"))) == wanted


def _database(path: Path) -> str:
    uri = f"sqlite:///{path}"
    mlflow_client(uri)
    return uri


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    _database(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE alembic_version SET version_num = 'ffff'", "is of another version of MLflow"),  # a later one
        ("UPDATE alembic_version SET version_num = '451aebb31d03'", "is of another version of MLflow"),  # the first one
        ("DROP TABLE metrics; UPDATE alembic_version SET version_num = 'ffff'", "is of another version of MLflow"),
        ("DROP TABLE experiments", "is of another program"),
    ],
)
def test_a_database_of_another_version_or_program(
    statement: str, sentence: str, template: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(template)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(statement)
    with pytest.raises(UserError, match=sentence):
        check_store(f"sqlite:///{path}")


def test_a_damaged_database(template: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    for content in (b"no database at all" * 100, template[:8192], template[:100] + b"\xff" * 8000 + template[8100:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=re.escape(f"the database {path} is damaged")):
            check_store(f"sqlite:///{path}")
        assert path.read_bytes() == content


def test_a_locked_database(template: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_PROBE_SECONDS", 0.1)
    path = tmp_path / "mlflow.db"
    path.write_bytes(template)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="is locked by another program"):
            check_store(f"sqlite:///{path}")
    check_store(f"sqlite:///{path}")


def test_a_home_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("plain", "a?b"):
        with pytest.raises(UserError, match="there are no runs in"):
            known_store(Home(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


@contextmanager
def _server(status: int, body: bytes = b"") -> Iterator[tuple[str, list[str]]]:
    """Answer every request alike during the block; yields the address, and what was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(f"{self.headers.get('Authorization', '')} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815 - the names that the library calls

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, b"Unauthorized", "wants a login"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "wants a login"),
        (404, b"<html>not found</html>", "answers, but not as an MLflow server does"),
        (200, b"<html>welcome</html>", "answers, but not as an MLflow server does"),
        (400, b'{"error_code": "BAD_REQUEST", "message": "no such workspace"}', "answers with an error: .*workspace"),
    ],
)
def test_what_a_server_answers_is_said(
    status: int, body: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with _server(status, body) as (uri, _), pytest.raises(UserError, match=sentence):
        check_store(uri)


def test_a_login_that_is_given_is_used_and_one_that_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    with _server(200, b'{"experiments": []}') as (uri, asked):
        check_store(uri)
        assert all(text.startswith("Basic ") for text in asked)
    with _server(401) as (uri, _), pytest.raises(UserError, match="does not accept the login") as caught:
        check_store(uri)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_proxy_does_not_swallow_the_loopback(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "example.org")
    with _server(200, b'{"experiments": []}') as (uri, _):
        check_store(uri.replace("127.0.0.1", name))
    assert os.environ["NO_PROXY"] == f"example.org,{name}"


def test_a_proxy_in_between_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"asked through the proxy http://127.0.0.1:9 \(NO_PROXY leaves it out\)"):
        check_store("http://192.0.2.1:5000")


def test_a_server_that_does_not_answer_is_refused_quickly() -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"no MLflow server answers at MLFLOW_TRACKING_URI=http://127.0.0.1:9 "):
        check_store("http://127.0.0.1:9")
    assert not wait_for_store("http://127.0.0.1:9", 0.1)
    assert time.monotonic() - start < 10


def _answer(code: str) -> Exception:
    error: Exception = RestException({"error_code": code, "message": "said"})  # type: ignore[no-untyped-call]
    return error


def _raised(outer: Exception, inner: Exception) -> Exception:
    outer.__context__ = inner  # as MLflow raises it while it handles the inner one
    return outer


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (_raised(MlflowException("API request failed"), requests.ConnectionError("reset by peer")), True),
        (MlflowException("API request to endpoint x failed with error code 503 != 200. Response body: ''"), True),
        (_answer("TEMPORARILY_UNAVAILABLE"), True),
        (requests.exceptions.RetryError("too many 502 error responses"), True),
        (requests.exceptions.RetryError("too many 500 error responses"), False),
        (requests.exceptions.SSLError("certificate verify failed"), False),
        (requests.HTTPError("500 Server Error: INTERNAL SERVER ERROR for url: x"), False),
        (_answer("PERMISSION_DENIED"), False),
        (PermissionError(13, "Permission denied"), False),
        (_raised(MlflowException("upload failed"), PermissionError(13, "Permission denied")), False),
    ],
)
def test_away_is_what_gives_no_answer_or_asks_to_come_again(error: Exception, away: bool) -> None:
    assert is_away(error) is away


def test_errors_of_the_store_are_told_from_bugs_and_quoted_by_their_cause() -> None:
    assert is_of_store(MlflowException("x"))
    assert is_of_store(requests.Timeout())
    assert not is_of_store(ZeroDivisionError())
    assert not is_of_store(UserError("x"))
    refused = ConnectionRefusedError(111, "http://me:hunter2@server refused")
    assert cause_of(_raised(MlflowException("API request failed"), refused)) == "[Errno 111] http://***@server refused"
