"""FakeDiscord: one server for gateway, REST API and uploaded files, a small world, and what a test does with them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.discord_fake.gateway import (
    DIRECT_MESSAGES,
    GUILD_MEMBERS,
    GUILD_MESSAGES,
    GUILDS,
    MESSAGE_CONTENT,
    PRESENCES,
    PRIVILEGED,
    RECONNECT,
    Gateway,
    Session,
)
from tests.discord_fake.gateway import HEARTBEAT as ASK_HEARTBEAT
from tests.discord_fake.gateway import INVALID as INVALID_SESSION
from tests.discord_fake.interactions import (
    AUTOCOMPLETE,
    BOT_DM,
    COMMAND,
    COMPONENT,
    GUILD,
    MODAL,
    PRIVATE,
    Interaction,
    NotOffered,
    filled,
    menu_type,
    nested,
    offered,
    pressed,
)
from tests.discord_fake.rest import BASE, Fault, Gate, Request, RestApi, refer
from tests.discord_fake.world import (
    DM,
    HAS_THREAD,
    MEMBER,
    NOTHING,
    PUBLIC_THREAD,
    REPLY,
    TEXT,
    THREAD_CREATED,
    THREAD_STARTER,
    THREADS,
    Channel,
    Guild,
    Json,
    Member,
    Message,
    Permission,
    Role,
    Snowflakes,
    State,
    User,
    iso,
    mentions,
)

_FLAGS = {PRESENCES: 1 << 13, GUILD_MEMBERS: 1 << 15, MESSAGE_CONTENT: 1 << 19}  # of an application with the intent


class FakeDiscord:
    """See the package's docstring. `privileged`: the intents that the portal has switched on. `rate_limits`: requests (and
    seconds) that a bucket holds, by "METHOD /path" with wildcards. `port` 0: any that is free."""

    def __init__(
        self,
        token: str = "a-token-for-tests",
        *,
        bot_name: str = "fireside",
        privileged: Sequence[str] = ("message_content",),
        heartbeat_interval: float = 41.25,
        shards: int = 1,
        rate_limits: Mapping[str, tuple[int, float]] | None = None,
        needs_allowed_mentions: bool = True,
        port: int = 0,
    ) -> None:
        self.new_id = Snowflakes()
        self.token = token
        self.heartbeat_interval = heartbeat_interval
        self.ack_heartbeats = True
        self.shards = shards
        self.rate_limits = dict(rate_limits or {})
        self.needs_allowed_mentions = needs_allowed_mentions
        self.privileged = sum(PRIVILEGED[name] for name in privileged)
        self.users: dict[str, User] = {}
        self.guilds: list[Guild] = []
        self.channels: dict[str, Channel] = {}
        self.interactions: dict[str, Interaction] = {}  # by token
        self.commands: list[Json] = []
        self.guild_commands: dict[str, list[Json]] = {}
        self.requests: list[Request] = []
        self.typing: list[tuple[Channel, float]] = []
        self.reactions: list[tuple[str, Message, str]] = []
        self.pings: list[str] = []
        self.uploads: dict[str, bytes] = {}  # by attachment
        self.violations: list[str] = []
        self.rate_limited: list[str] = []
        self.faults: list[Fault] = []
        self.gateway = Gateway(self)
        self.url = self.api_url = self.gateway_url = ""
        self._port = port
        self._offset = 0.0
        self._waiting: set[asyncio.Event] = set()
        self._runner: web.AppRunner | None = None
        self.bot = self.user(bot_name, bot=True)
        self.olga, self.alice, self.bob = (self.user(name) for name in ("olga", "alice", "bob"))
        self.guild = self.new_guild("Harbour", self.olga)
        self.general = self.channel(self.guild, "general")
        self.join(self.guild, self.alice)
        self.join(self.guild, self.bob)

    # The server

    async def start(self) -> Self:
        """Serve on 127.0.0.1; the URLs are known from then on."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/", self.gateway.serve)
        app.router.add_get("/attachments/{channel}/{id}/{name}", self._download)
        RestApi(self).add_to(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self.api_url, self.gateway_url = self.url + BASE, f"ws://{host}:{port}"
        return self

    async def stop(self) -> None:
        """Hang up on everyone. What waits at a gate goes on first."""
        for fault in self.faults:
            if fault.gate is not None:
                fault.gate.open()
        await self.gateway.end()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()
        if kind is None:
            assert not self.violations, "Discord would refuse:\n" + "\n".join(self.violations)

    async def _download(self, request: web.Request) -> web.Response:
        data = self.uploads.get(request.match_info["id"])
        return web.Response(status=404) if data is None else web.Response(body=data)

    # Time

    def now(self) -> float:
        """Seconds on the clock that interactions expire by."""
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        """Turn that clock; nobody waits."""
        self._offset += seconds
        self.changed()

    def changed(self) -> None:
        """Something happened: those who wait look again."""
        for event in self._waiting:
            event.set()

    async def until(
        self, condition: Callable[[], object], timeout: float = 5.0, otherwise: str = "it never came"
    ) -> None:
        """Wait for a condition; AssertionError, with what the bot did last, when `timeout` seconds were not enough."""
        event = asyncio.Event()
        self._waiting.add(event)
        end = time.monotonic() + timeout
        try:
            while not condition():
                if time.monotonic() > end:
                    did = "\n".join(map(str, self.requests[-12:]))
                    raise AssertionError(f"{otherwise}; violations: {self.violations}; the last requests:\n{did}")
                try:  # a client's own state may be asked for too: nobody tells of that
                    await asyncio.wait_for(event.wait(), 0.02)
                except TimeoutError:
                    continue
                event.clear()
        finally:
            self._waiting.discard(event)

    # The world

    def user(self, name: str, *, bot: bool = False) -> User:
        made = User(self.new_id(), name, bot)
        self.users[made.id] = made
        return made

    def new_guild(self, name: str, owner: User, *, bot: bool = True) -> Guild:
        """With its owner and, unless the app is installed by its users alone, the bot."""
        number = self.new_id()
        guild = Guild(number, name, owner, Role(number, "@everyone", MEMBER, 0))
        self.guilds.append(guild)
        self.join(guild, owner)
        if bot:
            self.join(guild, self.bot)
        return guild

    def role(self, guild: Guild, name: str, permissions: Permission = NOTHING) -> Role:
        made = Role(self.new_id(), name, permissions, len(guild.roles) + 1)
        guild.roles.append(made)
        return made

    def join(self, guild: Guild, user: User, roles: Sequence[Role] = (), nick: str | None = None) -> Member:
        """Make somebody a member, or change the roles of one who is."""
        guild.members[user.id] = made = Member(user, list(roles), nick)
        return made

    def channel(self, guild: Guild, name: str, *, kind: int = TEXT) -> Channel:
        made = Channel(self.new_id(), name, kind, guild)
        guild.channels.append(made)
        self.channels[made.id] = made
        return made

    async def add_role(self, guild: Guild, name: str, permissions: Permission = NOTHING) -> Role:
        """A role that a connected client hears of."""
        made = self.role(guild, name, permissions)
        told = {"guild_id": guild.id, "role": made.json()}
        await self.gateway.dispatch("GUILD_ROLE_CREATE", lambda _: told, guild, GUILDS)
        return made

    async def add_channel(self, guild: Guild, name: str) -> Channel:
        """A channel that a connected client hears of."""
        made = self.channel(guild, name)
        await self.gateway.dispatch("CHANNEL_CREATE", lambda _: made.json(self.bot), guild, GUILDS)
        return made

    async def remove_channel(self, channel: Channel) -> None:
        """Delete a channel or a thread; what is sent there from now on finds nothing."""
        assert channel.guild is not None
        told = channel.json(self.bot)
        channel.guild.channels.remove(channel)
        del self.channels[channel.id]
        name = "THREAD_DELETE" if channel.type in THREADS else "CHANNEL_DELETE"
        await self.gateway.dispatch(name, lambda _: told, channel.guild, GUILDS)

    def dm(self, user: User, other: User | None = None) -> Channel:
        """The conversation of two people: with the bot, or one that the bot is not in."""
        people = [user, other or self.bot]
        for channel in self.channels.values():
            if channel.type == DM and set(channel.recipients) == set(people):
                return channel
        made = Channel(self.new_id(), "", DM, recipients=people)
        self.channels[made.id] = made
        return made

    async def permit(
        self, channel: Channel, who: User | Role, *, allow: Permission = NOTHING, deny: Permission = NOTHING
    ) -> None:
        """Set somebody's overwrite in a channel."""
        channel.overwrites[who.id] = (int(isinstance(who, User)), allow, deny)
        await self.channel_changed(channel)

    async def invite_bot(self, guild: Guild) -> None:
        """While it is connected."""
        self.join(guild, self.bot)
        await self.gateway.dispatch("GUILD_CREATE", lambda _: guild.json(self.bot), guild, GUILDS)

    async def kick_bot(self, guild: Guild) -> None:
        del guild.members[self.bot.id]
        await self.gateway.dispatch("GUILD_DELETE", lambda _: {"id": guild.id}, guild, GUILDS)

    def guilds_of_bot(self) -> list[Guild]:
        return [g for g in self.guilds if self.bot.id in g.members]

    @property
    def reads_content(self) -> bool:
        """Whether the portal has switched the message-content intent on."""
        return bool(self.privileged & MESSAGE_CONTENT)

    def application(self) -> Json:
        """As `/oauth2/applications/@me` tells it."""
        install = {"scopes": ["bot", "applications.commands"], "permissions": str(int(MEMBER))}
        return {
            "id": self.bot.id,
            "name": self.bot.name,
            "icon": None,
            "description": "",
            "summary": "",
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "00" * 32,
            "flags": sum(flag for intent, flag in _FLAGS.items() if self.privileged & intent),
            "owner": self.olga.json(),
            "team": None,
            "bot": self.bot.json(),
            "redirect_uris": [],
            "rpc_origins": [],
            "interactions_endpoint_url": None,
            "role_connections_verification_url": None,
            "install_params": install,
            "integration_types_config": {"0": {"oauth2_install_params": install}, "1": {}},
            "approximate_guild_count": len(self.guilds_of_bot()),
        }

    # What happens to messages and channels, whoever did it

    def message(self, channel: Channel, author: User, content: str, **more: Any) -> Message:
        """A new message that nobody has been told of."""
        made = Message(self.new_id(), channel, author, content, **more)
        channel.messages[made.id] = made
        return made

    def _told(self, message: Message) -> bool:
        seen = Permission.VIEW_CHANNEL in message.channel.permissions(self.bot)
        return seen and not message.ephemeral

    async def _tell(self, name: str, message: Message, data: Callable[[Session], Json]) -> None:
        if self._told(message):
            guild = message.channel.guild
            await self.gateway.dispatch(name, data, guild, GUILD_MESSAGES if guild else DIRECT_MESSAGES)
        self.changed()

    def _event(self, message: Message) -> Callable[[Session], Json]:
        def made(session: Session) -> Json:
            return message.json(self.bot, content=bool(session.intents & MESSAGE_CONTENT), event=True)

        return made

    async def posted(self, message: Message) -> None:
        await self._tell("MESSAGE_CREATE", message, self._event(message))

    async def rewritten(self, message: Message) -> None:
        await self._tell("MESSAGE_UPDATE", message, self._event(message))

    async def removed(self, message: Message) -> None:
        message.deleted = True
        gone = {"id": message.id, "channel_id": message.channel.id}
        guild = message.channel.guild
        await self._tell("MESSAGE_DELETE", message, lambda _: {**gone, "guild_id": guild.id} if guild else gone)

    async def channel_changed(self, channel: Channel) -> None:
        name = "THREAD_UPDATE" if channel.type in THREADS else "CHANNEL_UPDATE"
        await self.gateway.dispatch(name, lambda _: channel.json(self.bot), channel.guild, GUILDS)
        self.changed()

    async def make_thread(
        self,
        channel: Channel,
        name: str,
        owner: User,
        message: Message | None,
        *,
        kind: int = PUBLIC_THREAD,
        after: int = 1440,
    ) -> Channel:
        """A thread of its own, or one that hangs on a message (and has its id)."""
        assert channel.guild is not None
        number = message.id if message else self.new_id()
        thread = Channel(number, name, kind, channel.guild, channel, owner=owner, archive_after=after)
        thread.joined[owner.id] = iso(time.time())
        channel.guild.channels.append(thread)
        self.channels[thread.id] = thread
        if Permission.VIEW_CHANNEL in channel.permissions(self.bot):
            made = {**thread.json(self.bot), "newly_created": True}
            await self.gateway.dispatch("THREAD_CREATE", lambda _: made, channel.guild, GUILDS)
        if message is None:
            notice = self.message(channel, owner, name, type=THREAD_CREATED)
            notice.reference = {"type": 0, "channel_id": thread.id, "guild_id": channel.guild.id}
            await self.posted(notice)
            return thread
        message.thread = thread
        message.flags |= HAS_THREAD
        await self.rewritten(message)
        await self.posted(
            self.message(thread, owner, "", type=THREAD_STARTER, reply_to=message, reference=refer(message)),
        )
        return thread

    async def join_thread(self, thread: Channel, user: User) -> None:
        """Whoever writes in a thread is a member of it."""
        if thread.type not in THREADS or user.id in thread.joined or thread.guild is None:
            return
        thread.joined[user.id] = iso(time.time())
        told = {"id": thread.id, "guild_id": thread.guild.id, "member_count": len(thread.joined)}
        added = {**told, "added_members": [thread.thread_member(user)], "removed_member_ids": []}
        await self.gateway.dispatch("THREAD_MEMBERS_UPDATE", lambda _: added, thread.guild, GUILDS)

    # What people do

    async def say(
        self,
        user: User,
        channel: Channel,
        text: str,
        *,
        reply_to: Message | None = None,
        mention_bot: bool = False,
        ping: bool = True,
        kind: int = 0,
        embeds: Sequence[Json] = (),
        attachments: Sequence[Json] = (),
    ) -> Message:
        """Post a message; `mention_bot` puts the mention before it; `ping=False`: a reply that mentions nobody."""
        assert not channel.locked, "the thread is locked"
        text = f"{self.bot.mention} {text}".strip() if mention_bot else text
        if channel.archived:
            channel.archived = False
            await self.channel_changed(channel)
        made = self.message(channel, user, text, type=REPLY if reply_to else kind, reply_to=reply_to)
        made.reference = refer(reply_to) if reply_to else None
        made.embeds, made.attachments = list(embeds), list(attachments)
        self._mention(made, ping=ping)
        made.edits.append(State(self.now(), text))
        await self.join_thread(channel, user)
        await self.posted(made)
        return made

    def _mention(self, message: Message, *, ping: bool = True) -> None:
        named, guild = mentions(message.content), message.channel.guild
        message.mentions = [self.users[u] for u in named.users if u in self.users]
        message.mention_roles = [r for r in guild.roles if r.id in named.roles] if guild else []
        may = Permission.MENTION_EVERYONE in message.channel.permissions(message.author)
        message.mention_everyone = named.everyone and may
        if message.reply_to is not None and ping and message.reply_to.author not in message.mentions:
            message.mentions.append(message.reply_to.author)

    async def say_by_webhook(self, channel: Channel, name: str, text: str) -> Message:
        made = self.message(channel, User(self.new_id(), name, bot=True), text, webhook=True)
        self._mention(made)
        await self.posted(made)
        return made

    async def edit(self, message: Message, text: str) -> None:
        message.content, message.edited = text, iso(time.time())
        message.edits.append(State(self.now(), text))
        self._mention(message)
        await self.rewritten(message)

    async def delete(self, message: Message) -> None:
        await self.removed(message)

    async def start_thread(self, user: User, channel: Channel, name: str, message: Message | None = None) -> Channel:
        return await self.make_thread(channel, name, user, message)

    async def archive(self, thread: Channel, *, locked: bool = False) -> None:
        thread.archived, thread.locked = True, locked
        await self.channel_changed(thread)

    def close_dms(self, user: User) -> None:
        user.takes_dms = False

    async def command(
        self,
        user: User,
        channel: Channel,
        name: str,
        options: Mapping[str, Any] | None = None,
        *,
        age: float = 0.0,
        anyway: bool = False,
    ) -> Interaction:
        """Use a slash command; the values of options are texts, numbers, or a User, Role or Channel."""
        options = options or {}
        command = self._offered(1, name.split(maxsplit=1)[0], user, channel, anyway=anyway)
        inner = nested(name.split()[1:], command, options, None)
        data = {"id": command["id"], "name": command["name"], "type": 1, "options": inner}
        data |= self._resolving(options.values(), channel)
        return await self._interact(COMMAND, user, channel, data, age=age)

    async def autocomplete(
        self, user: User, channel: Channel, name: str, options: Mapping[str, Any], *, focused: str, timeout: float = 5.0
    ) -> list[Json]:
        """The choices that the bot offers for `focused`, whose text so far is in `options`."""
        command = self._offered(1, name.split(maxsplit=1)[0], user, channel)
        inner = nested(name.split()[1:], command, options, focused)
        data = {"id": command["id"], "name": command["name"], "type": 1, "options": inner}
        asked = await self._interact(AUTOCOMPLETE, user, channel, data)
        await asked.acknowledged(timeout)
        return asked.choices or []

    async def context_menu(
        self, user: User, target: Message | User, name: str, channel: Channel | None = None
    ) -> Interaction:
        """Use a command of a message's menu, or (in `channel`) of a user's."""
        if isinstance(target, Message):
            where, kind = target.channel, 3
            resolved = {"resolved": {"messages": {target.id: target.json(self.bot, content=True)}}}
        else:
            assert channel is not None
            where, kind = channel, 2
            resolved = self._resolving([target], channel)
        command = self._offered(kind, name, user, where)
        data = {"id": command["id"], "name": name, "type": kind, "target_id": target.id, **resolved}
        return await self._interact(COMMAND, user, where, data, kind=menu_type(kind))

    async def component(
        self, user: User, message: Message, custom_id: str, values: Sequence[Any] = (), *, age: float = 0.0
    ) -> Interaction:
        """Press a button, or choose `values` of a select."""
        if message.deleted or (message.only_for is not None and message.only_for is not user):
            raise NotOffered(f"{user.name} does not see this message")
        data = pressed(message, custom_id, values)
        data |= self._resolving(values, message.channel)
        return await self._interact(COMPONENT, user, message.channel, data, message=message, age=age)

    async def modal(self, asked: Interaction, values: Mapping[str, Any]) -> Interaction:
        """Submit the form that an interaction opened; `values` by custom_id."""
        form = asked.modal
        data = {"custom_id": form["custom_id"], "components": filled(form, values)}
        return await self._interact(MODAL, asked.user, asked.channel, data, message=asked.message, parent=asked)

    def _offered(self, kind: int, name: str, user: User, channel: Channel, *, anyway: bool = False) -> Json:
        own = self.guild_commands.get(channel.guild.id, []) if channel.guild else []
        command = next((c for c in (*own, *self.commands) if c["type"] == kind and c["name"] == name), None)
        if command is None:
            raise NotOffered(f"no command {name!r}; synced: {[c['name'] for c in (*own, *self.commands)]}")
        if not anyway:
            offered(command, user, channel, self._context(channel), outside=self._outside(channel))
        return command

    def _outside(self, channel: Channel) -> bool:
        people = channel.guild.members if channel.guild else {u.id: u for u in channel.recipients}
        return self.bot.id not in people

    def _context(self, channel: Channel) -> int:
        if channel.guild is not None:
            return GUILD
        return PRIVATE if self._outside(channel) else BOT_DM

    def _resolving(self, values: Any, channel: Channel) -> Json:
        """What the ids among the values stand for; nothing, if there are none."""
        made: Json = {}
        for value in values:
            if isinstance(value, User):
                made.setdefault("users", {})[value.id] = value.json()
                member = channel.guild.members.get(value.id) if channel.guild else None
                if member is not None:
                    more = {"permissions": str(int(channel.permissions(value)))}
                    made.setdefault("members", {})[value.id] = {**member.json(user=False), **more}
            elif isinstance(value, Role):
                made.setdefault("roles", {})[value.id] = value.json()
            elif isinstance(value, Channel):
                held = {"permissions": str(int(value.permissions(self.bot)))}
                made.setdefault("channels", {})[value.id] = {**value.json(self.bot), **held}
        return {"resolved": made} if made else {}

    async def _interact(
        self,
        what: int,
        user: User,
        channel: Channel,
        data: Json,
        *,
        age: float = 0.0,
        message: Message | None = None,
        parent: Interaction | None = None,
        kind: int = menu_type(1),
    ) -> Interaction:
        made = Interaction(
            self,
            self.new_id(age),
            secrets.token_urlsafe(48),
            what,
            user,
            channel,
            data,
            self._context(channel),
            self.now() - age,
            message=message,
            message_type=kind,
            outside=self._outside(channel),
            parent=parent,
            focused_kind=_focused(data.get("options", [])),
        )
        self.interactions[made.token] = made
        payload = made.json()
        await self.gateway.dispatch("INTERACTION_CREATE", lambda _: payload, None if made.outside else channel.guild)
        return made

    def normal_command(self, given: Json) -> Json:
        """A command as Discord gives it back: what is false or empty is left out or filled in."""
        kind = given.get("type") or 1
        permissions = given.get("default_member_permissions")
        contexts = given.get("contexts")
        made: Json = {
            "application_id": self.bot.id,
            "type": kind,
            "name": given["name"],
            "name_localizations": given.get("name_localizations"),
            "description": given.get("description") or "",
            "description_localizations": given.get("description_localizations"),
            "default_member_permissions": None if permissions is None else str(permissions),
            "dm_permission": contexts is None or BOT_DM in contexts,
            "contexts": contexts,
            "integration_types": given.get("integration_types") or [0],
            "nsfw": bool(given.get("nsfw")),
        }
        return {**made, "options": [_bare(o) for o in given["options"]]} if given.get("options") else made

    # What the bot did

    @property
    def identifies(self) -> list[Json]:
        return self.gateway.identifies

    @property
    def resumes(self) -> list[Json]:
        return self.gateway.resumes

    @property
    def heartbeats(self) -> list[int | None]:
        return self.gateway.heartbeats

    def messages(self, channel: Channel, *, author: User | None = None, viewer: User | None = None) -> list[Message]:
        """What stands in a channel, oldest first; `viewer` sees what is for them alone too. Loading ones are among them."""
        found = [m for m in channel.messages.values() if not m.deleted and m.only_for in (None, viewer)]
        return [m for m in found if author in (None, m.author)]

    async def reply_to(
        self, message: Message, *, done: Callable[[Message], object] = lambda _: True, timeout: float = 5.0
    ) -> Message:
        """The bot's first message after `message`, there or in its thread, that is no "is thinking…" and for which `done`
        holds (a streamed one stands there before it is finished: ask for its text or its buttons)."""

        def found() -> Message | None:
            threads = [message.thread] if message.thread else []
            later = [m for c in (message.channel, *threads) for m in self.messages(c, author=self.bot)]
            later = [m for m in later if int(m.id) > int(message.id) and m.type in (0, REPLY)]
            return next((m for m in later if m.edits and not m.loading and done(m)), None)

        await self.until(found, timeout, f"nobody answered {message.content!r}")
        reply = found()
        assert reply is not None
        return reply

    async def ready(self, shards: int = 1, timeout: float = 10.0) -> None:
        """A client is connected and has been sent its guilds."""
        await self.until(lambda: len(self.gateway.ready) >= shards, timeout, "no client came")

    async def resumed(self, times: int = 1, timeout: float = 10.0) -> None:
        """A client has resumed its session for the `times`-th time."""
        await self.until(lambda: self.gateway.resumed >= times, timeout, "no client resumed")

    # What goes wrong

    def fail(
        self,
        method: str,
        path: str,
        status: int,
        *,
        times: int | None = 1,
        code: int = 0,
        message: str = "",
        retry_after: float = 0.0,
        globally: bool = False,
        after: bool = False,
    ) -> None:
        """Answer the next requests to `path` ("/channels/*/messages") by an error; `after`: when what they asked is done."""
        fault = Fault(method, path, times, status, code, message, retry_after, globally, after=after)
        self.faults.append(fault)

    def hold(self, method: str, path: str, *, times: int | None = 1) -> Gate:
        """Let the next requests to `path` wait until the gate is opened; `gate.waiting` counts those that came."""
        gate = Gate()
        self.faults.append(Fault(method, path, times, gate=gate))
        return gate

    async def drop(self, code: int | None = None) -> None:
        """End every gateway connection, by a close code or by cutting the line."""
        for connection in list(self.gateway.connections):
            await connection.close(code)

    async def reconnect(self) -> None:
        """Op 7: the client shall come again and resume."""
        await self._send({"op": RECONNECT, "d": None})

    async def invalidate(self, *, resumable: bool = False) -> None:
        """Op 9 in the middle of a session."""
        if not resumable:
            self.gateway.sessions.clear()
        await self._send({"op": INVALID_SESSION, "d": resumable})

    async def ask_heartbeat(self) -> None:
        """Op 1 from the server: a heartbeat is due at once."""
        await self._send({"op": ASK_HEARTBEAT, "d": None})

    def refuse_resume(self, times: int = 1) -> None:
        """Answer the next RESUMEs by op 9: what happened meanwhile is lost."""
        self.gateway.refusals = times

    async def _send(self, payload: Json) -> None:
        for connection in list(self.gateway.connections):
            await connection.send(payload)


def _focused(options: Sequence[Json]) -> int:
    """The type of the option that somebody is typing."""
    for option in options:
        if option.get("focused"):
            return option["type"]
        if "options" in option:
            return _focused(option["options"])
    return 3


def _bare(option: Json) -> Json:
    made = {k: v for k, v in option.items() if v not in (None, False, [], {})}
    return {**made, "options": [_bare(o) for o in option["options"]]} if option.get("options") else made
