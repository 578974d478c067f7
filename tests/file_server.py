"""A local HTTP server in a thread: of plain files, or of Hugging Face's hub and its protocol."""

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

COMMITS = ("a" * 40, "b" * 40)


class FileServer:
    """Files by URL path, and answers that are not those files.

    Attributes:
        files: content by path, without the first slash.
        statuses: by path, the HTTP status to answer with instead.
        cut: by path, the number of bytes after which an answer ends; once, or always.
        ranges: false for a server that ignores which part of a file is requested.
        requests: "METHOD path" of all requests so far, and the Range that was requested.
    """

    def __init__(self):
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}
        self.cut: dict[str, tuple[int, bool]] = {}
        self.ranges = True
        self.requests: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for the path."""
        if path in self.statuses:
            return self.statuses[path], {}, b""
        if path not in self.files:
            return 404, {}, b""
        return 200, {}, self.files[path]


class HubServer(FileServer):
    """Repositories of the hub.

    Attributes:
        repositories: by "OWNER/NAME", the commit of each revision.
        etags: by path of a file, a false digest of its content.
        sizes: by path of a file, a false size.
    """

    def __init__(self):
        super().__init__()
        self.repositories: dict[str, dict[str, str]] = {}
        self.etags: dict[str, str] = {}
        self.sizes: dict[str, int] = {}

    def add(self, repository: str, files: dict[str, bytes], commit: str = COMMITS[0]) -> None:
        """Publishes the files as the newest version of a repository."""
        self.repositories.setdefault(repository, {}).update({"main": commit, commit: commit})
        self.files.update({f"{repository}@{commit}/{name}": files[name] for name in files})

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path in self.statuses:
            return self.statuses[path], {}, b""
        listing = re.fullmatch(r"api/models/(\w+/[\w.-]+)/revision/(.+)", path)
        found = listing or re.fullmatch(r"(\w+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        if found is None or found[1] not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.repositories[found[1]].get(found[2])
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        prefix = f"{found[1]}@{commit}/"
        if listing:
            names = [name.removeprefix(prefix) for name in self.files if name.startswith(prefix)]
            siblings = [{"rfilename": name} for name in names]
            return (
                200,
                {},
                json.dumps({"id": found[1], "sha": commit, "siblings": siblings}).encode(),
            )
        content = self.files.get(prefix + found[3])
        if content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        # As the hub: a digest of Git, but SHA-256 for what it keeps as a large file.
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if found[3].endswith((".safetensors", ".h5")):
            digest = hashlib.sha256(content).hexdigest()
        etag = self.etags.get(path, digest)
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, content


@contextlib.contextmanager
def serving(server: FileServer) -> Iterator[None]:
    """Runs the server in a thread while the block runs; its `url` has no slash at the end."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.lstrip("/").partition("?")[0]
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            server.requests.append(f"{self.command} {path}{' ' + wanted[0] if wanted else ''}")
            status, headers, body = server.answer(path)
            start = int(wanted[1]) if wanted and status == 200 and server.ranges else 0
            size = getattr(server, "sizes", {}).get(path, len(body))
            self.send_response(206 if start else status)
            for name, value in headers.items():
                self.send_header(name, value)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.end_headers()
            if self.command == "HEAD":
                return
            num_bytes, always = server.cut.get(path, (size, True))
            self.wfile.write(body[start : max(num_bytes, start)])
            if num_bytes < size:
                self.close_connection = True
                if not always:
                    del server.cut[path]

        do_HEAD = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, args=[0.01], daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown()
            thread.join()
