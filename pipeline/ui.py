"""Serving the MLflow page."""

import os
import socket
import sys

from infra.home import Home
from infra.tracking.secrets import redacted
from infra.tracking.store import tracking_uri
from reid_core.errors import UserError


def serve(home: Home, port: int) -> None:
    """Replace this process by an MLflow server that only this machine reaches."""
    uri = tracking_uri(home)
    if uri.startswith(("http://", "https://")):
        raise UserError(f"the runs are on a server already (MLFLOW_TRACKING_URI); open {redacted(uri)} in a browser")
    if uri == f"sqlite:///{home.database}" and not home.database.is_file():
        raise UserError(f"there are no runs in {home.root} yet; run the pipeline first, or name another --home")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} is taken ({error.strerror}); choose another one with --port") from error
    os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    where = ["--backend-store-uri", uri, "--artifacts-destination", str(home.artifacts)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *address, *where])
