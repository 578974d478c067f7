"""A local server that plays Google Cloud's metadata server and its TPU API, in any mood."""

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator

PROJECT, ZONE = "project-1", "europe-west4-a"
TOKEN = "secret-token"

METADATA = {
    "project/project-id": PROJECT,
    "instance/zone": f"projects/123/zones/{ZONE}",
    "instance/service-accounts/default/token": json.dumps({"access_token": TOKEN}),
}


@contextlib.contextmanager
def google_cloud(
    monkeypatch,
    metadata: dict[str, str] = METADATA,
    nodes: dict[str, dict] | None = None,
    flavor: str = "Google",
    api_status: int = 200,
) -> Iterator[list[str]]:
    """Serves `metadata` by path and `nodes` by name, anything else is 404; yields what was asked.

    Metadata is given only to who names the flavor, nodes only to who shows the token.
    """
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            flavored = self.headers.get("Metadata-Flavor") == "Google"
            authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            path = self.path.removeprefix("/computeMetadata/v1/")
            node = (nodes or {}).get(self.path.removeprefix(node_path(PROJECT, ZONE, "")))
            if flavored and path in metadata:
                self._answer(200, metadata[path])
            elif authorized and api_status != 200:
                self._answer(api_status, "")
            elif authorized and node is not None:
                self._answer(200, node if isinstance(node, str) else json.dumps(node))
            else:
                self._answer(404, "")

        def _answer(self, status, text):
            self.send_response(status)
            self.send_header("Metadata-Flavor", flavor)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    stand_in(monkeypatch, server.server_address[1])
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


def node_path(project: str, zone: str, name: str) -> str:
    return f"/v2/projects/{project}/locations/{zone}/nodes/{name}"


def stand_in(monkeypatch, port: int) -> str:
    """Has the metadata server and the TPU API looked for at a local port."""
    host = f"127.0.0.1:{port}"
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU", f"http://{host}/")
    return host


def closed_port() -> int:
    """A port at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def silent_port(says: bytes = b"") -> Iterator[int]:
    """A port that takes connections and says nothing, or the same to everyone."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        connections = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    if says:
                        connection.recv(4096)
                        connection.sendall(says)
                        connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()
