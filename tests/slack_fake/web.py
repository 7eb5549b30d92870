"""The Web API: what each method takes, needs and does; response URLs and file uploads."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

from tests.slack_fake.limits import ALL_TEXT, MARKDOWN, TEXT, UPDATE_TEXT, check_blocks, check_view, total_text
from tests.slack_fake.manifest import check_manifest
from tests.slack_fake.world import (
    DOMAIN,
    IM,
    LIVE,
    MPIM,
    PRIVATE,
    PUBLIC,
    TEAM,
    Channel,
    Edit,
    File,
    Json,
    Message,
    User,
    View,
    elements_of,
)

if TYPE_CHECKING:
    from tests.slack_fake.fake import FakeSlack

STREAM_LIFE, TRIGGER_LIFE, RESPONSE_LIFE, RESPONSE_USES, MOST_VIEWS = 300.0, 3.0, 1800.0, 5, 3
_POST = "text blocks attachments markdown_text as_user icon_emoji icon_url link_names parse username thread_ts"
_PAGE = "cursor limit oldest latest inclusive include_all_metadata"
_KINDS = {PUBLIC: "channels", PRIVATE: "groups", IM: "im", MPIM: "mpim"}  # in scopes
_TYPES = {PUBLIC: "public_channel", PRIVATE: "private_channel", IM: "im", MPIM: "mpim"}  # in arguments


class Method(NamedTuple):
    """A row of the table below."""

    required: list[str]
    optional: list[str]
    scopes: str
    takes_json: bool


# method | required arguments | optional ones | the scopes of which one is needed (KIND: the channel decides) | no JSON
_TABLE = """
api.test | | error foo |
auth.test | | |
apps.connections.open | | | connections:write | form
apps.manifest.validate | manifest | app_id |
team.info | | team domain | team:read | form
bots.info | | bot | users:read | form
users.info | user | include_locale | users:read | form
users.conversations | | cursor exclude_archived limit types user | KIND:read | form
conversations.info | channel | include_locale include_num_members | KIND:read | form
conversations.members | channel | cursor limit | KIND:read | form
conversations.history | channel | PAGE | KIND:history | form
conversations.replies | channel ts | PAGE | KIND:history | form
conversations.open | | channel users return_im prevent_creation | im:write mpim:write
conversations.join | channel | | channels:join
chat.postMessage | channel | POST reply_broadcast unfurl_links unfurl_media container_id mrkdwn metadata | chat:write
chat.postEphemeral | channel user | POST | chat:write
chat.update | channel ts | text blocks attachments markdown_text as_user link_names parse reply_broadcast metadata \
file_ids unfurl_links unfurl_media | chat:write
chat.delete | channel ts | as_user | chat:write
chat.getPermalink | channel message_ts | | | form
chat.startStream | channel | thread_ts markdown_text chunks recipient_team_id recipient_user_id task_display_mode \
icon_emoji icon_url username | chat:write
chat.appendStream | channel ts | markdown_text chunks | chat:write
chat.stopStream | channel ts | markdown_text chunks blocks metadata session_status | chat:write
assistant.threads.setStatus | channel_id thread_ts status | loading_messages icon_emoji icon_url username | \
chat:write assistant:write
assistant.threads.setTitle | channel_id thread_ts title | | assistant:write
assistant.threads.setSuggestedPrompts | channel_id prompts | thread_ts title | assistant:write
agents.sessions.setStatus | status | channel_id thread_ts title initiator_user_id icon_emoji icon_url username | \
chat:write
views.open | view | trigger_id interactivity_pointer |
views.push | view | trigger_id interactivity_pointer |
views.update | view | view_id external_id hash |
views.publish | user_id view | hash |
files.getUploadURLExternal | filename length | alt_txt snippet_type | files:write | form
files.completeUploadExternal | files | channel_id channels initial_comment thread_ts blocks | files:write
reactions.add | channel name timestamp | | reactions:write
"""
METHODS = {
    name: Method(required.split(), optional.replace("POST", _POST).replace("PAGE", _PAGE).split(), scopes, not form)
    for name, required, optional, scopes, *form in (
        [part.strip() for part in row.split("|")] for row in _TABLE.strip().split("\n")
    )
}
_JSON = "blocks attachments chunks metadata view files prompts loading_messages manifest".split()
_CUSTOM = "username icon_emoji icon_url".split()
_MAY_BE_EMPTY = ("status", "prompts")
_RESPONSE = (
    "text blocks attachments response_type replace_original delete_original thread_ts unfurl_links unfurl_media metadata"
    " mrkdwn"
).split()


class ApiError(Exception):
    """`wrong`: what the published API always refuses; otherwise it is the state of the world."""

    def __init__(self, error: str, *, wrong: bool = False, **more: Any) -> None:
        super().__init__(error)
        self.error, self.wrong, self.more = error, wrong, more


@dataclass(eq=False)
class Call:
    """One request of the bot and what it was told. `token`: "bot", "app", "config" or ""."""

    method: str
    arguments: Json
    at: float
    token: str = ""
    error: str | None = None
    answer: Json = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    def flag(self, name: str) -> bool:
        return self.arguments.get(name) in (True, 1, "1", "true", "True")

    def __str__(self) -> str:
        return f"{self.method} {self.arguments} -> {self.error or 'ok'}"[:300]


@dataclass(eq=False)
class Fault:
    """What goes wrong next, for calls whose method matches."""

    method: str
    times: int
    status: int
    error: str | None
    retry_after: float | None
    after: bool


@dataclass(eq=False)
class Gate:
    """Holds the calls of a method until it is opened."""

    method: str
    waiting: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> None:
        self.opened.set()


@dataclass(eq=False)
class Hook:
    """A response URL."""

    user: User
    channel: Channel
    until: float
    message: Message | None = None
    uses: int = 0


@dataclass(eq=False)
class Trigger:
    user: User
    until: float
    view: View | None = None
    used: bool = False


class WebApi:
    """Answers requests. Each method's work is the function of its name, dots as underscores."""

    def __init__(self, fake: FakeSlack) -> None:
        self.fake, self.world = fake, fake.world
        self.faults: list[Fault] = []
        self.gates: list[Gate] = []
        self.hooks: dict[str, Hook] = {}
        self.triggers: dict[str, Trigger] = {}
        self.calls: list[Call] = []

    def add_to(self, app: web.Application) -> None:
        app.router.add_route("*", "/api/{method}", self._serve)
        app.router.add_post("/hooks/{token}", self._hook)
        app.router.add_post("/upload/v1/{file}", self._upload)

    # One request

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info["method"]
        arguments, token, problem = await _read(request)
        call = Call(name, arguments, self.fake.now())
        self.calls.append(call)
        self.fake.changed()
        try:
            fault = await self._disturbed(name)
            if fault is not None and not fault.after:
                return self._broken(call, fault)
            answer = self._answered(call, token, problem)
            if fault is not None:
                return self._broken(call, fault)
            return self._told(call, answer)
        finally:
            self.fake.changed()

    def _answered(self, call: Call, token: str, problem: str | None) -> Json:
        call.token = self.fake.tokens.get(token, "")
        try:
            self._admit(call, token)
            if problem:
                raise ApiError(problem, wrong=True)
            self._check_arguments(call)
            work: Callable[[Call], Json | None] = getattr(self, "_" + call.method.replace(".", "_"))
            return {"ok": True, **(work(call) or {})}
        except (TypeError, ValueError, KeyError, AttributeError) as error:  # an argument of a form that nobody expects
            call.error = "invalid_arguments"
            self.fake.violate(f"{call}: {error!r}")
            return {"ok": False, "error": call.error}
        except ApiError as error:
            call.error = error.error
            if error.wrong:
                self.fake.violate(f"{call}: {error.more.get('errors') or error.error}")
            told = [m for m in error.more.get("errors", []) if isinstance(m, str)]
            messages = [m if m.startswith("[") else f"[ERROR] {m}" for m in told]
            about = {"response_metadata": {"messages": messages}} if messages else {}
            return {"ok": False, "error": error.error, **error.more, **about}

    def _told(self, call: Call, answer: Json) -> web.Response:
        call.answer = answer
        method = METHODS.get(call.method)
        headers = {"x-slack-req-id": self.world.new_id("R").lower()}
        if call.token:
            headers["x-oauth-scopes"] = ",".join(self.fake.granted(call.token))
        if method is not None and method.scopes:
            headers["x-accepted-oauth-scopes"] = ",".join(_spelt(method.scopes))
        return web.json_response(answer, headers=headers)

    async def _disturbed(self, name: str) -> Fault | None:
        for gate in self.gates:
            if fnmatchcase(name, gate.method) and not gate.opened.is_set():
                gate.waiting += 1
                self.fake.changed()
                await gate.opened.wait()
        fault = next((f for f in self.faults if f.times and fnmatchcase(name, f.method)), None)
        if fault is not None:
            fault.times -= 1
        return fault

    def _broken(self, call: Call, fault: Fault) -> web.Response:
        call.error = fault.error or f"HTTP {fault.status}"
        wait = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
        if fault.status == 429:
            call.error = "ratelimited"
            wait = wait or {"Retry-After": "0"}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=wait)
        if fault.status >= 500:
            return web.Response(status=fault.status, text="upstream connect error", headers=wait)
        return self._told(call, {"ok": False, "error": fault.error or "internal_error"})

    def _admit(self, call: Call, token: str) -> None:
        """The method exists and this token may call it."""
        method = METHODS.get(call.method)
        if method is None:
            raise ApiError("unknown_method", wrong=True, req_method=call.method)
        if call.method == "api.test":
            return
        if not token:
            raise ApiError("not_authed", wrong=True)
        if not call.token:
            raise ApiError("invalid_auth")
        if self.fake.revoked:
            raise ApiError(self.fake.revoked)
        wanted = {"apps.connections.open": ("app",), "apps.manifest.validate": ("config",), "auth.test": ("bot", "app")}
        if call.token not in wanted.get(call.method, ("bot",)):
            raise ApiError("not_allowed_token_type")
        self._need(*_spelt(method.scopes), kind=call.token)
        if any(call[name] for name in _CUSTOM):
            self._need("chat:write.customize")

    def _need(self, *scopes: str, kind: str = "bot") -> None:
        """One of these scopes."""
        granted = self.fake.granted(kind)
        if scopes and not set(scopes) & set(granted):
            raise ApiError("missing_scope", needed=",".join(scopes), provided=",".join(granted))

    def _check_arguments(self, call: Call) -> None:
        method = METHODS[call.method]
        known = {*method.required, *method.optional}
        if unknown := sorted(set(call.arguments) - known):
            self.fake.violate(f"{call.method} takes no such arguments: {', '.join(unknown)}")
        for name in _JSON:
            if isinstance(call[name], str):
                try:
                    call.arguments[name] = json.loads(call[name])
                except ValueError:
                    error = "invalid_blocks_format" if name == "blocks" else "invalid_arguments"
                    raise ApiError(error, wrong=True, errors=[f"not JSON: {name}"]) from None
        missing = [
            n for n in method.required if call[n] in (None, "") and not (n in _MAY_BE_EMPTY and n in call.arguments)
        ]
        if missing:
            errors = [f"missing required field: {name}" for name in missing]
            raise ApiError("invalid_arguments", wrong=True, errors=errors)

    # Finding things

    def _channel(self, call: Call, name: str = "channel", use: str = "") -> Channel:
        """A channel that the bot can see; `use`: "read" or "history" needs that channel's scope."""
        key = str(call[name] or "")
        channel = self.world.channels.get(key)
        if channel is None and key.startswith("#"):
            channel = next((c for c in self.world.channels.values() if c.name == key[1:]), None)
        if channel is None and key in self.world.users and call.method.startswith("chat.post"):
            channel = self.world.im(self.world.users[key])
        if channel is None or (channel.kind != PUBLIC and self.fake.bot not in channel.members):
            raise ApiError("channel_not_found")
        if use:
            self._need(f"{_KINDS[channel.kind]}:{use}")
        return channel

    def _writable(self, call: Call, name: str = "channel") -> Channel:
        channel = self._channel(call, name)
        if channel.archived:
            raise ApiError("is_archived")
        posts = call.method.startswith("chat.postM")
        if self.fake.bot not in channel.members and not (posts and "chat:write.public" in self.fake.granted("bot")):
            raise ApiError("not_in_channel")
        return channel

    def _user(self, call: Call, name: str = "user") -> User:
        user = self.world.users.get(str(call[name]))
        if user is None:
            raise ApiError("user_not_found")
        return user

    def _own(self, call: Call, channel: Channel, refusal: str) -> Message:
        message = channel.find(call["ts"])
        if message is None:
            raise ApiError("message_not_found")
        if message.user is not self.fake.bot:
            raise ApiError(refusal)
        return message

    def _thread(self, channel: Channel, ts: Any, error: str = "thread_not_found") -> str | None:
        """The root that a reply hangs on."""
        if not ts:
            return None
        root = channel.find(str(ts), deleted=True)
        if root is None:
            raise ApiError(error, wrong=True)
        if root.root != root.ts:
            self.fake.violate(f"thread_ts {ts} is a reply's: use its parent's {root.thread_ts}")
        return root.root

    def _page(self, call: Call, items: Sequence[Any], default: int) -> tuple[list[Any], Json]:
        limit = int(call["limit"] or default)
        if not 1 <= limit <= 1000:
            raise ApiError("invalid_limit", wrong=True)
        start = int(base64.b64decode(call["cursor"])) if call["cursor"] else 0
        more = start + limit < len(items)
        cursor = base64.b64encode(str(start + limit).encode()).decode() if more else ""
        return list(items[start : start + limit]), {"has_more": more, "response_metadata": {"next_cursor": cursor}}

    # Writing messages

    def _written(self, given: Json, *, update: bool = False) -> Json:
        """The parts of a message that were given, checked."""
        text, blocks, markdown = given.get("text"), given.get("blocks"), given.get("markdown_text")
        if markdown is not None and (text or blocks):
            raise ApiError("markdown_text_conflict", wrong=True)
        if not ((text or "").strip() or blocks or markdown or given.get("attachments") or (update and blocks == [])):
            raise ApiError("no_text", wrong=True)
        if len(markdown or "") > MARKDOWN or (update and len(text or "") > UPDATE_TEXT):
            raise ApiError("msg_too_long", wrong=True)
        if len(text or "") > TEXT:
            self.fake.violate(f"text of {len(text)} characters was truncated to {TEXT}")
            text = text[:TEXT]
        made: Json = {}
        if text is not None or markdown is not None:
            made |= {"text": text if markdown is None else markdown, "markdown": markdown is not None}
        if blocks is not None:
            made["blocks"] = self._blocks(blocks)
        if given.get("attachments") is not None:
            made["attachments"] = self._attachments(given["attachments"])
        if (metadata := given.get("metadata")) is not None:
            if not isinstance(metadata, dict) or set(metadata) != {"event_type", "event_payload"}:
                raise ApiError("invalid_metadata_format", wrong=True)
            made["metadata"] = metadata
        return made

    def _attachments(self, given: Any) -> list[Json]:
        if not isinstance(given, list) or len(given) > 100:
            raise ApiError("too_many_attachments" if isinstance(given, list) else "invalid_attachments", wrong=True)
        return [{**a, "blocks": self._blocks(a["blocks"])} if "blocks" in a else a for a in given]

    def _blocks(self, given: Any) -> list[Json]:
        """Checked; each block and element has its id."""
        if not isinstance(given, list):
            raise ApiError("invalid_blocks_format", wrong=True)
        if problems := check_blocks(given):
            raise ApiError("invalid_blocks", wrong=True, errors=problems)
        if total_text(given) > ALL_TEXT:
            raise ApiError("msg_blocks_too_long", wrong=True)
        return self._identified(given)

    def _identified(self, given: list[Json]) -> list[Json]:
        made = copy.deepcopy(given)
        for block in made:
            block.setdefault("block_id", self.world.new_id("").lower()[-5:])
        for _, element in elements_of(made):
            if element["type"] not in ("image", "mrkdwn", "plain_text") and not element["type"].startswith(
                "rich_text_"
            ):
                element.setdefault("action_id", self.world.new_id("").lower()[-5:])
        return made

    def rewrite(self, message: Message, parts: Json) -> None:
        """Put new parts in the place of the old ones: a text without blocks takes the old blocks away, blocks leave no
        "edited" mark."""
        if "text" in parts:
            parts = {"blocks": [], **parts}
        message.edits.append(Edit(self.fake.now(), message.text, message.blocks))
        for name, value in parts.items():
            setattr(message, name, value)
        if not parts.get("blocks"):
            message.edited = {"user": message.user.id, "ts": self.world.ts()}
        self.fake.rewritten(message)

    def _chat_postMessage(self, call: Call) -> Json:
        channel = self._writable(call)
        parts = self._written(call.arguments)
        root = self._thread(channel, call["thread_ts"])
        broadcast = "thread_broadcast" if root and call.flag("reply_broadcast") else None
        message = self.world.post(
            channel, self.fake.bot, parts.pop("text", ""), thread_ts=root, subtype=broadcast, **parts
        )
        message.parse, message.link_names = call["parse"] or "none", call.flag("link_names")
        message.username = call["username"]
        self.fake.posted(message)
        return {"channel": channel.id, "ts": message.ts, "message": message.json()}

    def _chat_postEphemeral(self, call: Call) -> Json:
        channel, user = self._writable(call), self._user(call)
        if user not in channel.members:
            raise ApiError("user_not_in_channel")
        parts = self._written(call.arguments)
        root = self._thread(channel, call["thread_ts"])
        made = self.world.post(channel, self.fake.bot, parts.pop("text", ""), thread_ts=root, only_for=user, **parts)
        return {"message_ts": made.ts}

    def _chat_update(self, call: Call) -> Json:
        channel = self._writable(call)
        message = self._own(call, channel, "cant_update_message")
        if self._streams(message):
            raise ApiError("streaming_state_conflict")
        parts = self._written(call.arguments, update=True)
        self.rewrite(message, parts)
        return {"channel": channel.id, "ts": message.ts, "text": message.text, "message": message.json()}

    def _chat_delete(self, call: Call) -> Json:
        channel = self._channel(call)
        message = self._own(call, channel, "cant_delete_message")
        if self._streams(message):
            raise ApiError("cant_delete_message")
        self.fake.removed(message)
        return {"channel": channel.id, "ts": message.ts}

    def _chat_getPermalink(self, call: Call) -> Json:
        channel = self._channel(call)
        message = channel.find(call["message_ts"])
        if message is None:
            raise ApiError("message_not_found")
        link = f"https://{DOMAIN}.slack.com/archives/{channel.id}/p{message.ts.replace('.', '')}"
        if message.root != message.ts:
            link += f"?thread_ts={message.root}&cid={channel.id}"
        return {"channel": channel.id, "permalink": link}

    # Streams

    def _streams(self, message: Message) -> bool:
        if message.stream == LIVE and self.fake.now() - float(message.ts) > STREAM_LIFE:
            message.stream = "expired"
        return message.stream == LIVE

    def _chat_startStream(self, call: Call) -> Json:
        channel = self._writable(call)
        if channel.kind == IM and not call["thread_ts"]:
            raise ApiError("invalid_thread_ts", wrong=True)
        if channel.kind != IM:
            for name in ("recipient_user_id", "recipient_team_id"):
                if not call[name]:
                    raise ApiError(f"missing_{name}", wrong=True)
            self._user(call, "recipient_user_id")
        if (call["task_display_mode"] or "timeline") not in ("timeline", "plan"):
            raise ApiError("invalid_arguments", wrong=True, errors=["task_display_mode"])
        root = self._thread(channel, call["thread_ts"], "invalid_thread_ts")
        chunks = self._chunks(call)
        message = self.world.post(channel, self.fake.bot, "", thread_ts=root, markdown=True, stream=LIVE)
        self._append(message, chunks)
        self.fake.posted(message)
        return {"channel": channel.id, "ts": message.ts}

    def _chunks(self, call: Call) -> list[Json]:
        text, chunks = call["markdown_text"], call["chunks"]
        if text is not None and chunks is not None:
            raise ApiError("cannot_provide_both_markdown_text_and_chunks", wrong=True)
        if text is not None:
            chunks = [{"type": "markdown_text", "text": text}] if text else []
        problems = [p for chunk in chunks or [] for p in _chunk_problems(chunk)]
        if problems:
            raise ApiError("invalid_chunks", wrong=True, errors=problems)
        if sum(len(c["text"]) for c in chunks or [] if c["type"] == "markdown_text") > MARKDOWN:
            raise ApiError("msg_too_long", wrong=True)
        return chunks or []

    def _append(self, message: Message, chunks: list[Json]) -> None:
        for chunk in chunks:
            kind = chunk["type"]
            if kind == "markdown_text":
                message.text += chunk["text"]
                message.pieces.append(chunk["text"])
            elif kind == "task_update":
                message.tasks[chunk["id"]] = message.tasks.get(chunk["id"], {}) | chunk
            elif kind == "plan_update":
                message.plan = chunk["title"]
            else:
                message.blocks = [*message.blocks, *self._blocks(chunk["blocks"])]

    def _streaming(self, call: Call) -> Message:
        message = self._own(call, self._channel(call), "message_not_owned_by_app")
        if not self._streams(message) and message.stream != "interrupted":
            raise ApiError("message_not_in_streaming_state")
        return message

    def _chat_appendStream(self, call: Call) -> Json:
        message, chunks = self._streaming(call), self._chunks(call)
        if message.stream == "interrupted":
            raise ApiError("stopped_by_user")
        if not chunks:
            raise ApiError("no_text", wrong=True)
        self._append(message, chunks)
        return {"channel": message.channel.id, "ts": message.ts}

    def _chat_stopStream(self, call: Call) -> Json:
        message, chunks = self._streaming(call), self._chunks(call)
        if message.stream == "interrupted" and chunks:
            raise ApiError("stopped_by_user")
        blocks = self._blocks(call["blocks"]) if call["blocks"] else []
        self._append(message, chunks)
        message.blocks, message.metadata = [*message.blocks, *blocks], call["metadata"]
        message.stream = "stopped"
        if call["session_status"]:
            self._session(message.channel, message.root, call["session_status"])
        self.fake.rewritten(message)
        return {"channel": message.channel.id, "ts": message.ts, "message": message.json()}

    # Agents

    def _agent_thread(self, call: Call) -> tuple[str, str | None]:
        channel = self._channel(call, "channel_id")
        return channel.id, self._thread(channel, call["thread_ts"], "invalid_thread_ts")

    def _assistant_threads_setStatus(self, call: Call) -> None:
        channel, ts = self._agent_thread(call)
        messages = call["loading_messages"] or []
        if not isinstance(messages, list) or len(messages) > 10:
            raise ApiError("invalid_arguments", wrong=True, errors=["loading_messages: at most 10"])
        self.fake.set_status(channel, str(ts), call["status"], messages)

    def _assistant_threads_setTitle(self, call: Call) -> None:
        self.fake.titles[self._agent_thread(call)] = call["title"]

    def _assistant_threads_setSuggestedPrompts(self, call: Call) -> None:
        prompts = call["prompts"]
        if not call["thread_ts"] and self.fake.agent != "view":
            raise ApiError("invalid_thread_ts", wrong=True)
        if not isinstance(prompts, list) or not 1 <= len(prompts) <= 4:
            raise ApiError("invalid_arguments", wrong=True, errors=["prompts: 1 to 4"])
        if any(not isinstance(p, dict) or set(p) != {"title", "message"} or not all(p.values()) for p in prompts):
            raise ApiError("invalid_arguments", wrong=True, errors=["prompts: each has a title and a message"])
        self.fake.prompts[self._agent_thread(call)] = prompts

    def _agents_sessions_setStatus(self, call: Call) -> Json:
        channel = self._channel(call, "channel_id")
        root = self._thread(channel, call["thread_ts"], "invalid_thread_ts")
        if root is None or len(call["title"] or "") > 200:
            raise ApiError("invalid_arguments", wrong=True, errors=["thread_ts: required; title: at most 200"])
        self._session(channel, root, call["status"])
        warning = (
            {}
            if "agent_session_stopped" in self.fake.subscriptions
            else {"warning": "missing_agent_session_stopped_event_subscription"}
        )
        return {"status": call["status"], "agent_status": call["status"], "title": call["title"] or "", **warning}

    def _session(self, channel: Channel, root: str, status: str) -> None:
        if status not in ("active", "processing", "suspended", "closed"):
            raise ApiError("invalid_arguments", wrong=True, errors=[f"no such session status: {status}"])
        self.fake.sessions[channel.id, root] = status

    # Views

    def _view(self, call: Call, *, home: bool = False) -> Json:
        if problems := check_view(call["view"], home=home):
            raise ApiError("invalid_arguments", wrong=True, errors=problems)
        if len(json.dumps(call["view"])) > 250_000:
            raise ApiError("view_too_large", wrong=True)
        external = call["view"].get("external_id")
        if external and any(
            v.content.get("external_id") == external
            and not v.closed
            and v.id != call["view_id"]
            and external != call["external_id"]
            for v in self.world.views.values()
        ):
            raise ApiError("duplicate_external_id")
        return self.checked_view(call["view"])

    def checked_view(self, view: Json) -> Json:
        return {**view, "blocks": self._identified(view["blocks"])}

    def _trigger(self, call: Call) -> Trigger:
        trigger = self.triggers.get(str(call["trigger_id"]))
        if trigger is None:
            raise ApiError("invalid_trigger_id", wrong=True)
        if trigger.used:
            raise ApiError("exchanged_trigger_id", wrong=True)
        if self.fake.now() > trigger.until:
            raise ApiError("expired_trigger_id")
        trigger.used = True
        return trigger

    def _views_open(self, call: Call) -> Json:
        content = self._view(call)
        trigger = self._trigger(call)
        view = self.world.new_view(trigger.user, content)
        self.world.stacks[trigger.user.id] = [view]
        return {"view": view.json(self.fake.bot)}

    def _views_push(self, call: Call) -> Json:
        content = self._view(call)
        trigger = self._trigger(call)
        stack = self.world.stacks.get(trigger.user.id, [])
        if trigger.view is None or not stack:
            raise ApiError("invalid_trigger_id", wrong=True)
        return {"view": self.push(stack, content).json(self.fake.bot)}

    def push(self, stack: list[View], content: Json) -> View:
        """Lay a view on a stack of modals."""
        if len(stack) >= MOST_VIEWS:
            raise ApiError("push_limit_reached", wrong=True)
        view = self.world.new_view(stack[-1].user, content, stack[0], stack[-1])
        stack.append(view)
        return view

    def _views_update(self, call: Call) -> Json:
        found = [
            v
            for v in self.world.views.values()
            if v.id == call["view_id"] or (call["external_id"] and v.content.get("external_id") == call["external_id"])
        ]
        if not found or found[-1].closed:
            raise ApiError("not_found")
        view = found[-1]
        if call["hash"] and call["hash"] != view.hash:
            raise ApiError("hash_conflict")
        self.world.rewrite_view(view, self._view(call, home=view.type == "home"))
        return {"view": view.json(self.fake.bot)}

    def _views_publish(self, call: Call) -> Json:
        user = self._user(call, "user_id")
        content = self._view(call, home=True)
        view = self.world.homes.get(user.id)
        if view is not None and call["hash"] and call["hash"] != view.hash:
            raise ApiError("hash_conflict")
        if view is None:
            view = self.world.homes[user.id] = self.world.new_view(user, content)
        else:
            self.world.rewrite_view(view, content)
        view.published += 1
        return {"view": view.json(self.fake.bot)}

    # Conversations, people, the app

    def _conversations_info(self, call: Call) -> Json:
        channel = self._channel(call, use="read")
        return {"channel": channel.json(self.fake.bot, members=call.flag("include_num_members"))}

    def _conversations_members(self, call: Call) -> Json:
        channel = self._channel(call, use="read")
        members, page = self._page(call, [m.id for m in channel.members], 100)
        return {"members": members, "response_metadata": page["response_metadata"]}

    def _readable(self, call: Call) -> Channel:
        channel = self._channel(call, use="history")
        if self.fake.bot not in channel.members:
            raise ApiError("not_in_channel")
        return channel

    def _between(self, call: Call, messages: list[Message]) -> list[Message]:
        oldest, latest = float(call["oldest"] or 0), float(call["latest"] or "inf")
        both = call.flag("inclusive")
        return [m for m in messages if oldest < float(m.ts) < latest or (both and float(m.ts) in (oldest, latest))]

    def _conversations_history(self, call: Call) -> Json:
        top = [m for m in self._readable(call).messages if m.root == m.ts or m.subtype == "thread_broadcast"]
        messages, page = self._page(call, self._between(call, top)[::-1], 100)
        return {"messages": [m.json() for m in messages], "pin_count": 0, **page}

    def _conversations_replies(self, call: Call) -> Json:
        channel = self._readable(call)
        asked = channel.find(call["ts"], deleted=True)
        replies = [m for m in channel.messages if asked is not None and m.root == asked.root and m.ts != asked.root]
        root = channel.find(asked.root, deleted=True) if asked is not None else None
        if root is None or (root.deleted and not replies):
            raise ApiError("thread_not_found")
        first = root.json()
        if root.deleted:
            first |= {"subtype": "tombstone", "text": "This message was deleted.", "user": "USLACKBOT", "hidden": True}
            first.pop("blocks", None)
        chosen, page = self._page(call, self._between(call, replies), 1000)
        return {"messages": [first, *(m.json() for m in chosen)], **page}

    def _conversations_open(self, call: Call) -> Json:
        if call["channel"]:
            channel = self._channel(call)
        else:
            users = [self.world.users.get(u) for u in str(call["users"] or "").split(",") if u]
            if not users:
                raise ApiError("users_list_not_supplied", wrong=True)
            people = [u for u in users if u is not None]
            if len(people) < len(users):
                raise ApiError("user_not_found")
            self._need("im:write" if len(people) == 1 else "mpim:write")
            channel = self.world.im(people[0]) if len(people) == 1 else self.world.mpim([*people, self.fake.bot])
        return {"channel": channel.json(self.fake.bot) if call.flag("return_im") else {"id": channel.id}}

    def _conversations_join(self, call: Call) -> Json:
        channel = self._channel(call)
        if channel.kind != PUBLIC:
            raise ApiError("method_not_supported_for_channel_type")
        if channel.archived:
            raise ApiError("is_archived")
        if self.fake.bot in channel.members:
            return {"channel": channel.json(self.fake.bot), "warning": "already_in_channel"}
        channel.members.append(self.fake.bot)
        return {"channel": channel.json(self.fake.bot)}

    def _users_conversations(self, call: Call) -> Json:
        types = str(call["types"] or "public_channel").split(",")
        if unknown := set(types) - set(_TYPES.values()):
            raise ApiError("invalid_types", wrong=True, errors=sorted(unknown))
        kinds = [kind for kind, name in _TYPES.items() if name in types]
        for kind in kinds:
            self._need(f"{_KINDS[kind]}:read")
        user = self._user(call) if call["user"] else self.fake.bot
        seen = [
            c
            for c in self.world.channels.values()
            if c.kind in kinds and user in c.members and (c.kind == PUBLIC or self.fake.bot in c.members)
        ]
        open_ = [c for c in seen if not (c.archived and call.flag("exclude_archived"))]
        channels, page = self._page(call, open_, 100)
        return {"channels": [c.json(self.fake.bot) for c in channels], "response_metadata": page["response_metadata"]}

    def _users_info(self, call: Call) -> Json:
        return {"user": self._user(call).json(locale=call.flag("include_locale"))}

    def _bots_info(self, call: Call) -> Json:
        user = next((u for u in self.world.users.values() if u.bot_id and u.bot_id == call["bot"]), None)
        if user is None:
            raise ApiError("bot_not_found")
        return {"bot": {**user.bot_profile(), "user_id": user.id}}

    def _team_info(self, _: Call) -> Json:
        return {"team": {"id": TEAM, "name": "Harbour", "domain": DOMAIN, "url": f"https://{DOMAIN}.slack.com/"}}

    def _api_test(self, call: Call) -> Json:
        if call["error"]:
            raise ApiError(call["error"], args=call.arguments)
        return {"args": call.arguments}

    def _auth_test(self, call: Call) -> Json:
        bot = self.fake.bot
        if call.token == "app":
            return {"app_id": self.fake.app_id, "app_name": bot.name}
        made = {"url": f"https://{DOMAIN}.slack.com/", "team": "Harbour", "team_id": TEAM, "user": bot.name}
        return {**made, "user_id": bot.id, "bot_id": bot.bot_id, "is_enterprise_install": False}

    def _apps_connections_open(self, _: Call) -> Json:
        ticket = self.world.new_id("t").lower()
        self.fake.mail.tickets.add(ticket)
        return {"url": f"{self.fake.url.replace('http', 'ws', 1)}/link/?ticket={ticket}&app_id={self.fake.app_id}"}

    def _apps_manifest_validate(self, call: Call) -> None:
        if errors := check_manifest(call["manifest"]):
            raise ApiError("invalid_manifest", errors=errors)

    def _reactions_add(self, call: Call) -> None:
        channel = self._channel(call)
        message = channel.find(call["timestamp"])
        if message is None:
            raise ApiError("message_not_found")
        if not re.fullmatch(r"[a-z0-9_+'-]+(::skin-tone-\d)?", call["name"]):
            raise ApiError("invalid_name", wrong=True)
        if (call["name"], self.fake.bot.id) in message.reactions:
            raise ApiError("already_reacted")
        message.reactions.append((call["name"], self.fake.bot.id))

    # Files

    def _files_getUploadURLExternal(self, call: Call) -> Json:
        if not str(call["length"]).isdigit() or int(call["length"]) < 1:
            raise ApiError("invalid_arguments", wrong=True, errors=["length: a number of bytes"])
        file = File(
            self.world.new_id("F"), call["filename"], int(call["length"]), call["alt_txt"] or "", user=self.fake.bot.id
        )
        self.world.files[file.id] = file
        return {"upload_url": f"{self.fake.url}/upload/v1/{file.id}", "file_id": file.id}

    async def _upload(self, request: web.Request) -> web.Response:
        fault = await self._disturbed("upload")
        file = self.world.files.get(request.match_info["file"])
        if file is None or fault is not None:
            return web.Response(status=fault.status if fault else 404, text="upload failed")
        if request.content_type.startswith("multipart/"):
            form = await request.post()
            part = next((p for p in form.values() if isinstance(p, web.FileField)), None)
            file.data = part.file.read() if part is not None else b""
        else:
            file.data = await request.read()
        if len(file.data) != file.length:
            self.fake.violate(f"{file.name}: {len(file.data)} bytes came, {file.length} were announced")
        self.fake.changed()
        return web.Response(text=f"OK - {len(file.data)}")

    def _files_completeUploadExternal(self, call: Call) -> Json:
        files = []
        for given in call["files"]:
            file = self.world.files.get(given.get("id"))
            if file is None or file.data is None or file.shared:
                raise ApiError("file_not_found", wrong=True)
            file.title = given.get("title") or file.name
            files.append(file)
        targets = [call["channel_id"]] if call["channel_id"] else str(call["channels"] or "").split(",")
        channels = [self._writable(Call(call.method, {"channel": key}, call.at)) for key in targets if key]
        blocks = self._blocks(call["blocks"]) if call["blocks"] else []
        for channel in channels:
            root = self._thread(channel, call["thread_ts"])
            text = call["initial_comment"] or ""
            self.fake.posted(
                self.world.post(
                    channel, self.fake.bot, text, thread_ts=root, files=files, blocks=blocks, subtype="file_share"
                )
            )
        for file in files:
            file.shared = True
        return {"files": [f.json() for f in files]}

    # Response URLs

    async def _hook(self, request: web.Request) -> web.Response:
        try:
            given = dict(json.loads(await request.text()))
        except (ValueError, TypeError):
            self.fake.violate("response_url: not a JSON object")
            return web.Response(status=400, text="invalid_payload")
        call = Call("response_url", given, self.fake.now())
        self.calls.append(call)
        self.fake.changed()
        fault = await self._disturbed("response_url")
        if fault is not None and not fault.after:
            return self._broken(call, fault)
        try:
            made = self.respond(self._live_hook(request.match_info["token"]), given)
            if made is not None and fault is not None:
                made.unconfirmed = True
        except ApiError as error:
            call.error = error.error
            if error.wrong:
                self.fake.violate(f"response_url {given}: {error.more.get('errors') or error.error}"[:500])
            return web.Response(status=404 if error.error.endswith("_url") else 400, text=error.error)
        finally:
            self.fake.changed()
        return self._broken(call, fault) if fault is not None else web.Response(text="ok")

    def _live_hook(self, token: str) -> Hook:
        hook = self.hooks.get(token)
        if hook is None:
            raise ApiError("no_such_url", wrong=True)
        if self.fake.now() > hook.until:
            raise ApiError("expired_url")
        if hook.uses >= RESPONSE_USES:
            raise ApiError("used_url")
        hook.uses += 1
        return hook

    def respond(self, hook: Hook, given: Json) -> Message | None:
        """What a response URL (or a command's acknowledgement) does; the message that it made or changed."""
        if unknown := sorted(set(given) - set(_RESPONSE)):
            raise ApiError("invalid_payload", wrong=True, errors=unknown)
        kind = given.get("response_type", "ephemeral")
        if kind not in ("ephemeral", "in_channel"):
            raise ApiError("invalid_response_type", wrong=True)
        if given.get("delete_original"):
            if hook.message is not None:
                self.fake.removed(hook.message)
            return hook.message
        parts = self._written({k: v for k, v in given.items() if v is not None})
        if given.get("replace_original") and hook.message is not None and not hook.message.deleted:
            self.rewrite(hook.message, {"text": "", **parts})
            return hook.message
        root = self._thread(hook.channel, given.get("thread_ts"))
        only_for = hook.user if kind == "ephemeral" else None
        made = self.world.post(
            hook.channel, self.fake.bot, parts.pop("text", ""), thread_ts=root, only_for=only_for, **parts
        )
        if hook.message is None:
            hook.message = made
        self.fake.posted(made)
        return made

    def new_hook(self, user: User, channel: Channel, message: Message | None) -> str:
        token = self.world.new_id("h").lower()
        self.hooks[token] = Hook(user, channel, self.fake.now() + RESPONSE_LIFE, message)
        return f"{self.fake.url}/hooks/{token}"

    def new_trigger(self, user: User, view: View | None = None) -> str:
        key = f"{int(self.fake.now())}.{self.world.new_id('').lower()}"
        self.triggers[key] = Trigger(user, self.fake.now() + TRIGGER_LIFE, view)
        return key


