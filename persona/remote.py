"""Chat models on a server that speaks OpenAI's chat completions: llama.cpp, vLLM, Ollama, a hosted one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from persona.errors import AwayError, BusyError, ConfigError, DeadlineError, ModelError, TooLongError
from persona.types import Message, Sampling

if TYPE_CHECKING:
    import httpx2

URL_SETTING = "FIRESIDE_MODEL_URL"
MODEL_SETTING = "FIRESIDE_CHAT_MODEL"
TOKEN_SETTING = "MODEL_TOKEN"  # noqa: S105 (the name of a setting)

CONNECT_WITHIN = 5.0  # seconds
SILENT_FOR = 300.0  # seconds without a byte; a long prompt on a slow machine takes minutes before its first word
CHECK_WITHIN = 10.0  # seconds
LEFT_ALONE = 15.0  # seconds that a server which hangs is not asked again: others wait behind whoever asks
_CLOSE_WITHIN = 1.0  # seconds that a server has, after its last word, to end the answer: the connection is used again

# Ways to ask for a schema: OpenAI's, llama.cpp's older one; after these, none.
_FORMS = ("json_schema", "json_object")
_ABOUT_FORM = re.compile(r"response_format|json_?schema|json_object|structured|grammar", re.IGNORECASE)
# What a server may leave out of account without making the answer wrong.
_DISPENSABLE = frozenset({"temperature", "top_p", "top_k", "min_p", "seed"})
_TOO_LONG = re.compile(
    r"context_length|exceed_context|context (?:length|size|window)|maximum context|(?:prompt|input) is too long"
    r"|too many tokens",
    re.IGNORECASE,
)
_ABOUT_FIELDS = (400, 422, 500, 501)  # llama-cpp-python says 500 where others say 422
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_WORDS_SHOWN = 200  # characters of what a server says
_MODELS_SHOWN = 8


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model] | None  # Ollama says null where it has none


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(BaseModel):
    choices: list[_Choice] | None = None
    error: Any = None


class _Server(NamedTuple):
    """Where a server's API was found, and the models that it lists."""

    base: str
    models: tuple[str, ...]


class _Deadline(NamedTuple):
    """How long a call may take (seconds), and when that ends, on the event loop's clock; None: no limit."""

    seconds: float | None = None
    ends: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> _Deadline:
        """A deadline that begins to run now."""
        return cls(seconds, None if seconds is None else asyncio.get_running_loop().time() + seconds)


class _Refusal(NamedTuple):
    """A server's error: HTTP status, its own code for it, what it says (also which fields it names), and two headers."""

    status: int
    code: str = ""
    words: str = ""
    retry_after: str = ""
    location: str = ""

    @property
    def too_long(self) -> bool:
        """Whether prompt and answer don't fit the model's context."""
        return self.status == 413 or bool(_TOO_LONG.search(f"{self.code} {self.words}"))


class _CutError(AwayError):
    """The connection broke, or the answer ended without saying that it is done."""


