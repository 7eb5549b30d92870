"""FakeSlack: one server for the Web API, Socket Mode, response URLs and uploads, a small world, and a test's means."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

from tests.slack_fake.deliveries import COMMAND, EVENT, Answer, Delivery, Mail, Socket
from tests.slack_fake.limits import check_options, check_view
from tests.slack_fake.manifest import EVENT_SCOPES
from tests.slack_fake.people import Person
from tests.slack_fake.web import ApiError, Call, Fault, Gate, Hook, WebApi
from tests.slack_fake.world import IM, LIVE, MPIM, PRIVATE, PUBLIC, TEAM, Channel, Json, Message, View, World

SCOPES = (
    "app_mentions:read assistant:write channels:history channels:join channels:read chat:write commands files:write"
    " groups:history groups:read im:history im:read im:write mpim:history mpim:read mpim:write reactions:read"
    " reactions:write team:read users:read"
).split()
_MESSAGES = {PUBLIC: "message.channels", PRIVATE: "message.groups", IM: "message.im", MPIM: "message.mpim"}
_STATUS_LIFE = 120.0


class FakeSlack:
    """See the package's docstring. `clock` tells the seconds since 1970; `port` 0: any that is free."""

    def __init__(
        self,
        *,
        bot_name: str = "fireside",
        clock: Callable[[], float] = time.time,
        scopes: Iterable[str] = SCOPES,
        subscriptions: Iterable[str] = tuple(EVENT_SCOPES),
        commands: Iterable[str] = ("/fireside",),
        shortcuts: Iterable[str] = (),
        agent: Literal["view", "assistant"] | None = "view",
        port: int = 0,
    ) -> None:
        self.clock = clock
        self.scopes, self.subscriptions = list(scopes), set(subscriptions)
        self.commands, self.shortcuts = set(commands), set(shortcuts)
        self.agent = agent
        self.bot_token, self.app_token, self.config_token = (
            "-".join((kind, "for", "tests")) for kind in ("xoxb", "xapp", "xoxe")
        )
        self.tokens = {self.bot_token: "bot", self.app_token: "app", self.config_token: "config"}
        self.signing_secret = self.verification_token = "for-tests"
        self.revoked: str | None = None
        self.request_url: str | None = None  # set: events come by HTTP
        self.answers_pings = True
        self.violations: list[str] = []
        self.statuses: list[tuple[str, str, str, list[str], float]] = []  # channel, thread, status, loading, time
        self.titles: dict[tuple[str, str | None], str] = {}
        self.prompts: dict[tuple[str, str | None], list[Json]] = {}
        self.sessions: dict[tuple[str, str], str] = {}
        self._shown: dict[tuple[str, str], tuple[str, float]] = {}
        self._offset = 0.0
        self._port = port
        self.url = self.api_url = ""
        self._waiting: set[asyncio.Event] = set()
        self._on_options: dict[str, Callable[[list[Json]], None]] = {}
        self._runner: web.AppRunner | None = None
        self.world = World(self.now, bot_name)
        self.bot = self.world.bot
        self.team_id, self.app_id = TEAM, self.bot.app_id
        self.general = self.world.channel("general", PUBLIC, [self.bot])
        self._people: dict[str, Person] = {}
        self.mail = Mail(self)
        self.web = WebApi(self)

    # The server

    async def start(self) -> Self:
        """Serve on 127.0.0.1; the URLs are known from then on."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/link/", self.mail.serve)
        self.web.add_to(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self.api_url = f"{self.url}/api/"
        return self

    async def stop(self) -> None:
        """Hang up on everyone. What waits at a gate goes on first."""
        for gate in self.web.gates:
            gate.open()
        await self.mail.end()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()
        if kind is None:
            self.assert_clean()

    def assert_clean(self) -> None:
        assert not self.violations, "Slack would refuse:\n" + "\n".join(self.violations)

    def violate(self, what: str) -> None:
        self.violations.append(what)

    # Time

    def now(self) -> float:
        """Seconds on the clock that triggers, response URLs, streams and retries go by."""
        return self.clock() + self._offset

    async def advance(self, seconds: float) -> None:
        """Turn that clock; nobody waits. Events whose retry is due by then come again."""
        self._offset += seconds
        await self.mail.retry_due()

    def changed(self) -> None:
        """Something happened: those who wait look again."""
        for event in self._waiting:
            event.set()

    async def until(
        self, condition: Callable[[], object], timeout: float = 5.0, otherwise: str = "it never came"
    ) -> None:
        """Wait for a condition: it is looked at whenever something happens here. AssertionError, with what the bot did
        last, after `timeout` seconds."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await event.wait()
                    event.clear()
        except TimeoutError:
            if not condition():
                did = "\n".join(map(str, self.calls[-12:]))
                raise AssertionError(f"{otherwise}; violations: {self.violations}; the last calls:\n{did}") from None
        finally:
            self._waiting.discard(event)

    # The world

    def person(self, name: str, *, bot: bool = False, admin: bool = False, team: str = TEAM) -> Person:
        """Somebody in #general; the same name is the same person."""
        if name not in self._people:
            user = self.world.user(name, bot=bot, admin=admin, team=team)
            self.general.members.append(user)
            self._people[name] = Person(self, user)
        return self._people[name]

    def channel(
        self, name: str, *, private: bool = False, members: Iterable[Person] | None = None, bot: bool = True
    ) -> Channel:
        """With everybody known so far, unless `members` says with whom."""
        people = [p.user for p in (self._people.values() if members is None else members)]
        return self.world.channel(name, PRIVATE if private else PUBLIC, [*people, *([self.bot] if bot else [])])

    def dm(self, person: Person) -> Channel:
        return person.dm

    def group_dm(self, *people: Person) -> Channel:
        return self.world.mpim([*(p.user for p in people), self.bot])

    async def invite(self, channel: Channel, by: Person | None = None) -> Delivery | None:
        """The bot comes into a channel."""
        channel.members.append(self.bot)
        return await self._membership("member_joined_channel", channel, {"inviter": by.id} if by else {})

    async def kick(self, channel: Channel) -> Delivery | None:
        channel.members.remove(self.bot)
        return await self._membership("member_left_channel", channel, {})

    async def _membership(self, name: str, channel: Channel, more: Json) -> Delivery | None:
        kind = "C" if channel.kind == PUBLIC else "G"
        event = {"type": name, "user": self.bot.id, "channel": channel.id, "channel_type": kind, "team": TEAM}
        return await self.tell(name, event | more)

    async def archive(self, channel: Channel) -> Delivery | None:
        channel.archived = True
        user = next((m.id for m in channel.members if m is not self.bot), self.bot.id)
        return await self.tell("channel_archive", {"type": "channel_archive", "channel": channel.id, "user": user})

    async def uninstall(self) -> None:
        """The app is removed: it is told, and its tokens stop working."""
        self.revoke()
        await self.tell("tokens_revoked", {"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [self.bot.id]}})
        await self.tell("app_uninstalled", {"type": "app_uninstalled"})

    def revoke(self, error: str = "account_inactive") -> None:
        """Every token is refused from now on."""
        self.revoked = error

    def granted(self, token: str) -> list[str]:
        """The scopes of a kind of token."""
        return {"bot": self.scopes, "app": ["connections:write"]}.get(token, [])

    def expire_streams(self) -> None:
        """As Slack does when minutes have passed."""
        for channel in self.world.channels.values():
            for message in channel.messages:
                message.stream = "expired" if message.stream == LIVE else message.stream

    # What is seen

    @property
    def calls(self) -> list[Call]:
        return self.web.calls

    def called(self, method: str) -> list[Call]:
        return [c for c in self.calls if c.method == method]

    @property
    def deliveries(self) -> list[Delivery]:
        return list(self.mail.deliveries.values())

    def events(self, name: str) -> list[Delivery]:
        """The deliveries of one type of event."""
        return [d for d in self.deliveries if d.kind == EVENT and d.payload["event"]["type"] == name]

    def ephemerals(self, person: Person, channel: Channel | None = None) -> list[Message]:
        """What only this person sees, oldest first."""
        seen = [m for c in self.world.channels.values() if channel in (None, c) for m in c.ephemerals]
        return sorted((m for m in seen if m.only_for is person.user and not m.deleted), key=lambda m: m.ts)

    def home(self, person: Person) -> View | None:
        return self.world.homes.get(person.id)

    def set_status(self, channel: str, ts: str, status: str, loading: list[str]) -> None:
        self.statuses.append((channel, ts, status, loading, self.now()))
        self._shown[channel, ts] = status, self.now()

    def status(self, channel: Channel, ts: str) -> str:
        """What a thread shows now: a message of the bot takes it away, and so do two minutes."""
        status, at = self._shown.get((channel.id, ts), ("", 0.0))
        return status if self.now() - at <= _STATUS_LIFE else ""

    async def reply_to(
        self,
        asked: Message,
        done: Callable[[Message], object] = lambda _: True,
        timeout: float = 5.0,
    ) -> Message:
        """The bot's first message after this one, in its thread or (in a DM) beside it, when it is written and `done`."""

        def found() -> Message | None:
            for message in asked.channel.messages:
                beside = asked.channel.kind == IM and message.root == message.ts and asked.root == asked.ts
                after = message.user is self.bot and float(message.ts) > float(asked.ts)
                if after and (message.root == asked.root or beside):
                    return message if message.stream != LIVE and done(message) else None
            return None

        await self.until(found, timeout, f"nobody answered {asked.text!r}")
        reply = found()
        assert reply is not None
        return reply

    async def connected(self, sockets: int = 1, timeout: float = 5.0) -> list[Socket]:
        """Wait for so many open sockets."""
        await self.until(lambda: len(self.mail.open()) >= sockets, timeout, "no socket was opened")
        return self.mail.open()

    # Faults

    def fail(
        self,
        method: str,
        *,
        times: int = 1,
        status: int = 200,
        error: str | None = None,
        retry_after: float | None = None,
        after: bool = False,
    ) -> Fault:
        """The next calls of a method (wildcards; "response_url", "upload") fail; `after`: when they are done."""
        made = Fault(method, times, status, error, retry_after, after)
        self.web.faults.append(made)
        return made

    def hold(self, method: str) -> Gate:
        """Calls of a method wait until the gate is opened."""
        made = Gate(method)
        self.web.gates.append(made)
        return made

    async def disconnect(self, reason: str, socket: Socket | None = None) -> None:
        await self.mail.disconnect(reason, socket)

    async def drop(self, socket: Socket | None = None) -> None:
        await self.mail.drop(socket)

    async def ping(self) -> None:
        await self.mail.ping()

    async def retry(self, delivery: Delivery, reason: str | None = None) -> None:
        await self.mail.retry(delivery, reason)

    async def post(self, url: str, payload: Json, kind: str = EVENT, **how: Any) -> Answer:
        """See `Mail.post`."""
        return await self.mail.post(url, payload, kind, **how)

    async def replay(self, answer: Answer) -> Answer:
        return await self.mail.replay(answer)

    async def verify_url(self, url: str) -> bool:
        """Ask for the challenge, as Slack does when a request URL is set."""
        challenge = self.world.new_id("c").lower()
        told = {"type": "url_verification", "token": self.verification_token, "challenge": challenge}
        answer = await self.post(url, told)
        try:
            got = json.loads(answer.text)["challenge"]
        except (ValueError, KeyError, TypeError):
            got = answer.text.strip()
        return answer.status == 200 and got == challenge

    # Events

    def event(self, inner: Json) -> Json:
        """An event in its wrapper."""
        who = {
            "enterprise_id": None,
            "team_id": TEAM,
            "user_id": self.bot.id,
            "is_bot": True,
            "is_enterprise_install": False,
        }
        return {
            "token": self.verification_token,
            "team_id": TEAM,
            "context_team_id": TEAM,
            "context_enterprise_id": None,
            "api_app_id": self.app_id,
            "event": {"event_ts": self.world.ts(), **inner},
            "type": "event_callback",
            "event_id": self.world.new_id("Ev"),
            "event_time": int(self.now()),
            "authorizations": [who],
            "is_ext_shared_channel": inner.get("team", TEAM) != TEAM,
            "event_context": f"4-{self.world.new_id('')}",
        }

    async def tell(self, name: str, inner: Json) -> Delivery | None:
        """Send an event, if the app has subscribed to it and holds the scope."""
        needed = EVENT_SCOPES[name]
        if name not in self.subscriptions or (needed and needed not in self.scopes):
            return None
        return await self.mail.send(EVENT, self.event(inner))

    async def tell_message(self, message: Message, *, mentioned: bool = False) -> None:
        """A mention is told twice, with the same ts and different event ids."""
        channel = message.channel
        if self.bot not in channel.members or message.only_for is not None:
            self.changed()
            return
        inner = {**message.json(), "channel": channel.id, "event_ts": message.ts}
        if mentioned and channel.kind != IM and message.user is not self.bot:
            kept = {k: v for k, v in inner.items() if k not in ("subtype", "parent_user_id")}
            await self.tell("app_mention", kept | {"type": "app_mention"})
        await self.tell(_MESSAGES[channel.kind], inner | {"channel_type": channel.kind})

    async def tell_changed(self, message: Message, before: Json) -> None:
        await self._tell_sub(message, "message_changed", {"message": message.json(), "previous_message": before})

    async def tell_deleted(self, message: Message) -> None:
        await self._tell_sub(message, "message_deleted", {"previous_message": message.json(), "deleted_ts": message.ts})

    async def _tell_sub(self, message: Message, subtype: str, more: Json) -> None:
        channel, ts = message.channel, self.world.ts()
        if self.bot in channel.members and message.only_for is None:
            inner = {
                "type": "message",
                "subtype": subtype,
                "channel": channel.id,
                "hidden": True,
                "ts": ts,
                "event_ts": ts,
            }
            await self.tell(_MESSAGES[channel.kind], inner | {"channel_type": channel.kind} | more)
        self.changed()

    # What the bot did

    def posted(self, message: Message) -> None:
        """The bot's own messages are told to it too."""
        if message.only_for is None:
            self._shown.pop((message.channel.id, message.root), None)
        self.mail.spawn(self.tell_message(message))

    def rewritten(self, message: Message) -> None:
        before = message.json()
        if message.edits:
            before |= {"text": message.edits[-1].text, "blocks": message.edits[-1].blocks}
        self.mail.spawn(self.tell_changed(message, before))

    def removed(self, message: Message) -> None:
        message.deleted = True
        self.mail.spawn(self.tell_deleted(message))

    def on_options(self, delivery: Delivery, take: Callable[[list[Json]], None]) -> None:
        self._on_options[delivery.id] = take

    def responded(self, delivery: Delivery, response: Any) -> None:
        """Do what an acknowledgement says."""
        kind = delivery.payload.get("type")
        if kind == "view_submission":
            self._submitted(delivery, response or {})
        elif kind == "block_suggestion":
            self._suggested(delivery, response or {})
        elif response in (None, "", {}, {"text": ""}):
            return
        elif delivery.kind == COMMAND:
            hook = self.web.hooks[delivery.response_url.rpartition("/")[2]]
            try:
                self.web.respond(Hook(hook.user, hook.channel, hook.until), response)
            except ApiError as error:
                self.violate(f"{delivery}: acknowledged with {error.error}: {error.more.get('errors')}")
        else:
            self.violate(f"{delivery}: this acknowledgement takes no payload: {response}"[:300])

    def _suggested(self, delivery: Delivery, response: Json) -> None:
        if problems := check_options(response):
            self.violate(f"{delivery}: {problems}")
            return
        groups = response.get("option_groups") or [response]
        delivery.options = [option for group in groups for option in group["options"]]
        if (take := self._on_options.get(delivery.id)) is not None:
            take(delivery.options)

    def _submitted(self, delivery: Delivery, response: Json) -> None:
        view = self.world.views[delivery.payload["view"]["id"]]
        stack = self.world.stacks.get(view.user.id, [])
        action = response.get("response_action")
        wrong = check_view(response.get("view")) if action in ("update", "push") else []
        if action == "errors":
            inputs = {b["block_id"] for b in view.blocks if b["type"] == "input"}
            delivery.errors = response.get("errors") or {}
            wrong = [f"errors: no such input block: {n}" for n in delivery.errors if n not in inputs]
            wrong += [] if delivery.errors else ["errors: missing"]
        elif action not in (None, "clear", "update", "push"):
            wrong = [f"no such response_action: {action}"]
        if wrong:
            self.violate(f"{delivery}: {wrong}")
        elif action == "clear":
            for each in list(stack):
                self.close_view(each)
        elif action == "update":
            self.world.rewrite_view(view, self.web.checked_view(response["view"]))
        elif action == "push":
            self.web.push(stack, self.web.checked_view(response["view"]))
        elif action is None:
            self.close_view(view)

    def close_view(self, view: View) -> None:
        """Take a view from its stack."""
        view.closed = True
        stack = self.world.stacks.get(view.user.id, [])
        if view in stack:
            stack.remove(view)
        self.changed()
