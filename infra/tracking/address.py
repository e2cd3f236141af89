"""Addresses of MLflow stores: as people type them, checked before any work, and what their errors mean."""

import importlib.util
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.tracking.mlflow import database_file, mlflow_client
from infra.tracking.secrets import has_login, redacted
from reid_core.errors import UserError, first_line

_PROBE_SECONDS = 5
_SECONDS_BETWEEN_LOOKS = 2.0
_OVERLOADED = {408, 429, 502, 503, 504}  # answers of a server, or of what stands before it, that pass by themselves
_WRONG_PLACE = {404, 405, 501}
_NO_LOGIN = {401, 403}
# Drivers of databases: what SQLAlchemy calls each, and the module it needs. The first one that is installed serves.
_DRIVERS = {
    "postgresql": {"psycopg2": "psycopg2", "psycopg": "psycopg", "pg8000": "pg8000"},
    "mysql": {"pymysql": "pymysql", "mysqldb": "MySQLdb", "mysqlconnector": "mysql.connector"},
    "mssql": {"pyodbc": "pyodbc", "pymssql": "pymssql"},
}
_PACKAGES = {"postgresql": "psycopg2-binary", "mysql": "pymysql", "mssql": "pyodbc"}
_STORE_PACKAGES = {
    *("mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "botocore", "boto3"),
    *("sqlite3", "psycopg2", "psycopg", "pg8000", "pymysql", "MySQLdb", "pyodbc", "pymssql"),
}
_UNSET = "or unset MLFLOW_TRACKING_URI to keep the runs in a local database"


def tracking_uri(home: Home) -> str:
    """Return MLFLOW_TRACKING_URI with an absolute path and an installed driver, or the SQLite file of the home."""
    named = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not named:
        return sqlite_uri(home.database)
    kind, _, rest = named.partition("://")
    if kind == "postgres":  # what hosts of databases hand out
        kind = "postgresql"
    if kind in _DRIVERS:
        driver = next((name for name, module in _DRIVERS[kind].items() if _is_installed(module)), None)
        return f"{kind}+{driver}://{rest}" if driver else f"{kind}://{rest}"
    if kind.startswith("sqlite") and rest.startswith("/") and (file := database_file(named)) is not None:
        from sqlalchemy.engine import make_url

        if not file.is_absolute():  # workers have another working folder
            return sqlite_uri(file.expanduser().absolute(), dict(make_url(named).query))
    return named


def sqlite_uri(path: Path, options: Mapping[str, Any] | None = None) -> str:
    """Return the address of an SQLite file, whatever its name holds.

    Args:
        path: The file.
        options: Such as the timeout, after "?".
    """
    from sqlalchemy.engine import URL

    plain = URL.create("sqlite", database=str(path), query=options or {}).render_as_string()
    if plain.startswith(f"sqlite:///{path}") and not re.search(r"[?#%]", str(path)):
        return plain
    # SQLite's own kind of address, which every version of SQLAlchemy hands on; with the driver named, since MLflow
    # takes what follows a plain "sqlite:///" for a path and creates its folders.
    query = {**(options or {}), "uri": "true"}
    return URL.create("sqlite+pysqlite", database=path.as_uri(), query=query).render_as_string()


def check_store(uri: str) -> None:
    """Refuse a store that cannot be used; writes nothing, and creates no database."""
    kind = re.split(r"[+:]", uri, maxsplit=1)[0].lower()
    _check_spelling(uri, kind)
    if kind in ("http", "https"):
        _check_server(uri)
    elif kind == "sqlite":
        _check_file(uri)
    elif kind in _DRIVERS:
        _check_database(uri, kind)
    else:
        _check_answer(uri)


def known_store(home: Home) -> str:
    """Return the address of the store in use; a UserError when it does not answer or holds no runs yet."""
    uri = tracking_uri(home)
    check_store(uri)
    file = database_file(uri)
    if file is not None and not file.is_file():
        raise UserError(
            f"there are no runs in {home.root} yet; train with genvar pipeline first, or name another --home"
            if uri == sqlite_uri(home.database)
            else f"there are no runs at MLFLOW_TRACKING_URI={redacted(uri)} yet; train with genvar pipeline first"
        )
    return uri


def wait_for_store(uri: str, seconds: float) -> bool:
    """Wait until a server answers again, and tell whether it did."""
    end = time.monotonic() + seconds
    while True:
        try:
            check_store(uri)
            return True
        except UserError:
            if time.monotonic() > end:
                return False
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def is_away(error: BaseException) -> bool:
    """Tell whether an error says that nobody answered, or that the answer was to come again later."""
    import requests
    import urllib3.exceptions as urllib3

    silent = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    lower = (urllib3.NewConnectionError, urllib3.TimeoutError, urllib3.ProtocolError)
    for link in _chain(error):
        if isinstance(link, requests.exceptions.SSLError):
            return False
        if (status := _status(link)) is not None and status in _OVERLOADED:
            return True
        if isinstance(link, (*silent, *lower, ConnectionError, TimeoutError)):
            return True
    return False


def is_of_store(error: BaseException) -> bool:
    """Tell whether an error comes from MLflow or from what it stands on; loads none of them."""
    return any(base.__module__.partition(".")[0] in _STORE_PACKAGES for base in type(error).__mro__)


def cause_of(error: BaseException) -> str:
    """Return the first line of what lies at the bottom of an error, as it may be shown."""
    links = [link for link in _chain(error) if is_of_store(link) or isinstance(link, OSError)]
    return redacted(first_line(links[-1] if links else error))


def _check_spelling(uri: str, kind: str) -> None:
    """Refuse what is no address, with the address that was probably meant."""
    wanted = "MLFLOW_TRACKING_URI should be a server (http://...) or a database (sqlite:///...)"
    meant = ""
    if re.match(r"(\[[\da-f:]+\]|[\w.-]+):\d+(/|$)", uri, re.IGNORECASE):
        meant = f"http://{uri}"
    elif kind in ("http", "https") and not re.match(r"https?://[^/:]", uri):
        meant = f"{kind}://{uri.partition(':')[2].lstrip('/') or 'HOST:5000'}"
    elif kind == "sqlite" and not re.match(r"sqlite(\+\w+)?:///", uri):
        rest = uri.partition(":")[2]
        path = rest if re.match(r"/[^/]", rest) else rest.lstrip("/")
        meant = sqlite_uri(Path(path or "mlflow.db").expanduser().absolute())
    elif kind in _DRIVERS and "://" not in uri:
        meant = f"{kind}://USER@HOST/DATABASE"
    elif "://" not in uri and uri.endswith((".db", ".sqlite", ".sqlite3")):
        meant = sqlite_uri(Path(uri).expanduser().absolute())
    if meant:
        raise UserError(f'{wanted}, but is "{redacted(uri)}"; write {redacted(meant)}, {_UNSET}')
    if "://" not in uri or kind == "file":
        raise UserError(
            f'{wanted}, but is "{redacted(uri)}": MLflow no longer writes to plain folders; unset it to use the home '
            "of genvar"
        )


def _check_server(uri: str) -> None:
    address = redacted(uri)
    if has_login(uri):
        raise UserError(
            f"MLFLOW_TRACKING_URI={address} carries a login, which would be logged and shown; put it into "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    try:
        _look(uri)
    except Exception as error:
        status = next((found for link in _chain(error) if (found := _status(link)) is not None), None)
        proxy = os.environ.get("https_proxy" if uri.startswith("https") else "http_proxy")
        through = f", asked through the proxy {redacted(proxy)} (NO_PROXY leaves it out)" if proxy else ""
        if status in _NO_LOGIN:
            given = any(os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "TOKEN"))
            said = "does not accept the login that was given" if given else "wants a login"
            raise UserError(
                f"the MLflow server at MLFLOW_TRACKING_URI={address} {said} (status {status}){through}; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            ) from error
        if status in _WRONG_PLACE or "valid JSON" in str(error):
            raise UserError(
                f"MLFLOW_TRACKING_URI={address} answers, but not as an MLflow server does{through}; correct it, "
                f"{_UNSET}"
            ) from error
        if status is not None and not is_away(error):
            raise UserError(
                f"the MLflow server at MLFLOW_TRACKING_URI={address} answers with an error{through}: "
                f"{cause_of(error)}; look at its log, {_UNSET}"
            ) from error
        raise UserError(
            f"no MLflow server answers at MLFLOW_TRACKING_URI={address}{through} ({cause_of(error)}); start "
            f"it, {_UNSET}"
        ) from error


def _check_file(uri: str) -> None:
    """Refuse an SQLite file that is locked, damaged, of another program or of another MLflow, or cannot be written."""
    file, address = database_file(uri), redacted(uri)
    if file is None:
        raise UserError(
            f"MLFLOW_TRACKING_URI={address} names a database in memory, which ends with the command; name a file, "
            f"{_UNSET}"
        )
    if file.is_dir():
        raise UserError(f"MLFLOW_TRACKING_URI={address} should name a file, but {file} is a folder; name a file in it")
    place = file
    while not os.path.lexists(place):
        place = place.parent
    if place != file and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise UserError(f"the database {file} cannot be created, because {place} may not be written to; name another")
    if place != file:
        return
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_PROBE_SECONDS)) as read:
            tables = {name for (name,) in read.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise UserError(_sqlite_sentence(file, str(error))) from error
    if tables and "experiments" not in tables:
        raise UserError(f"the database {file} is of another program, not of MLflow; name another file")
    if tables:
        _check_answer(uri)


def _sqlite_sentence(file: Path, text: str) -> str:
    if "locked" in text:
        return f"the database {file} is locked by another program; end that one, then give the same command again"
    if "not a database" in text or "malformed" in text:
        return (
            f"the database {file} is damaged ({text}); put back a copy of it, or move it away: genvar then starts a "
            "new one, and runs everything again"
        )
    return f"the database {file} cannot be read ({text}); see to its permissions, or name another file"


def _check_database(uri: str, kind: str) -> None:
    """Refuse a database server without a driver, or that does not answer."""
    import sqlalchemy
    from sqlalchemy.engine import make_url

    address = redacted(uri)
    try:
        url = make_url(uri)
        dialect = url.get_dialect()
        dialect.import_dbapi()
        options: dict[str, Any] = {"connect_timeout": _PROBE_SECONDS} if kind in ("postgresql", "mysql") else {}
        if "pg8000" in url.drivername:
            options = {"timeout": _PROBE_SECONDS}
        with sqlalchemy.create_engine(url, connect_args=options, poolclass=sqlalchemy.NullPool).connect():
            pass
    except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise UserError(
            f"MLFLOW_TRACKING_URI={address} needs a driver that is not installed ({cause_of(error)}); pip install "
            f"{_PACKAGES[kind]}, {_UNSET}"
        ) from error
    except Exception as error:
        raise UserError(
            f"the database at MLFLOW_TRACKING_URI={address} cannot be opened ({cause_of(error)}); start or correct it, "
            f"{_UNSET}"
        ) from error
    _check_answer(uri)


def _check_answer(uri: str) -> None:
    """Refuse a store that MLflow itself cannot read."""
    try:
        _look(uri)
    except Exception as error:
        text = str(error)
        if "out-of-date database schema" in text or "locate revision" in text:
            raise UserError(
                f"the database at {redacted(uri)} is of another version of MLflow ({cause_of(error)}); use the MLflow "
                "that wrote it, or after a backup: mlflow db upgrade"
            ) from error
        file = database_file(uri)
        raise UserError(
            f"MLFLOW_TRACKING_URI={redacted(uri)} cannot be used ({cause_of(error)}); correct it, {_UNSET}"
            if file is None
            else _sqlite_sentence(file, cause_of(error))
        ) from error


def _look(uri: str) -> None:
    mlflow_client(uri).search_experiments(max_results=1)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and what it comes from."""
    while error is not None:
        yield error
        reason = getattr(error, "reason", None)  # of urllib3's MaxRetryError
        error = error.__cause__ or error.__context__ or (reason if isinstance(reason, BaseException) else None)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error speaks of."""
    if (response := getattr(error, "response", None)) is not None and hasattr(response, "status_code"):
        return int(response.status_code)
    # MLflow and urllib3 say it in words only.
    found = re.search(
        r"error code (\d{3}) !=|too many (\d{3}) error responses|^(\d{3}) (?:Client|Server) E", str(error)
    )
    if found is not None:
        return int(next(filter(None, found.groups())))
    if type(error).__name__ == "RestException":
        return int(error.get_http_status_code())  # type: ignore[attr-defined]
    return None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it
        return False