class RemoteModel:
    """A chat model on a server (a `ChatModel`), for one event loop.

    `url` is that of the API, with /v1 or without; `model` is an id that the server lists (None: the first), `token` goes out
    as a bearer token, to that server alone: redirects are not followed. ConfigError, if `url` or `token` can't be used.

    What a server refuses (a sampling field, a way to ask for a schema) it is asked once, and then no more: top_k and min_p
    matter to llama.cpp, whose own defaults differ, and are unknown to OpenAI. So a schema is a wish here, and the text may
    break it.

    A server that said nothing until a call's deadline is looked at before the next call: one that doesn't even list its
    models is left alone for a while, with an AwayError at once.
    """

    def __init__(
        self, url: str, *, model: str | None = None, token: str | None = None, patience: float = CHECK_WITHIN
    ) -> None:
        """`patience` are the seconds that a server which hung has to list its models."""
        self._patience = patience
        self._url = _checked_url(url)
        self._model = model
        self._token = _checked_token(token)
        self._listed = ""
        self._server: _Server | None = None
        self._hangs = False
        self._left_alone_until = 0.0
        self._looking = asyncio.Lock()
        self._http: httpx2.AsyncClient | None = None
        self._closed = False
        self._form = 0
        self._limit = "max_tokens"
        self._refused: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The model's id, of a path the file's name; before the first call, unless it was set, the server's host."""
        chosen = self._model or self._listed or urlsplit(self._url).netloc
        return PurePosixPath(chosen.replace("\\", "/")).name if chosen.endswith(".gguf") else chosen

    def stream(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        schema: Mapping[str, Any] | None = None,
        user: str = "",
    ) -> AsyncGenerator[str]:
        """See `ChatModel.stream`. BusyError's `position` is 0: a server doesn't tell it."""
        del user  # who asks is nobody's business on another machine
        return self._write(messages, sampling, schema, _Deadline.after(sampling.deadline))

    async def check(self) -> str:
        """The id of the model that will answer. AwayError or BusyError, if the server can't say; ModelError, if it doesn't
        list that model."""
        try:
            async with self._step(_Deadline.after(CHECK_WITHIN)):
                server = await self._look()
        except DeadlineError:
            raise AwayError(f"{self._where} did not answer within {CHECK_WITHIN:g} s. Is it running?") from None
        chosen = self._model or server.models[0]
        if chosen not in (*server.models, *(model.removesuffix(":latest") for model in server.models)):
            raise self._unknown(server)
        return chosen

    async def keep(self, messages: Sequence[Message]) -> int:
        """Nothing to ready: a server keeps what it likes."""
        del messages
        return 0

    async def close(self) -> None:
        """Ends what is being written (a ModelError there), and the connections."""
        self._closed = True
        if self._http is not None:
            await self._http.aclose()

    # --- Asking

    async def _write(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        schema: Mapping[str, Any] | None,
        deadline: _Deadline,
    ) -> AsyncGenerator[str]:
        server = await self._found(deadline)
        heard = False
        response = None
        try:
            response = await self._post(server, messages, sampling, schema, deadline)
            async with contextlib.aclosing(self._chunks(response, server, deadline)) as chunks:
                async for chunk in chunks:
                    heard = True
                    for choice in chunk.choices or ():
                        if choice.index == 0 and choice.delta and choice.delta.content:
                            yield choice.delta.content
                    if any(choice.finish_reason for choice in chunk.choices or ()):
                        await _finish(chunks)
                        return
            raise _CutError(
                f"{self._where} broke off in the middle of an answer. Ask again; if it is llama_cpp.server, start it with "
                "--interrupt_requests false, or each question cuts off the one before."
            )
        except _CutError:
            if not heard:
                # llama-cpp-python begins its answer before it looks at the prompt, and hangs up where something is wrong
                # with it; asked for a whole answer, it says what.
                short = sampling.model_copy(update={"max_tokens": 1})
                whole = await self._post(server, messages, short, schema, deadline, stream=False)
                await whole.aclose()
            raise
        except DeadlineError:
            self._hangs = not heard
            raise
        finally:
            if response is not None:
                await response.aclose()

    async def _post(
        self,
        server: _Server,
        messages: Sequence[Message],
        sampling: Sampling,
        schema: Mapping[str, Any] | None,
        deadline: _Deadline,
        *,
        stream: bool = True,
    ) -> httpx2.Response:
        """The server's answer (200), its body unread; what it refuses of the request is left out, as far as it can be."""
        while True:
            body = self._body(server, messages, sampling, schema) | {"stream": stream}
            async with self._step(deadline):
                response = await self._send(f"{server.base}/chat/completions", json.dumps(body).encode())
                if response.status_code == 200:
                    return response
                refusal = await _refusal(response)
            if not self._learn(body, refusal):
                if refusal.status == 404:
                    self._server = None  # its models are others now
                raise self._error(refusal, server)

    async def _send(self, url: str, content: bytes) -> httpx2.Response:
        """The response to a POST of JSON, its body unread."""
        import httpx2

        http = self._client()
        request = http.build_request("POST", url, content=content, headers={"Content-Type": "application/json"})
        try:
            return await http.send(request, stream=True)
        except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError):
            # A connection that was kept for the next request may just have been closed at the other end.
            return await http.send(request, stream=True)

    def _body(
        self, server: _Server, messages: Sequence[Message], sampling: Sampling, schema: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model or server.models[0],
            "messages": [message._asdict() for message in messages],
            self._limit: sampling.max_tokens,
        }
        body |= sampling.model_dump(include={*_DISPENSABLE - self._refused})
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if schema is not None and self._form < len(_FORMS):
            wanted = {"json_schema": {"name": "reply", "strict": True, "schema": schema}}
            body["response_format"] = {"type": _FORMS[self._form], **({"schema": schema} if self._form else wanted)}
        return body

    def _learn(self, sent: Mapping[str, Any], refusal: _Refusal) -> bool:
        """Whether it is refused for a field that can be left out or said in another way; from now on it is."""
        if refusal.status not in _ABOUT_FIELDS or refusal.too_long:
            return False
        if "max_tokens" in sent and "max_completion_tokens" in refusal.words:
            self._limit = "max_completion_tokens"
            return True
        named = {field for field in _DISPENSABLE if field in sent and re.search(rf"\b{field}\b", refusal.words)}
        if named:
            self._refused |= named
            return True
        if "response_format" in sent and _ABOUT_FORM.search(refusal.words):
            self._form = 1 + _FORMS.index(sent["response_format"]["type"])
            return True
        return False

    async def _chunks(self, response: httpx2.Response, server: _Server, deadline: _Deadline) -> AsyncGenerator[_Chunk]:
        import httpx2

        # Server-sent events are UTF-8 whatever the header says, with or without a mark.
        response.encoding = "utf-8-sig"
        source = cast("AsyncGenerator[httpx2.ServerSentEvent]", aiter(httpx2.EventSource(response)))
        async with contextlib.aclosing(source) as events:
            while True:
                async with self._step(deadline):
                    event = await anext(events, None)
                if event is None:
                    return
                if event.data in ("", "[DONE]"):
                    continue  # the end of the body follows
                try:
                    chunk = _Chunk.model_validate_json(event.data)
                except ValidationError:
                    said = self._shown(event.data)
                    raise AwayError(
                        f"{self._where} sends what is no chat completion: {said} Check {URL_SETTING}."
                    ) from None
                if chunk.error is not None:
                    raise self._error(_read_error(500, {"error": chunk.error}), server)
                yield chunk

    # --- Finding the server

    async def _found(self, deadline: _Deadline) -> _Server:
        """Where the server's API is; AwayError at once, or in a moment, where it hangs."""
        clock = asyncio.get_running_loop().time
        async with self._step(deadline), self._looking:
            if clock() < self._left_alone_until:
                raise AwayError(f"{self._where} hangs: it is asked again in a few seconds. Is it running?")
            if self._hangs:
                try:
                    async with asyncio.timeout(self._patience):
                        server = await self._look()
                except TimeoutError:
                    self._left_alone_until = clock() + LEFT_ALONE
                    raise AwayError(f"{self._where} hangs: it lists no models. Is it running?") from None
                self._hangs = False
                return server
            return self._server or await self._look()

    async def _look(self) -> _Server:
        """Where its API is, and its models; kept for the calls that follow."""
        bases = (self._url,) if re.search(r"/v\d+\w*$", self._url) else (f"{self._url}/v1", self._url)
        for base in bases:
            response = await self._client().get(f"{base}/models")
            if response.status_code != 200:
                refusal = await _refusal(response)
                if refusal.status in (404, 405):
                    continue
                raise self._error(refusal, _Server(base, ()))
            try:
                models = _Models.model_validate_json(response.content).data
            except ValidationError:
                continue
            server = _Server(base, tuple(model.id for model in models or ()))
            if not server.models and self._model is None:
                raise ModelError(f"{self._where} has no model. Load one there, or set {MODEL_SETTING}.")
            self._listed = server.models[0] if server.models else ""
            self._server = server
            return server
        raise AwayError(
            f"{self._where} does not speak OpenAI's API: there is no list of models at {bases[0]}/models. "
            f"Set {URL_SETTING} to an address such as http://127.0.0.1:8000/v1."
        )

    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        if self._closed:
            raise ModelError(f"The chat model '{self.name}' is closed. Start again to use it.")
        if self._http is None:
            # Uncompressed, for what compresses a stream holds words back.
            headers = {"Accept-Encoding": "identity"}
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            self._http = httpx2.AsyncClient(
                headers=headers,
                # Reading the certificates holds the event loop for 0.1 s; a context without any trusts nobody.
                verify=urlsplit(self._url).scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                timeout=httpx2.Timeout(SILENT_FOR, connect=CONNECT_WITHIN, pool=None),
                follow_redirects=False,
                mounts={f"all://{host}": None for host in _LOCAL},  # never through a proxy
            )
        return self._http

    # --- What goes wrong

    @property
    def _where(self) -> str:
        return f"The chat model's server at {self._url}"

    @contextlib.asynccontextmanager
    async def _step(self, deadline: _Deadline) -> AsyncGenerator[None]:
        """A wait for the server, whose end is an error of ours. The clock can't strike while the caller has the turn."""
        import httpx2

        late = f"The chat model '{self.name}' was not done in {deadline.seconds or 0:g} s. Ask again later or shorter."
        if deadline.ends is not None and asyncio.get_running_loop().time() >= deadline.ends:
            raise DeadlineError(late)
        try:
            async with asyncio.timeout_at(deadline.ends):
                yield
        except TimeoutError:
            raise DeadlineError(late) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            if self._closed:
                raise ModelError(f"The chat model '{self.name}' was closed before it was done.") from None
            self._server = None  # it may come back elsewhere, or with another model
            why = self._shown(str(exc)) or f"{type(exc).__name__}."
            if isinstance(exc, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL)):
                raise AwayError(f"{self._where} can't be reached: {why} Is it running? Check {URL_SETTING}.") from None
            raise _CutError(f"{self._where} broke off: {why} Ask again, or see its log.") from None

    def _error(self, refusal: _Refusal, server: _Server) -> ModelError:
        """The error of ours that stands for a server's."""
        said = f" It says: {shown}" if (shown := self._shown(refusal.words)) else ""
        status = refusal.status
        if status in (401, 403):
            # What it says is left out: it may hold a part of the token.
            if self._token:
                return AwayError(
                    f"{self._where} refuses the token ({status}). Set {TOKEN_SETTING} to one that it takes."
                )
            return AwayError(f"{self._where} asks for a token ({status}). Set {TOKEN_SETTING} in the environment.")
        if refusal.too_long:
            return TooLongError(f"The question and what goes with it don't fit the chat model '{self.name}'.{said}")
        if status == 429 or (status == 503 and refusal.retry_after):
            wait = f"in {refusal.retry_after} s" if re.fullmatch(r"\d{1,5}", refusal.retry_after) else "later"
            return BusyError(f"{self._where} is busy. Ask again {wait}.{said}", 0)
        if status == 404 or "model_not_found" in refusal.code:
            return self._unknown(server, said)
        if 300 <= status < 400:
            target = self._shown(refusal.location)
            return AwayError(f"{self._where} redirects elsewhere: {target} Set {URL_SETTING} to its real address.")
        if status >= 500 or status == 408:
            return AwayError(f"{self._where} failed ({status}).{said} See its log.")
        return ModelError(f"{self._where} refused the request ({status}).{said}")

    def _unknown(self, server: _Server, said: str = "") -> ModelError:
        more = len(server.models) - _MODELS_SHOWN
        has = ", ".join(server.models[:_MODELS_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"
        return ModelError(
            f"{self._where} has no chat model '{self._model or self._listed}'.{said} Set {MODEL_SETTING} to one that it "
            f"lists: {has}."
        )

    def _shown(self, words: str) -> str:
        """What a server says, in a line that ends in a full stop, without the token."""
        return _plain(words.replace(self._token, "…") if self._token else words)


async def _finish(chunks: AsyncGenerator[_Chunk]) -> None:
    """Reads an answer that is done to its end: the connection can be used again."""
    with contextlib.suppress(ModelError, TimeoutError):
        async with asyncio.timeout(_CLOSE_WITHIN):
            async for _ in chunks:
                pass


def _checked_url(url: str) -> str:
    """The URL of the API, without a slash at its end."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine, parts = False, urlsplit("")
    if "@" in parts.netloc:  # it may hold a password: the URL is not shown
        raise ConfigError(f"{URL_SETTING} holds a user or password. Take it out, and set {TOKEN_SETTING} if need be.")
    if not fine or parts.query or parts.fragment:
        raise ConfigError(
            f"{URL_SETTING} is '{url}', and should be the address of an API, such as http://127.0.0.1:8000/v1. Correct it."
        )
    return url.rstrip("/").removesuffix("/chat/completions")


def _checked_token(token: str | None) -> str:
    """The token without white space around it; empty if there is none."""
    token = (token or "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise ConfigError(f"{TOKEN_SETTING} holds spaces or letters that no token has. Copy it once more.")
    return token


async def _refusal(response: httpx2.Response) -> _Refusal:
    """A response that is no success."""
    body = await response.aread()
    try:
        error = _read_error(response.status_code, json.loads(body))
    except ValueError:
        error = _Refusal(response.status_code, words="" if body.lstrip()[:1] == b"<" else body.decode(errors="replace"))
    headers = response.headers
    return error._replace(retry_after=headers.get("Retry-After", ""), location=headers.get("Location", ""))


def _read_error(status: int, said: Any) -> _Refusal:
    """An error object: OpenAI's {"error": {...}}, FastAPI's {"detail": ...}, Ollama's {"error": "..."}, or a bare one."""
    for key in ("error", "detail"):
        if isinstance(said, dict) and key in said:
            said = cast("dict[str, Any]", said)[key]
    if isinstance(said, list):
        found = [_read_error(status, item).words for item in cast("list[Any]", said)]
        return _Refusal(status, words="; ".join(found))
    if not isinstance(said, dict):
        return _Refusal(status, words=str(said))
    fields = cast("dict[str, Any]", said)
    code = fields.get("code")
    place = ".".join(str(step) for step in fields.get("loc") or ()) or fields.get("param") or ""
    words = str(fields.get("message") or fields.get("msg") or "")
    return _Refusal(
        code if status == 500 and isinstance(code, int) and 400 <= code < 600 else status,
        code=f"{code or ''} {fields.get('type') or ''}",
        words=f"{words} ({place})" if place and str(place) not in words else words,
    )


def _plain(text: str) -> str:
    """One printable line that ends in a full stop, cut where it is long; empty if there is nothing to say."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > _WORDS_SHOWN:
        return line[:_WORDS_SHOWN].rstrip() + "…"
    return line if not line or line[-1] in ".!?…" else line + "."
