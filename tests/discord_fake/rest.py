"""The REST API: who may do what, what is refused and how, and what comes of it."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import mimetypes
import time
import traceback
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.discord_fake import schema
from tests.discord_fake.world import (
    DM,
    EPHEMERAL,
    HAS_THREAD,
    LOADING,
    NEWS,
    PRIVATE_THREAD,
    PUBLIC_THREAD,
    REPLY,
    TEXT,
    THREADS,
    Channel,
    Guild,
    Json,
    Message,
    Permission,
    State,
    iso,
    mentions,
)

if TYPE_CHECKING:
    from tests.discord_fake.fake import FakeDiscord
    from tests.discord_fake.interactions import Interaction

BASE = "/api/v10"
LARGEST = 10 * 2**20  # bytes of a file


class ApiError(Exception):
    """A refusal; `wrong`: no right program would have asked."""

    def __init__(self, status: int, code: int, message: str, *, body: Json | None = None, wrong: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.body = body or {"message": message, "code": code}
        self.wrong = wrong


def no_permission() -> ApiError:
    return ApiError(403, 50013, "Missing Permissions")


@dataclass(frozen=True)
class Request:
    """What a client asked, and the status that it was answered with."""

    method: str
    path: str
    body: Any
    files: tuple[tuple[str, bytes], ...]
    status: int
    at: float

    def __str__(self) -> str:
        return f"{self.method} {self.path} → {self.status} {json.dumps(self.body)[:300]}"


class Gate:
    """Requests wait before it until it is opened."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.waiting = 0

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.waiting += 1
        await self._open.wait()


@dataclass
class Fault:
    """Something that goes wrong with requests that match; `times` None: with all of them."""

    method: str
    path: str
    times: int | None = 1
    status: int | None = None
    code: int = 0
    message: str = ""
    retry_after: float = 0.0
    globally: bool = False
    gate: Gate | None = None
    after: bool = False  # it is done, and then the answer is lost

    def matches(self, method: str, path: str) -> bool:
        return self.times != 0 and fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(path, self.path)

    def response(self) -> web.Response:
        assert self.status is not None
        if self.status != 429:
            text = self.message or f"{self.status}: {HTTPStatus(self.status).phrase}"
            return answer(self.status, {"message": text, "code": self.code})
        return too_many(self.retry_after, globally=self.globally)


def answer(status: int, body: Any = None, headers: dict[str, str] | None = None) -> web.Response:
    """JSON as Discord serves it: exactly `application/json`."""
    base = {"Via": "1.1 fake", **(headers or {})}
    if body is None:
        return web.Response(status=status, headers=base)
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers={**base, "Content-Type": "application/json"}
    )


def _limits(method: str, route: str, limit: int, remaining: int, reset: float) -> dict[str, str]:
    return {
        "X-RateLimit-Bucket": f"{abs(hash((method, route))):x}",
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset-After": f"{reset:.3f}",
        "X-RateLimit-Reset": f"{time.time() + reset:.3f}",
    }


def too_many(retry_after: float, *, globally: bool = False) -> web.Response:
    scope = "global" if globally else "user"
    headers = {"Retry-After": str(max(1, round(retry_after))), "X-RateLimit-Scope": scope}
    headers |= {"X-RateLimit-Global": "true"} if globally else {}
    body = {"message": "You are being rate limited.", "retry_after": retry_after, "global": globally}
    return answer(429, body, headers)