def _spelt(scopes: str) -> list[str]:
    """Scopes in full: one that depends on the kind of channel is four."""
    return [
        made
        for scope in scopes.split()
        for made in ([scope.replace("KIND", k) for k in _KINDS.values()] if scope.startswith("KIND") else [scope])
    ]


async def _read(request: web.Request) -> tuple[Json, str, str | None]:
    """The arguments, from wherever they stand; the token; what is wrong with the request's form."""
    arguments: Json = dict(request.query)
    problem = None
    if request.content_type == "application/json":
        try:
            body = json.loads(await request.text() or "{}")
        except ValueError:
            body, problem = {}, "invalid_json"
        if not isinstance(body, dict):
            body, problem = {}, "json_not_object"
        method = METHODS.get(request.match_info["method"])
        if body and method is not None and not method.takes_json:
            problem = "invalid_form_data"  # the method reads forms only
        arguments |= {k: v for k, v in body.items() if v is not None}
    elif request.method == "POST":
        arguments |= {k: v for k, v in (await request.post()).items() if isinstance(v, str)}
    given = str(arguments.pop("token", ""))
    arguments.pop("team_id", None)  # bolt adds it to every call
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    return arguments, bearer or given, problem


def _chunk_problems(chunk: Any) -> list[str]:
    kind = chunk.get("type") if isinstance(chunk, dict) else None
    known = {
        "markdown_text": ("text", ""),
        "plan_update": ("title", ""),
        "task_update": ("id title status", "details output sources"),
        "blocks": ("blocks", ""),
    }
    if kind not in known:
        return [f"no such chunk: {kind}"]
    required, optional = (names.split() for names in known[kind])
    problems = [f"{kind}: missing {n}" for n in required if not chunk.get(n)]
    problems += [f"{kind}: no such field: {n}" for n in chunk if n not in ("type", *required, *optional)]
    problems += [
        f"{kind}: {n} must be less than 257 characters"
        for n in ("title", "details", "output")
        if len(str(chunk.get(n) or "")) > 256
    ]
    if kind == "task_update" and chunk.get("status") not in ("pending", "in_progress", "complete", "error"):
        problems.append(f"task_update: no such status: {chunk.get('status')}")
    if kind == "blocks":
        problems += check_blocks(chunk.get("blocks"))
    return problems
