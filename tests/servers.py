"""Servers on 127.0.0.1: for chat a scripted one, and llama-cpp-python's own in a process; and Chroma's own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

PATIENCE = 60  # seconds; only a test that fails waits as long


def event(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One chunk of a chat completion, as a server-sent event."""
    delta = {} if text is None else {"content": text}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices, **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
END = (event(finish="stop"), DONE)


@dataclass(frozen=True)
class Answer:
    """What a scripted server sends: `pieces` go out one by one (a chunk of HTTP each). With `ends` "cut" it then hangs up
    without the end of the body, with "hang" it waits until the client has gone; "mute" waits, and "drop" hangs up, before it
    says anything."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    ends: str = ""


def refusal(status: int, body: object, **headers: str) -> Answer:
    """An error as JSON; `headers` with underscores for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer([json.dumps(body).encode()], status, "application/json", named)


def models(*ids: str) -> Answer:
    """A list of models."""
    body = {"object": "list", "data": [{"id": name, "object": "model"} for name in ids]}
    return Answer([json.dumps(body).encode()], content_type="application/json")


def words(*texts: str) -> Answer:
    """A whole answer, a chunk for each text."""
    return Answer([*map(event, texts), *END])


class ChatServer:
    """Serves lists of models by path, and gives each question the next of `answers`. It keeps what it was asked:
    `bodies`, `tokens` (Authorization headers) and the paths of `gets`, and counts `connections`; `gone` is set when a client
    hangs up on a server that hangs."""

    def __init__(self, answers: Iterable[Answer] = (), lists: dict[str, Answer] | None = None) -> None:
        self.answers = list(answers)
        self.lists = {"/v1/models": models("tiny")} if lists is None else lists
        self.bodies: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.gets: list[str] = []
        self.connections: list[socket.socket] = []
        self.gone = threading.Event()
        scripted = self

        class Handler(_Handler):
            script = scripted

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # their end is waited for

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ChatServer:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # it has gone already
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: ChatServer

    def setup(self) -> None:
        super().setup()
        self.script.connections.append(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients may leave at any time
            super().handle()

    def do_GET(self) -> None:
        self.script.gets.append(self.path)
        self.script.tokens.append(self.headers["Authorization"])
        self._send(self.script.lists.get(self.path, refusal(404, {"detail": "Not Found"})))

    def do_POST(self) -> None:
        self.script.tokens.append(self.headers["Authorization"])
        self.script.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._send(self.script.answers.pop(0))

    def _send(self, answer: Answer) -> None:
        if answer.ends == "drop":
            self.close_connection = True
            return
        if answer.ends == "mute":
            self._wait()
            return
        self.send_response(answer.status)
        for name, value in {
            "Content-Type": answer.content_type,
            "Transfer-Encoding": "chunked",
            **answer.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in answer.pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if answer.ends == "hang":
            self._wait()
        elif answer.ends == "cut":
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _wait(self) -> None:
        self.close_connection = True
        if not self.connection.recv(1):
            self.script.gone.set()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def llama_server(gguf: Path, *options: str) -> Generator[str]:
    """`python -m llama_cpp.server` in a process of its own, on a port that it picks; gives its URL once it listens."""
    environ = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "CONFIG_FILE")}
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(gguf), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--n_threads", "1", "--n_threads_batch", "1", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environ,
    )
    assert process.stderr is not None
    log = _Log(process.stderr)
    try:
        yield log.url()
    finally:
        process.terminate()
        process.wait(PATIENCE)
        log.close()


class _Log:
    """Reads a server's log as it comes, so that the pipe never fills up, and finds the address in it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._url = ""
        self._known = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self._lines.append(line)
            if not self._url and (found := re.search(r"running on (http://\S+)", line)):
                self._url = found[1]
                self._known.set()
        self._known.set()

    def url(self) -> str:
        assert self._known.wait(PATIENCE), "the server does not start"
        assert self._url, "the server ended:\n" + "".join(self._lines[-20:])
        return self._url

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._stream.close()


class ChromaServer:
    """`chroma run` over a folder, in a process of its own, on one port all its life: it can be ended and started again."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or closed_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Returns once it answers."""
        assert self._process is None, "it runs already"
        command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(self.folder)]
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        late = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, f"Chroma ended with exit code {self._process.returncode}"
            assert time.monotonic() < late, "Chroma does not start"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it: by SIGKILL at once."""
        if self._process is not None:
            self._process.send_signal(number)
            self.pause(False)
            self._process.wait(PATIENCE)
            self._process = None

    def pause(self, paused: bool = True) -> None:
        """Lets it hang: who asks is heard, and never answered."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def _answers(self) -> bool:
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            asking.request("GET", "/api/v2/heartbeat")
            return asking.getresponse().status == 200
        except OSError:
            return False
        finally:
            asking.close()

    def __enter__(self) -> ChromaServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