@dataclass
class Call:
    """One request on its way through."""

    request: web.Request
    body: Any = None
    files: dict[int, tuple[str, bytes]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.request.match_info[name]


class RestApi:
    """Answers requests for `fake`, and keeps them in `fake.requests`."""

    def __init__(self, fake: FakeDiscord) -> None:
        self._fake = fake
        self._buckets: dict[str, list[float]] = {}

    def add_to(self, app: web.Application) -> None:
        thread, message = "/channels/{channel}/thread-members", "/channels/{channel}/messages/{message}"
        webhook, commands = "/webhooks/{application}/{token}", "/applications/{application}/commands"
        there = "/applications/{application}/guilds/{guild}/commands"
        routes: list[tuple[str, str, Callable[[Call], Awaitable[Any]]]] = [
            ("GET", "/gateway", self._gateway),
            ("GET", "/gateway/bot", self._gateway),
            ("GET", "/oauth2/applications/@me", self._application),
            ("GET", "/applications/@me", self._application),
            ("GET", "/users/@me", self._me),
            ("GET", "/users/@me/guilds", self._my_guilds),
            ("POST", "/users/@me/channels", self._open_dm),
            ("GET", "/users/{user}", self._user),
            ("GET", "/guilds/{guild}", self._guild),
            ("GET", "/guilds/{guild}/channels", self._guild_channels),
            ("GET", "/guilds/{guild}/roles", self._roles),
            ("GET", "/guilds/{guild}/members/{user}", self._member),
            ("GET", "/guilds/{guild}/threads/active", self._active_threads),
            ("GET", "/channels/{channel}", self._get_channel),
            ("PATCH", "/channels/{channel}", self._edit_channel),
            ("POST", "/channels/{channel}/typing", self._typing),
            ("GET", "/channels/{channel}/messages", self._history),
            ("POST", "/channels/{channel}/messages", self._post),
            ("GET", message, self._get_message),
            ("PATCH", message, self._edit),
            ("DELETE", message, self._delete),
            ("PUT", message + "/reactions/{emoji}/@me", self._react),
            ("DELETE", message + "/reactions/{emoji}/@me", self._react),
            ("POST", message + "/threads", self._thread_from),
            ("POST", "/channels/{channel}/threads", self._thread),
            ("GET", "/channels/{channel}/threads/archived/public", self._archived_threads),
            ("PUT", thread + "/@me", self._join_thread),
            ("DELETE", thread + "/@me", self._leave_thread),
            ("POST", "/interactions/{id}/{token}/callback", self._callback),
            ("POST", webhook, self._followup),
            ("GET", webhook + "/messages/{message}", self._get_followup),
            ("PATCH", webhook + "/messages/{message}", self._edit_followup),
            ("DELETE", webhook + "/messages/{message}", self._delete_followup),
            *(
                route
                for path in (commands, there)
                for route in (
                    ("GET", path, self._get_commands),
                    ("PUT", path, self._put_commands),
                    ("POST", path, self._post_command),
                    ("GET", path + "/{command}", self._get_command),
                    ("PATCH", path + "/{command}", self._edit_command),
                    ("DELETE", path + "/{command}", self._delete_command),
                )
            ),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, BASE + path, self._serving(path, handler))
        app.router.add_route("*", BASE + "/{rest:.*}", self._serving("?", self._nothing))

    # The way of a request

    def _serving(self, route: str, handler: Callable[[Call], Awaitable[Any]]) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.Response:
            path = request.path.removeprefix(BASE)
            call = Call(request)
            at = self._fake.now()
            response = answer(500)
            try:
                response = await self._respond(route, path, handler, call)
            finally:
                files = tuple(call.files.values())
                self._fake.requests.append(Request(request.method, path, call.body, files, response.status, at))
                self._fake.changed()
            return response

        return serve

    async def _respond(
        self, route: str, path: str, handler: Callable[[Call], Awaitable[Any]], call: Call
    ) -> web.Response:
        method = call.request.method
        try:
            await self._read(call)
            fault = self._fault(method, path)
            if fault is not None and fault.gate is not None:
                await fault.gate.passed()
            elif fault is not None and not fault.after:
                return fault.response()
            secret = call.request.match_info.get("token")
            if secret is None and call.request.headers.get("Authorization") != f"Bot {self._fake.token}":
                raise ApiError(401, 0, "401: Unauthorized")
            headers, late = self._limit(method, route, path)
            if late:
                self._fake.rate_limited.append(f"{method} {path}")
                return too_many(late)
            body = await handler(call)
            if fault is not None and fault.after:
                return fault.response()
            return answer(204, None, headers) if body is None else answer(200, body, headers)
        except ApiError as exc:
            if exc.wrong:
                self._fake.violations.append(f"{method} {path}: {exc}")
            return answer(exc.status, exc.body)
        except Exception:
            self._fake.violations.append(f"the fake broke at {method} {path}:\n{traceback.format_exc()}")
            raise

    async def _read(self, call: Call) -> None:
        request = call.request
        if request.content_type == "application/json":
            text = await request.text()
        elif request.content_type == "multipart/form-data":
            form = await request.post()
            text = str(form.get("payload_json", "{}"))
            for name, part in form.items():
                if isinstance(part, web.FileField):
                    number = name.removeprefix("files[").removesuffix("]")
                    if not number.isdigit():
                        raise ApiError(400, 50035, f"Files are called files[n], not {name!r}", wrong=True)
                    call.files[int(number)] = (part.filename, part.file.read())
                elif name != "payload_json":
                    raise ApiError(400, 50035, f"A part that nobody knows: {name!r}", wrong=True)
        else:
            if await request.read():
                raise ApiError(400, 50035, f"A body of type {request.content_type}", wrong=True)
            return
        try:
            call.body = json.loads(text) if text else None
        except ValueError:
            raise ApiError(400, 50109, "The request body contains invalid JSON.", wrong=True) from None
        if any(len(data) > LARGEST for _, data in call.files.values()):
            raise ApiError(413, 40005, "Request entity too large", wrong=True)

    def _fault(self, method: str, path: str) -> Fault | None:
        fault = next((f for f in self._fake.faults if f.matches(method, path)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        return fault

    def _limit(self, method: str, route: str, path: str) -> tuple[dict[str, str], float]:
        """The bucket's headers, and the seconds to wait if it is empty."""
        chosen = [v for k, v in self._fake.rate_limits.items() if fnmatch.fnmatchcase(f"{method} {path}", k)]
        limit, per = chosen[0] if chosen else (1000, 1.0)
        if not chosen:
            return _limits(method, route, limit, limit - 1, per), 0.0
        now = time.monotonic()
        spent = self._buckets.setdefault(f"{method} {path}", [])
        spent[:] = [at for at in spent if at > now - per]
        reset = spent[0] + per - now if spent else per
        if len(spent) >= limit:
            return {}, reset
        spent.append(now)
        return _limits(method, route, limit, limit - len(spent), reset), 0.0

    async def _nothing(self, call: Call) -> None:
        raise ApiError(404, 0, "404: Not Found", wrong=True)

    # Who and where

    def _find_channel(self, call: Call) -> Channel:
        """The channel of the path, if the bot may see it."""
        channel = self._fake.channels.get(call["channel"])
        if channel is None:
            raise ApiError(404, 10003, "Unknown Channel")
        self._need(channel, Permission.VIEW_CHANNEL)
        return channel

    def _need(self, channel: Channel, *permissions: Permission) -> None:
        held = channel.permissions(self._fake.bot)
        if Permission.VIEW_CHANNEL not in held:
            raise ApiError(403, 50001, "Missing Access")
        if any(p not in held for p in permissions):
            raise no_permission()

    def _find_message(self, call: Call) -> Message:
        channel = self._find_channel(call)
        message = channel.messages.get(call["message"])
        if message is None or message.deleted or message.ephemeral:
            raise ApiError(404, 10008, "Unknown Message")
        return message

    def _find_guild(self, call: Call) -> Guild:
        guild = next((g for g in self._fake.guilds_of_bot() if g.id == call["guild"]), None)
        if guild is None:
            raise ApiError(404, 10004, "Unknown Guild")
        return guild

    def _show(self, message: Message) -> Json:
        """Over REST the portal's switch decides what is read, not the intents of a session."""
        return message.json(self._fake.bot, content=self._fake.reads_content)

    async def _gateway(self, call: Call) -> Json:
        limit = {"total": 1000, "remaining": 999, "reset_after": 14_400_000, "max_concurrency": 1}
        return {"url": self._fake.gateway_url, "shards": self._fake.shards, "session_start_limit": limit}

    async def _application(self, call: Call) -> Json:
        return self._fake.application()

    async def _me(self, call: Call) -> Json:
        return {**self._fake.bot.json(), "verified": True, "mfa_enabled": False, "email": None, "locale": "en-US"}

    async def _my_guilds(self, call: Call) -> list[Json]:
        bot = self._fake.bot
        return [
            {
                "id": guild.id,
                "name": guild.name,
                "icon": None,
                "banner": None,
                "owner": False,
                "permissions": str(int(guild.permissions(bot))),
                "features": [],
                "approximate_member_count": len(guild.members),
                "approximate_presence_count": 1,
            }
            for guild in self._fake.guilds_of_bot()
        ]

    async def _user(self, call: Call) -> Json:
        user = self._fake.users.get(call["user"])
        if user is None:
            raise ApiError(404, 10013, "Unknown User")
        return user.json()

    async def _open_dm(self, call: Call) -> Json:
        user = self._fake.users.get(str((call.body or {}).get("recipient_id")))
        if user is None or user is self._fake.bot:
            raise ApiError(400, 50033, "Invalid Recipient(s)")
        return self._fake.dm(user).json(self._fake.bot)

    async def _guild(self, call: Call) -> Json:
        guild = self._find_guild(call)
        counts = {"approximate_member_count": len(guild.members), "approximate_presence_count": 1}
        return {**guild.json(self._fake.bot), **counts}

    async def _guild_channels(self, call: Call) -> list[Json]:
        return self._find_guild(call).json(self._fake.bot)["channels"]

    async def _roles(self, call: Call) -> list[Json]:
        return self._find_guild(call).json(self._fake.bot)["roles"]

    async def _member(self, call: Call) -> Json:
        member = self._find_guild(call).members.get(call["user"])
        if member is None:
            raise ApiError(404, 10007, "Unknown Member")
        return member.json()

    async def _active_threads(self, call: Call) -> Json:
        guild = self._find_guild(call)
        threads = [c for c in guild.channels if c.type in THREADS and not c.archived]
        return self._threads(threads)

    async def _archived_threads(self, call: Call) -> Json:
        parent = self._find_channel(call)
        self._need(parent, Permission.READ_MESSAGE_HISTORY)
        assert parent.guild is not None
        return {
            **self._threads([c for c in parent.guild.channels if c.parent is parent and c.archived]),
            "has_more": False,
        }

    def _threads(self, threads: list[Channel]) -> Json:
        bot = self._fake.bot
        members = [c.thread_member(bot) for c in threads if bot.id in c.joined]
        return {"threads": [c.json(bot) for c in threads], "members": members}

    # Channels and messages

    async def _get_channel(self, call: Call) -> Json:
        return self._find_channel(call).json(self._fake.bot)

    async def _edit_channel(self, call: Call) -> Json:
        channel = self._find_channel(call)
        checker = schema.Checker()
        known = "name archived auto_archive_duration locked invitable rate_limit_per_user flags applied_tags".split()
        if checker.fields(call.body, known):
            checker.text(call.body, "name", (), 100, least=1)
        self._refuse(checker)
        if channel.type not in THREADS:
            self._need(channel, Permission.MANAGE_CHANNELS)
        elif channel.owner is not self._fake.bot or "locked" in call.body:
            self._need(channel, Permission.MANAGE_THREADS)
        channel.name = call.body.get("name", channel.name)
        channel.archived = call.body.get("archived", channel.archived)
        channel.locked = call.body.get("locked", channel.locked)
        await self._fake.channel_changed(channel)
        return channel.json(self._fake.bot)

    async def _typing(self, call: Call) -> None:
        channel = self._find_channel(call)
        self._need(channel, self._sending(channel))
        self._fake.typing.append((channel, self._fake.now()))

    def _sending(self, channel: Channel) -> Permission:
        return Permission.SEND_MESSAGES_IN_THREADS if channel.type in THREADS else Permission.SEND_MESSAGES

    async def _history(self, call: Call) -> list[Json]:
        channel = self._find_channel(call)
        query = call.request.query
        limit = query.get("limit", "50")
        if unknown := set(query) - {"limit", "before", "after", "around"}:
            raise ApiError(400, 50035, f"Unknown parameters: {sorted(unknown)}", wrong=True)
        if not limit.isdigit() or not 1 <= int(limit) <= 100:
            raise ApiError(400, 50035, "limit: int value should be between 1 and 100.", wrong=True)
        if Permission.READ_MESSAGE_HISTORY not in channel.permissions(self._fake.bot):
            return []
        found = [m for m in channel.messages.values() if not m.deleted and not m.ephemeral]
        found.sort(key=lambda m: int(m.id))
        if "before" in query:
            found = [m for m in found if int(m.id) < int(query["before"])]
        if "after" in query:
            found = [m for m in found if int(m.id) > int(query["after"])][: int(limit)]
        if "around" in query:
            near = sorted(found, key=lambda m: abs(int(m.id) - int(query["around"])))[: int(limit)]
            found = [m for m in found if m in near]
        return [self._show(m) for m in reversed(found[-int(limit) :])]

    async def _get_message(self, call: Call) -> Json:
        message = self._find_message(call)
        self._need(message.channel, Permission.READ_MESSAGE_HISTORY)
        return self._show(message)

    async def _post(self, call: Call) -> Json:
        channel = self._find_channel(call)
        body = self._checked(call, call.body, schema.MESSAGE_FIELDS)
        self._may_send(call, channel, body)
        before = self._repeated(channel, body)
        if before is not None:
            return self._show(before)
        reply_to, reference = self._referred(channel, body)
        if channel.archived:
            if channel.locked:
                raise ApiError(403, 50083, "Tried to perform an operation on an archived thread")
            channel.archived = False
            await self._fake.channel_changed(channel)
        kind = REPLY if reference else 0
        message = self._fake.message(channel, self._fake.bot, "", type=kind, reply_to=reply_to, reference=reference)
        self._write(call, message, body)
        await self._fake.join_thread(channel, self._fake.bot)
        await self._fake.posted(message)
        return self._show(message)

    def _may_send(self, call: Call, channel: Channel, body: Json) -> None:
        if channel.type == DM and not all(u.takes_dms for u in channel.recipients):
            raise ApiError(403, 50007, "Cannot send messages to this user")
        self._need(channel, self._sending(channel))
        if body.get("embeds"):
            self._need(channel, Permission.EMBED_LINKS)
        if call.files:
            self._need(channel, Permission.ATTACH_FILES)

    def _repeated(self, channel: Channel, body: Json) -> Message | None:
        """With enforce_nonce a message that is sent twice is there once."""
        if not body.get("enforce_nonce") or body.get("nonce") is None:
            return None
        mine = (m for m in channel.messages.values() if m.author is self._fake.bot)
        return next((m for m in mine if m.nonce is not None and str(m.nonce) == str(body["nonce"])), None)

    def _referred(self, channel: Channel, body: Json) -> tuple[Message | None, Json | None]:
        reference = body.get("message_reference")
        if not reference:
            return None, None
        target = channel.messages.get(str(reference.get("message_id")))
        if target is None or target.deleted or target.ephemeral:
            if reference.get("fail_if_not_exists", True):
                checker = schema.Checker()
                checker.note(("message_reference",), "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
                raise ApiError(400, 50035, "Invalid Form Body", body=checker.json())
            return None, None
        if Permission.READ_MESSAGE_HISTORY not in channel.permissions(self._fake.bot):
            raise ApiError(400, 160002, "You do not have permission to reply to this message without message history")
        return target, refer(target)

    def _checked(self, call: Call, body: Any, known: Collection[str], at: tuple[str, ...] = ()) -> Json:
        """The body of a message, if the API takes it."""
        checker = schema.Checker()
        names = [name for name, _ in call.files.values()]
        schema.check_message(checker, {} if body is None else body, known, names, at)
        self._refuse(checker)
        body = body or {}
        if body.get("content") and "allowed_mentions" not in body and self._fake.needs_allowed_mentions:
            where = f"{call.request.method} {call.request.path.removeprefix(BASE)}"
            self._fake.violations.append(f"{where}: no allowed_mentions with {body['content'][:80]!r}")
        return body

    def _refuse(self, checker: schema.Checker) -> None:
        if checker.problems:
            told = "; ".join(map(str, checker.problems))
            raise ApiError(400, 50035, f"Invalid Form Body: {told}", body=checker.json(), wrong=True)

    def _write(self, call: Call, message: Message, body: Json) -> None:
        """What the body says becomes the message's; what it doesn't say stays. A new one that is refused is gone again."""
        try:
            self._fill(call, message, body)
        except ApiError:
            message.deleted = not message.edits and not message.loading
            raise

    def _fill(self, call: Call, message: Message, body: Json) -> None:
        if "content" in body:
            content = (body["content"] or "").strip()
            self._name(message, content, body.get("allowed_mentions"))
            message.content = content
        for name in ("embeds", "components"):
            if body.get(name) is not None:
                setattr(message, name, body[name])
        if body.get("flags"):
            message.flags = (message.flags & (EPHEMERAL | LOADING | HAS_THREAD)) | (body["flags"] & ~EPHEMERAL)
        message.nonce = body.get("nonce", message.nonce)
        self._attach(call, message, body)
        shown = (message.content, message.embeds, message.components, message.attachments, body.get("poll"))
        if not any(shown):
            raise ApiError(400, 50006, "Cannot send an empty message", wrong=True)
        message.flags &= ~LOADING
        message.edits.append(State(self._fake.now(), message.content))

    def _name(self, message: Message, content: str, allowed: Json | None) -> None:
        """Whom the text names, and who of them hears of it."""
        named, guild = mentions(content), message.channel.guild
        parse = allowed.get("parse") or [] if allowed is not None else ["users", "roles", "everyone"]
        listed = allowed or {}

        def heard(kind: str, ids: list[str]) -> list[str]:
            return [u for u in ids if kind in parse or u in map(str, listed.get(kind) or [])]

        message.mentions = [self._fake.users[u] for u in heard("users", named.users) if u in self._fake.users]
        message.mention_roles = [r for r in guild.roles if r.id in heard("roles", named.roles)] if guild else []
        may = Permission.MENTION_EVERYONE in message.channel.permissions(message.author)
        message.mention_everyone = named.everyone and "everyone" in parse and may
        if message.reply_to is not None and (allowed is None or allowed.get("replied_user")):
            message.mentions.append(message.reply_to.author)
        message.pings += [*(u.id for u in message.mentions), *(r.id for r in message.mention_roles)]
        message.pings += ["everyone"] if message.mention_everyone else []
        self._fake.pings += message.pings

    def _attach(self, call: Call, message: Message, body: Json) -> None:
        listed = body.get("attachments")
        described = {str(a.get("id")): a for a in listed or []}
        kept = {a["id"]: a for a in message.attachments}
        unknown = [n for n in described if n not in kept and not (n.isdigit() and int(n) in call.files)]
        if unknown:
            raise ApiError(400, 50035, f"attachments: neither here nor uploaded: {unknown}", wrong=True)
        message.attachments = [a for n, a in kept.items() if listed is None or n in described]
        for number, (sent, data) in sorted(call.files.items()):
            given = described.get(str(number), {})
            key = self._fake.new_id()
            name = given.get("filename") or sent
            url = f"{self._fake.url}/attachments/{message.channel.id}/{key}/{name}"
            self._fake.uploads[key] = data
            kind = mimetypes.guess_type(name)[0]
            made = {"id": key, "filename": name, "size": len(data), "url": url, "proxy_url": url, "content_type": kind}
            text = given.get("description")
            message.attachments.append({**made, "description": text} if text else made)

    async def _edit(self, call: Call) -> Json:
        message = self._find_message(call)
        if message.author is not self._fake.bot:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        if message.channel.archived:
            raise ApiError(400, 50083, "Tried to perform an operation on an archived thread")
        return await self._rewrite(call, message, self._checked(call, call.body, schema.EDIT_FIELDS))

    async def _rewrite(self, call: Call, message: Message, body: Json) -> Json:
        first = message.loading
        self._write(call, message, body)
        if not first:
            message.edited = iso(time.time())
        await self._fake.rewritten(message)
        return self._show(message)

    async def _delete(self, call: Call) -> None:
        message = self._find_message(call)
        if message.author is not self._fake.bot:
            self._need(message.channel, Permission.MANAGE_MESSAGES)
        await self._fake.removed(message)

    async def _react(self, call: Call) -> None:
        message = self._find_message(call)
        self._need(message.channel, Permission.ADD_REACTIONS, Permission.READ_MESSAGE_HISTORY)
        self._fake.reactions.append((call.request.method, message, call["emoji"]))

    # Threads

    async def _thread_from(self, call: Call) -> Json:
        message = self._find_message(call)
        self._named_thread(call, "name auto_archive_duration rate_limit_per_user")
        if message.thread is not None:
            raise ApiError(400, 160004, "A thread has already been created for this message")
        self._threadable(message.channel, Permission.CREATE_PUBLIC_THREADS)
        return await self._new_thread(call, message.channel, message)

    async def _thread(self, call: Call) -> Json:
        channel = self._find_channel(call)
        self._named_thread(call, "name auto_archive_duration type invitable rate_limit_per_user")
        private = call.body.get("type", PRIVATE_THREAD) == PRIVATE_THREAD
        needed = Permission.CREATE_PRIVATE_THREADS if private else Permission.CREATE_PUBLIC_THREADS
        self._threadable(channel, needed)
        return await self._new_thread(call, channel, None)

    def _named_thread(self, call: Call, known: str) -> None:
        checker = schema.Checker()
        if checker.fields(call.body, known.split()):
            checker.text(call.body, "name", (), 100, required=True)
            if call.body.get("auto_archive_duration", 1440) not in (60, 1440, 4320, 10080):
                checker.note(
                    ("auto_archive_duration",), "BASE_TYPE_CHOICES", "Value must be one of 60, 1440, 4320, 10080."
                )
        self._refuse(checker)

    def _threadable(self, channel: Channel, needed: Permission) -> None:
        if channel.type not in (TEXT, NEWS):
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        self._need(channel, needed)

    async def _new_thread(self, call: Call, channel: Channel, message: Message | None) -> Json:
        kind = PUBLIC_THREAD if message else call.body.get("type", PRIVATE_THREAD)
        after = call.body.get("auto_archive_duration") or 1440
        thread = await self._fake.make_thread(
            channel, call.body["name"], self._fake.bot, message, kind=kind, after=after
        )
        return thread.json(self._fake.bot)

    async def _join_thread(self, call: Call) -> None:
        await self._fake.join_thread(self._find_channel(call), self._fake.bot)

    async def _leave_thread(self, call: Call) -> None:
        self._find_channel(call).joined.pop(self._fake.bot.id, None)

    # Interactions

    async def _callback(self, call: Call) -> Json | None:
        asked = self._fake.interactions.get(call["token"])
        if asked is None or asked.id != call["id"]:
            raise ApiError(404, 10062, "Unknown interaction")
        if asked.acknowledgement is not None:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.", wrong=True)
        if asked.age > 3:
            raise ApiError(404, 10062, "Unknown interaction")
        checker = schema.Checker()
        if not checker.fields(call.body, ("type", "data")):
            self._refuse(checker)
        kind, data = call.body.get("type"), call.body.get("data")
        name = asked.answers.get(kind)
        if name is None:
            checker.note(("type",), "BASE_TYPE_CHOICES", f"This interaction can't be answered by {kind}")
        elif name in ("message", "update"):
            self._checked(call, data, schema.CALLBACK_FIELDS, ("data",))
        elif name.startswith("deferred") and data:
            checker.fields(data, ("flags",), ("data",))
        elif name == "choices" and checker.fields(data, ("choices",), ("data",)):
            schema.check_choices(checker, data, ("data",), asked.focused_kind)
        elif name == "modal":
            schema.check_modal(checker, data, ("data",))
        self._refuse(checker)
        assert name is not None
        await self._acknowledge(call, asked, name, data or {})
        return (
            self._callback_response(asked, kind) if call.request.query.get("with_response") in ("1", "true") else None
        )

    async def _acknowledge(self, call: Call, asked: Interaction, name: str, data: Json) -> None:
        if name == "choices":
            asked.choices = data.get("choices") or []
        elif name == "modal":
            asked.modal_form = data
        elif name == "deferred":
            message = self._response(asked, data.get("flags") or 0)
            message.flags |= LOADING
            asked.original = message
            await self._fake.posted(message)
        elif name == "message":
            message = self._response(asked, data.get("flags") or 0)
            self._write(call, message, data)
            asked.original = message
            await self._fake.posted(message)
        else:  # the message that the component stands in
            asked.original = asked.message
            if name == "update" and asked.message is not None:
                await self._rewrite(call, asked.message, data)
        asked.acknowledge(name)

    def _response(self, asked: Interaction, flags: int, *, follows: Message | None = None) -> Message:
        """A new message that answers an interaction."""
        before = follows or asked.message
        only_for = asked.user if flags & EPHEMERAL else None
        message = self._fake.message(
            asked.channel,
            self._fake.bot,
            "",
            type=REPLY if before else asked.message_type,
            reply_to=before,
            reference=refer(before) if before else None,
            only_for=only_for,
            interaction=asked.metadata(follows),
            application_id=self._fake.bot.id,
        )
        message.flags |= flags & EPHEMERAL
        asked.messages.append(message)
        return message

    def _callback_response(self, asked: Interaction, kind: int) -> Json:
        told: Json = {"id": asked.id, "type": asked.type, "activity_instance_id": None}
        if asked.original is None:
            return {"interaction": told}
        told |= {
            "response_message_id": asked.original.id,
            "response_message_loading": asked.original.loading,
            "response_message_ephemeral": asked.original.ephemeral,
        }
        return {"interaction": told, "resource": {"type": kind, "message": self._own(asked.original)}}

    def _own(self, message: Message) -> Json:
        return message.json(self._fake.bot, content=True)

    def _live(self, call: Call) -> Interaction:
        """The interaction of a token that still works."""
        asked = self._fake.interactions.get(call["token"])
        if asked is None or call["application"] != self._fake.bot.id:
            raise ApiError(404, 10015, "Unknown Webhook")
        if asked.age > 15 * 60:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        if asked.acknowledgement is None:
            raise ApiError(404, 10015, "Unknown Webhook", wrong=asked.age <= 3)
        return asked

    def _followed(self, call: Call) -> tuple[Interaction, Message]:
        asked, key = self._live(call), call["message"]
        message = asked.original if key == "@original" else next((m for m in asked.messages if m.id == key), None)
        if message is None and asked.message is not None and asked.message.id == key:
            message = asked.message
        if message is None or message.deleted:
            raise ApiError(404, 10008, "Unknown Message")
        return asked, message

    async def _followup(self, call: Call) -> Json:
        asked = self._live(call)
        body = self._checked(call, call.body, schema.FOLLOWUP_FIELDS)
        if asked.original is not None and asked.original.loading and not asked.original.deleted:
            self._write(call, asked.original, body)  # the first follow-up of a deferred answer takes its place
            await self._fake.rewritten(asked.original)
            return self._own(asked.original)
        if asked.outside and len(asked.messages) > 5:
            raise ApiError(400, 40094, "This interaction has reached the maximum number of follow up messages")
        message = self._response(asked, body.get("flags") or 0, follows=asked.original)
        self._write(call, message, body)
        await self._fake.posted(message)
        return self._own(message)

    async def _get_followup(self, call: Call) -> Json:
        return self._own(self._followed(call)[1])

    async def _edit_followup(self, call: Call) -> Json:
        _, message = self._followed(call)
        await self._rewrite(call, message, self._checked(call, call.body, schema.FOLLOWUP_FIELDS))
        return self._own(message)

    async def _delete_followup(self, call: Call) -> None:
        await self._fake.removed(self._followed(call)[1])

    # Commands

    def _scope(self, call: Call) -> list[Json]:
        if call["application"] != self._fake.bot.id:
            raise ApiError(403, 20012, "You are not authorized to perform this action on this application")
        if "guild" in call.request.match_info:
            return self._fake.guild_commands.setdefault(self._find_guild(call).id, [])
        return self._fake.commands

    async def _get_commands(self, call: Call) -> list[Json]:
        return self._scope(call)

    def _one(self, call: Call) -> Json:
        command = next((c for c in self._scope(call) if c["id"] == call["command"]), None)
        if command is None:
            raise ApiError(404, 10063, "Unknown application command")
        return command

    async def _get_command(self, call: Call) -> Json:
        return self._one(call)

    def _register(self, scope: list[Json], given: Json) -> Json:
        """A command under its old id, if there is one of that type and name."""
        made = self._fake.normal_command(given)
        old = next((c for c in scope if (c["type"], c["name"]) == (made["type"], made["name"])), None)
        if old is not None and {**old, **made} == old:
            return old
        return {**made, "id": old["id"] if old else self._fake.new_id(), "version": self._fake.new_id()}

    async def _put_commands(self, call: Call) -> list[Json]:
        scope = self._scope(call)
        checker = schema.Checker()
        if not isinstance(call.body, list):
            raise ApiError(400, 50035, "Commands come as a list", wrong=True)
        schema.check_commands(checker, call.body)
        self._refuse(checker)
        scope[:] = [self._register(scope, given) for given in call.body]
        return scope

    async def _post_command(self, call: Call) -> Json:
        scope = self._scope(call)
        checker = schema.Checker()
        schema.check_command(checker, call.body)
        self._refuse(checker)
        made = self._register(scope, call.body)
        others = [c for c in scope if c["id"] != made["id"]]
        schema.check_commands(
            checker, [{"type": c["type"], "name": c["name"], "description": "-"} for c in (*others, made)]
        )
        self._refuse_count(checker)
        scope[:] = [*others, made]
        return made

    def _refuse_count(self, checker: schema.Checker) -> None:
        if any(p.code == "APPLICATION_COMMANDS_MAX" for p in checker.problems):
            raise ApiError(400, 30032, "Maximum number of application commands reached", wrong=True)

    async def _edit_command(self, call: Call) -> Json:
        scope, old = self._scope(call), self._one(call)
        allowed = {k: v for k, v in old.items() if k in schema.COMMAND_FIELDS}
        checker = schema.Checker()
        schema.check_command(checker, {**allowed, **call.body})
        self._refuse(checker)
        made = {**self._fake.normal_command({**allowed, **call.body}), "id": old["id"], "version": self._fake.new_id()}
        scope[scope.index(old)] = made
        return made

    async def _delete_command(self, call: Call) -> None:
        self._scope(call).remove(self._one(call))


def refer(message: Message) -> Json:
    """What a reply says about the message that it answers."""
    reference = {"type": 0, "message_id": message.id, "channel_id": message.channel.id}
    return {**reference, "guild_id": message.channel.guild.id} if message.channel.guild else reference
