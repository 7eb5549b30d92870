"""People, channels, messages, files and views, as Slack describes them in JSON."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = dict[str, Any]

TEAM, DOMAIN = "T0FAKETEAM", "harbour"
PUBLIC, PRIVATE, IM, MPIM = "channel", "group", "im", "mpim"  # what events call them
_PREFIXES = {PUBLIC: "C", PRIVATE: "G", IM: "D", MPIM: "G"}
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LIVE = "streaming"


class Ids:
    """Ids as Slack makes them; no two are the same."""

    def __init__(self) -> None:
        self._count = itertools.count(36**7)

    def __call__(self, prefix: str) -> str:
        number, made = next(self._count), ""
        while number:
            number, digit = divmod(number, 36)
            made = _BASE36[digit] + made
        return f"{prefix}0{made}"


class Edit(NamedTuple):
    """What a message was before."""

    at: float
    text: str
    blocks: list[Json]


class Button(NamedTuple):
    """Anything in a message or view that a person can press or choose from."""

    action_id: str
    block_id: str
    element: Json

    @property
    def label(self) -> str:
        text = self.element.get("text") or self.element.get("placeholder") or {}
        return text.get("text", "")


def elements_of(blocks: list[Json]) -> Iterator[tuple[Json, Json]]:
    """Each block and an element of it."""
    for block in blocks:
        inside = [*(block.get("elements") or []), block.get("accessory"), block.get("element")]
        yield from ((block, element) for element in inside if isinstance(element, dict))
        yield from elements_of(block.get("child_blocks") or [])


def buttons_of(blocks: list[Json]) -> list[Button]:
    """What can be pressed, in reading order; the two halves of feedback buttons are one."""
    return [Button(e["action_id"], b.get("block_id", ""), e) for b, e in elements_of(blocks) if e.get("action_id")]


@dataclass(eq=False)
class User:
    id: str
    name: str
    is_bot: bool = False
    is_admin: bool = False
    team_id: str = TEAM
    bot_id: str = ""
    app_id: str = ""
    deleted: bool = False
    tz: str = "Europe/Berlin"
    locale: str = "en-US"

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"

    def json(self, *, locale: bool = False) -> Json:
        profile = {"real_name": self.name, "display_name": self.name.lower(), "team": self.team_id}
        if self.is_bot:
            profile |= {"bot_id": self.bot_id, "api_app_id": self.app_id}
        made = {
            "id": self.id,
            "team_id": self.team_id,
            "name": self.name.lower(),
            "real_name": self.name,
            "deleted": self.deleted,
            "tz": self.tz,
            "tz_offset": 3600,
            "profile": profile,
            "is_admin": self.is_admin,
            "is_owner": False,
            "is_bot": self.is_bot,
            "is_app_user": False,
            "is_restricted": False,
            "updated": 1_700_000_000,
        }
        return {**made, "locale": self.locale} if locale else made

    def bot_profile(self) -> Json:
        made = {"id": self.bot_id, "app_id": self.app_id, "name": self.name, "deleted": self.deleted}
        return {**made, "team_id": self.team_id, "updated": 1_700_000_000, "icons": {}}


@dataclass(eq=False)
class File:
    id: str
    name: str
    length: int
    alt: str = ""
    title: str = ""
    data: bytes | None = None
    shared: bool = False
    user: str = ""

    def json(self) -> Json:
        kind = self.name.rpartition(".")[2]
        made = {
            "id": self.id,
            "name": self.name,
            "title": self.title or self.name,
            "size": self.length,
            "user": self.user,
        }
        return {**made, "filetype": kind, "alt_txt": self.alt, "mode": "hosted", "is_external": False}


@dataclass(eq=False)
class Message:
    ts: str
    channel: Channel
    user: User
    text: str = ""
    blocks: list[Json] = field(default_factory=list)
    thread_ts: str | None = None
    subtype: str | None = None
    markdown: bool = False  # `text` is Markdown (markdown_text, or streamed), not mrkdwn
    parse: str = "none"
    link_names: bool = False
    attachments: list[Json] = field(default_factory=list)
    metadata: Json | None = None
    only_for: User | None = None
    edits: list[Edit] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    reactions: list[tuple[str, str]] = field(default_factory=list)  # name, user
    username: str | None = None
    edited: Json | None = None
    deleted: bool = False
    stream: str | None = None
    pieces: list[str] = field(default_factory=list)
    tasks: dict[str, Json] = field(default_factory=dict)
    plan: str | None = None
    unconfirmed: bool = False  # it came by a response URL that then failed: the bot can't know of it
    more: Json = field(default_factory=dict)

    @property
    def buttons(self) -> list[Button]:
        return buttons_of(self.blocks)

    @property
    def replies(self) -> list[Message]:
        return [m for m in self.channel.messages if m.thread_ts == self.ts and m is not self]

    @property
    def root(self) -> str:
        """The ts of its thread."""
        return self.thread_ts or self.ts

    def json(self) -> Json:
        made: Json = {"type": "message", "user": self.user.id, "ts": self.ts, "text": self.text, **self.more}
        made["team"] = self.user.team_id
        if self.subtype:
            made["subtype"] = self.subtype
        if self.user.is_bot:
            made |= {"bot_id": self.user.bot_id, "app_id": self.user.app_id, "bot_profile": self.user.bot_profile()}
        if self.subtype == "bot_message":
            del made["user"]
            made["username"] = self.user.name
        if self.blocks:
            made["blocks"] = self.blocks
        if self.attachments:
            made["attachments"] = self.attachments
        if self.files:
            made |= {"files": [f.json() for f in self.files], "upload": False}
        if self.edited:
            made["edited"] = self.edited
        if self.reactions:
            names = dict.fromkeys(name for name, _ in self.reactions)
            made["reactions"] = [
                {
                    "name": n,
                    "users": [u for m, u in self.reactions if m == n],
                    "count": sum(m == n for m, _ in self.reactions),
                }
                for n in names
            ]
        return made | self._thread()

    def _thread(self) -> Json:
        if self.thread_ts and self.thread_ts != self.ts:
            root = self.channel.find(self.thread_ts, deleted=True)
            return {"thread_ts": self.thread_ts} | ({"parent_user_id": root.user.id} if root else {})
        replies = self.replies
        if not replies:
            return {"thread_ts": self.ts} if self.thread_ts else {}
        users = list(dict.fromkeys(m.user.id for m in replies))
        counts = {"reply_count": len(replies), "reply_users": users, "reply_users_count": len(users)}
        return {"thread_ts": self.ts, "latest_reply": replies[-1].ts, "subscribed": False, **counts}


@dataclass(eq=False)
class Channel:
    id: str
    name: str
    kind: str
    members: list[User]
    created: int
    archived: bool = False
    all: list[Message] = field(default_factory=list)
    ephemerals: list[Message] = field(default_factory=list)

    @property
    def mention(self) -> str:
        return f"<#{self.id}>"

    @property
    def messages(self) -> list[Message]:
        """What stands there, oldest first, replies too."""
        return [m for m in self.all if not m.deleted]

    @property
    def deleted(self) -> list[Message]:
        return [m for m in self.all if m.deleted]

    def find(self, ts: str | None, *, deleted: bool = False) -> Message | None:
        return next((m for m in self.all if m.ts == ts and (deleted or not m.deleted)), None)

    def thread(self, ts: str | Message) -> list[Message]:
        """A thread's messages, the root first."""
        root = ts.root if isinstance(ts, Message) else ts
        return [m for m in self.messages if m.root == root]

    def json(self, viewer: User, *, members: bool = False) -> Json:
        made: Json = {
            "id": self.id,
            "name": self.name,
            "name_normalized": self.name,
            "created": self.created,
            "updated": self.created * 1000,
            "context_team_id": TEAM,
            "is_channel": self.kind == PUBLIC,
            "is_group": self.kind == PRIVATE,
            "is_im": self.kind == IM,
            "is_mpim": self.kind == MPIM,
            "is_private": self.kind != PUBLIC,
            "is_archived": self.archived,
            "is_member": viewer in self.members,
            "is_general": self.name == "general",
            "is_shared": False,
            "is_ext_shared": False,
            "is_org_shared": False,
        }
        if self.kind == IM:
            other = next((m for m in self.members if m is not viewer), viewer)
            made = {k: made[k] for k in ("id", "created", "is_im", "is_archived", "is_org_shared", "context_team_id")}
            made |= {"user": other.id, "is_user_deleted": other.deleted, "is_open": True}
        if members:
            made["num_members"] = len(self.members)
        return made


