"""A stand-in of the hub's HTTP protocol: files of repositories by HEAD and GET with ranges, and all that can go wrong.

with StandInHub({"maker/model/weights.gguf": data}) as hub:
    pull(HubFile("maker/model", "weights.gguf"), folder, Hub(hub.url), print)
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Request(NamedTuple):
    """What came in."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class StandInHub:
    """Serves `files` ("OWNER/REPO/FILE" → content) as a hub at `url`, and as plain files at `url`/files/….

    The switches hold from the next request on. `error` is a status and an X-Error-Code; `drop_after` cuts the next body
    after so many bytes, `stall_after` stops there until `close`; `corrupt` serves other bytes than were announced; `size`
    is announced instead of the right one; `ranges` off ignores Range; `etag` names the plain files' version; `storage`
    is another stand-in that the files are redirected to; `moved` are repositories that have another name now.
    """

    files: Mapping[str, bytes]
    error: tuple[int, str] | None = None
    drop_after: int | None = None
    stall_after: int | None = None
    corrupt: bool = False
    size: int | None = None
    ranges: bool = True
    etag: str | None = '"first"'
    commit: str | None = COMMIT
    storage: StandInHub | None = None
    moved: Mapping[str, str] = field(default_factory=dict[str, str])
    served: int = 0  # bytes of bodies
    requests: list[Request] = field(default_factory=list[Request])

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub._answer(self)

            def do_GET(self) -> None:
                hub._answer(self)

            def log_message(self, *_args: object) -> None:
                """Nothing is logged."""

        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # The default poll makes each shutdown wait half a second.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked(self, method: str) -> list[Request]:
        """The requests of that method, in order."""
        return [request for request in self.requests if request.method == method]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(Request(handler.command, handler.path, dict(handler.headers)))
        if self.error:
            status, code = self.error
            return _send(handler, status, {"X-Error-Code": code} if code else {})
        prefix, _, rest = handler.path.lstrip("/").partition("/")
        if prefix == "files":
            version = {"ETag": self.etag} if self.etag else {}
            return self._serve(handler, self.files.get(rest), version)
        repo, _, after = handler.path.lstrip("/").partition("/resolve/")
        revision, _, file = after.partition("/")
        if repo in self.moved:
            return _send(handler, 307, {"Location": f"/{self.moved[repo]}/resolve/{after}"})
        content = self.files.get(f"{repo}/{file}")
        if content is None:
            known = any(key.startswith(f"{repo}/") for key in self.files)
            return _send(handler, 404, {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})
        if revision not in ("main", self.commit):
            return _send(handler, 404, {"X-Error-Code": "RevisionNotFound"})
        told = {
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(self.size or len(content)),
            "ETag": '"of-the-pointer"',
            **({"X-Repo-Commit": self.commit} if self.commit else {}),
        }
        if self.storage:
            return _send(handler, 302, {**told, "Location": f"{self.storage.url}/files/{repo}/{file}"})
        return self._serve(handler, content, told)

    def _serve(self, handler: BaseHTTPRequestHandler, content: bytes | None, headers: Mapping[str, str]) -> None:
        if content is None:
            return _send(handler, 404, {})
        start = 0
        asked = handler.headers.get("Range", "")
        if asked and self.ranges and handler.headers.get("If-Range", self.etag) == self.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return _send(handler, 416, {"Content-Range": f"bytes */{len(content)}"})
        body = bytes(255 - byte for byte in content[start:]) if self.corrupt else content[start:]
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        if handler.command == "HEAD":
            return _send(handler, 200, {**headers, "Accept-Ranges": "bytes"}, len(content))
        _send(handler, 206 if start else 200, {**headers, **part}, len(body))
        cut = self.drop_after if self.drop_after is not None else self.stall_after
        self.drop_after = None
        sent = body if cut is None else body[:cut]
        self.served += len(sent)  # before it is sent: who has read it all may look at once
        handler.wfile.write(sent)
        handler.wfile.flush()
        if self.stall_after is not None:
            self._closing.wait()
        return None


def _send(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], length: int = 0) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
