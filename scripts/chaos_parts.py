"""What goes wrong in `scripts/chaos.py`: the bot's process, and a chat model's server that misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from aiohttp import web

from persona.errors import FiresideError
from scripts.bots import ROOT, START_SECONDS
from scripts.full_house import memory

STOPS_WITHIN = 10.0  # seconds from SIGTERM to the end of the process
GIVEN_UP = 30.0  # seconds after which one that does not stop is killed
AGAIN = 1.0  # seconds after which one that does not start is started again
LINES = 400  # of its log that are kept

Mood = Literal["fine", "hangs", "refuses", "garbles"]


class Bot:
    """The bot in a process of its own, that is killed and started again; `up` returns once it is connected."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], up: Callable[[], Awaitable[object]]) -> None:
        self._command, self._environ, self._up = command, environ, up
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.log: deque[str] = deque(maxlen=LINES)
        self.broken: list[str] = []  # what it should not have done
        self.starts = 0
        self.kills = 0
        self.stops: list[float] = []  # seconds that each end by SIGTERM took

    @property
    def pid(self) -> int:
        """The process; FiresideError where it ended by itself."""
        if self._process is None or self._process.returncode is not None:
            code = self._process.returncode if self._process else None
            raise FiresideError(f"The bot ended by itself ({code}). Its last words: {' / '.join(list(self.log)[-5:])}")
        return self._process.pid

    @property
    def memory(self) -> float | None:
        """MB that it holds."""
        return memory(self.pid)

    async def start(self, tries: int = 1) -> None:
        """Starts it, as often as a supervisor would; FiresideError if it doesn't connect."""
        for left in reversed(range(tries)):
            try:
                await self._start()
                self.starts += 1
                return
            except FiresideError:
                await self.close()
                if not left:
                    raise
                await asyncio.sleep(AGAIN)

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            env={**os.environ, **self._environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        connecting = asyncio.ensure_future(self._up())
        ending = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({connecting, ending}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                await asyncio.wait({self._reading}, timeout=1.0)
                raise FiresideError(f"The bot does not start: {' / '.join(list(self.log)[-3:])}")
            await connecting
        finally:
            for task in (connecting, ending):
                task.cancel()

    async def kill(self) -> None:
        """As a machine that loses its power."""
        os.kill(self.pid, signal.SIGKILL)
        self.kills += 1
        await self._ended()

    async def stop(self) -> None:
        """As a deployment does; what it should not have done is noted."""
        begun = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        assert self._process is not None
        try:
            code = await asyncio.wait_for(self._process.wait(), GIVEN_UP)
        except TimeoutError:
            self.broken.append(f"it did not stop within {GIVEN_UP:.0f} s of SIGTERM")
            await self.kill()
            return
        took = time.monotonic() - begun
        self.stops.append(took)
        if code:
            self.broken.append(f"it ended with exit code {code} after SIGTERM: {' / '.join(list(self.log)[-3:])}")
        if took > STOPS_WITHIN:
            self.broken.append(f"it took {took:.1f} s to stop")
        await self._ended()

    async def close(self) -> None:
        """Ends it, however it is."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._ended()

    def fill_disk(self, full: bool) -> None:
        """Lets every write of it to a file fail, as on a full disk. By the limit for the sizes of files, which needs no
        privilege and can be lifted again; a write then ends with EFBIG where a full disk says ENOSPC."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))

    async def _ended(self) -> None:
        assert self._process is not None
        await self._process.wait()
        if self._reading is not None:
            await self._reading
        self._process = None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Reads the log as it comes, so that the pipe never fills up."""
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.log.append(line.decode("utf-8", "replace").rstrip())


class ModelServer:
    """A server that speaks OpenAI's chat completions, as long as its `mood` is "fine": then it quotes the first passage that
    it is given."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._mood: Mood = "fine"
        self._changed = asyncio.Event()
        self.asked = 0
        self.url = ""

    @property
    def mood(self) -> Mood:
        """How it behaves at the moment."""
        return self._mood

    @mood.setter
    def mood(self, mood: Mood) -> None:
        self._mood = mood
        self._changed.set()  # those who hang are hung up on
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """It listens on a port of 127.0.0.1 that is free."""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
            yield
        finally:
            await runner.cleanup()

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if self._mood == "hangs":
            return await self._hang(request)
        return web.json_response({"object": "list", "data": [{"id": "chaos", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        asked = await request.json()
        match self._mood:
            case "hangs":
                return await self._hang(request)
            case "refuses":
                status = self._dice.choice((429, 500, 503))
                return web.json_response({"error": {"message": "not now"}}, status=status, headers={"Retry-After": "1"})
            case "garbles":
                return await self._send(request, [self._dice.randbytes(40), b"data: {]\n\n"])
            case _:
                pass
        text = self._written(asked["messages"][-1]["content"])
        third = max(1, len(text) // 3)
        pieces = [text[at : at + third] for at in range(0, len(text), third)]
        return await self._send(request, [*map(_event, pieces), _event("", "stop"), b"data: [DONE]\n\n"])

    async def _hang(self, request: web.Request) -> web.Response:
        await self._changed.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _send(self, request: web.Request, pieces: Sequence[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        return response

    def _written(self, prompt: str) -> str:
        """The JSON that a well-behaved model would write: the first sentence of the first passage, word for word."""
        lines = (line for line in prompt.splitlines() if line.startswith('{"id"'))
        passage: dict[str, Any] = json.loads(next(lines, '{"id": "p1", "text": ""}'))
        sentence = passage["text"].partition(". ")[0][:200]
        claims = [{"kind": "quote", "passages": [passage["id"]], "text": sentence}]
        return json.dumps({"decision": "answer", "claims": claims, "options": []})


def _event(text: str, finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"