@dataclass(eq=False)
class View:
    id: str
    user: User
    content: Json  # as the bot wrote it
    hash: str
    root_id: str = ""
    previous_id: str | None = None
    closed: bool = False
    updates: int = 0
    published: int = 0

    @property
    def type(self) -> str:
        return self.content["type"]

    @property
    def blocks(self) -> list[Json]:
        return self.content.get("blocks") or []

    @property
    def title(self) -> str:
        return (self.content.get("title") or {}).get("text", "")

    @property
    def buttons(self) -> list[Button]:
        return buttons_of(self.blocks)

    def json(self, bot: User, state: Json | None = None) -> Json:
        names = "title close submit".split()
        return {
            "id": self.id,
            "team_id": TEAM,
            "type": self.type,
            "blocks": self.blocks,
            "private_metadata": self.content.get("private_metadata", ""),
            "callback_id": self.content.get("callback_id", ""),
            "state": {"values": state or {}},
            "hash": self.hash,
            **{n: self.content.get(n) for n in names if self.type == "modal"},
            "clear_on_close": bool(self.content.get("clear_on_close")),
            "notify_on_close": bool(self.content.get("notify_on_close")),
            "external_id": self.content.get("external_id", ""),
            "previous_view_id": self.previous_id,
            "root_view_id": self.root_id or self.id,
            "app_id": bot.app_id,
            "app_installed_team_id": TEAM,
            "bot_id": bot.bot_id,
        }


class World:
    """Everything in one workspace, by id."""

    def __init__(self, now: Callable[[], float], bot_name: str) -> None:
        self.now = now
        self.new_id = Ids()
        self._last = 0
        self.users: dict[str, User] = {}
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, File] = {}
        self.views: dict[str, View] = {}
        self.homes: dict[str, View] = {}  # by user
        self.stacks: dict[str, list[View]] = {}  # by user: the modals they see, the top last
        self.bot = self.user(bot_name, bot=True)

    def ts(self) -> str:
        """A timestamp that no other message has; later ones are greater."""
        self._last = max(int(self.now() * 1e6), self._last + 100)
        return f"{self._last // 10**6}.{self._last % 10**6:06d}"

    def user(self, name: str, *, bot: bool = False, admin: bool = False, team: str = TEAM) -> User:
        made = User(self.new_id("U"), name, bot, admin, team)
        if bot:
            made.bot_id, made.app_id = self.new_id("B"), self.new_id("A")
        self.users[made.id] = made
        return made

    def channel(self, name: str, kind: str, members: list[User]) -> Channel:
        made = Channel(self.new_id(_PREFIXES[kind]), name, kind, members, int(self.now()))
        self.channels[made.id] = made
        return made

    def im(self, user: User) -> Channel:
        """The conversation of somebody with the bot."""
        return self._private(IM, [user, self.bot], "")

    def mpim(self, users: list[User]) -> Channel:
        names = "--".join(u.name.lower() for u in users)
        return self._private(MPIM, users, f"mpdm-{names}-1")

    def _private(self, kind: str, people: list[User], name: str) -> Channel:
        wanted = {u.id for u in people}
        for channel in self.channels.values():
            if channel.kind == kind and {u.id for u in channel.members} == wanted:
                return channel
        return self.channel(name, kind, people)

    def post(self, channel: Channel, user: User, text: str, **more: Any) -> Message:
        """A new message that nobody has been told of; `only_for` makes it ephemeral."""
        made = Message(self.ts(), channel, user, text, **more)
        (channel.ephemerals if made.only_for else channel.all).append(made)
        return made

    def new_view(self, user: User, content: Json, root: View | None = None, below: View | None = None) -> View:
        made = View(self.new_id("V"), user, content, self._hash(), root.id if root else "", below.id if below else None)
        self.views[made.id] = made
        return made

    def rewrite_view(self, view: View, content: Json) -> None:
        view.content, view.hash = content, self._hash()
        view.updates += 1

    def _hash(self) -> str:
        return f"{int(self.now())}.{self.new_id('').lower()}"
