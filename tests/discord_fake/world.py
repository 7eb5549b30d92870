"""People, guilds, channels and messages, as Discord describes them in JSON."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntFlag
from typing import Any, NamedTuple

Json = dict[str, Any]

EPOCH = 1_420_070_400_000  # ms: the first second of 2015, where snowflakes begin
TEXT, DM, NEWS, NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD = 0, 1, 5, 10, 11, 12
THREADS = (NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD)
REPLY, THREAD_CREATED, THREAD_STARTER, CHAT_INPUT, CONTEXT_MENU = 19, 18, 21, 20, 23
HAS_THREAD, EPHEMERAL, LOADING, COMPONENTS_V2 = 1 << 5, 1 << 6, 1 << 7, 1 << 15

_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_EVERYONE = re.compile(r"@(?:everyone|here)")


class Permission(IntFlag):
    """What Discord calls them, for those that a chat bot meets."""

    ADMINISTRATOR = 1 << 3
    MANAGE_CHANNELS = 1 << 4
    MANAGE_GUILD = 1 << 5
    ADD_REACTIONS = 1 << 6
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    CREATE_PRIVATE_THREADS = 1 << 36
    SEND_MESSAGES_IN_THREADS = 1 << 38


EVERYTHING, NOTHING = Permission(sum(Permission)), Permission(0)
MEMBER = (
    Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.ADD_REACTIONS
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.CREATE_PUBLIC_THREADS
    | Permission.SEND_MESSAGES_IN_THREADS
)


class Snowflakes:
    """Ids that grow with time; no two are the same."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self, age: float = 0.0) -> str:
        made = int(time.time() * 1000 - age * 1000 - EPOCH) << 22
        if age:
            return str(made | 1)
        self._last = max(made, self._last + 1)
        return str(self._last)


def moment(snowflake: str) -> str:
    """When a snowflake was made, ISO 8601."""
    return iso(((int(snowflake) >> 22) + EPOCH) / 1000)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@dataclass(eq=False)
class User:
    id: str
    name: str
    bot: bool = False
    takes_dms: bool = True

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"

    def json(self) -> Json:
        return {
            "id": self.id,
            "username": self.name,
            "discriminator": "0",
            "global_name": None if self.bot else self.name.capitalize(),
            "avatar": None,
            "bot": self.bot,
            "public_flags": 0,
            "flags": 0,
        }


@dataclass(eq=False)
class Role:
    id: str
    name: str
    permissions: Permission
    position: int

    @property
    def mention(self) -> str:
        return f"<@&{self.id}>"

    def json(self) -> Json:
        return {
            "id": self.id,
            "name": self.name,
            "permissions": str(int(self.permissions)),
            "position": self.position,
            "color": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "managed": False,
            "mentionable": False,
            "flags": 0,
        }


@dataclass(eq=False)
class Member:
    user: User
    roles: list[Role] = field(default_factory=list)
    nick: str | None = None

    def json(self, *, user: bool = True) -> Json:
        made: Json = {
            "roles": [role.id for role in self.roles],
            "nick": self.nick,
            "avatar": None,
            "joined_at": "2024-01-01T00:00:00+00:00",
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "flags": 0,
            "pending": False,
            "communication_disabled_until": None,
        }
        return {**made, "user": self.user.json()} if user else made


@dataclass(eq=False)
class Guild:
    id: str
    name: str
    owner: User
    everyone: Role
    roles: list[Role] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    channels: list[Channel] = field(default_factory=list)

    def permissions(self, user: User) -> Permission:
        """Of a member, whatever the channel."""
        if user is self.owner:
            return EVERYTHING
        member = self.members.get(user.id)
        if member is None:
            return Permission(0)
        base = self.everyone.permissions
        for role in member.roles:
            base |= role.permissions
        return EVERYTHING if Permission.ADMINISTRATOR in base else base

    def json(self, viewer: User) -> Json:
        """As GUILD_CREATE has it: all channels, even hidden ones, threads that `viewer` may see, and no member but them."""
        threads = [c for c in self.channels if c.type in THREADS and not c.archived]
        seen = [c for c in threads if Permission.VIEW_CHANNEL in c.permissions(viewer)]
        return {
            "id": self.id,
            "name": self.name,
            "owner_id": self.owner.id,
            "icon": None,
            "splash": None,
            "discovery_splash": None,
            "banner": None,
            "description": None,
            "region": "deprecated",
            "afk_channel_id": None,
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 1,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "premium_tier": 0,
            "premium_subscription_count": 0,
            "preferred_locale": "en-US",
            "features": [],
            "emojis": [],
            "stickers": [],
            "roles": [role.json() for role in (self.everyone, *self.roles)],
            "application_id": None,
            "system_channel_id": None,
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "public_updates_channel_id": None,
            "vanity_url_code": None,
            "incidents_data": None,
            "joined_at": "2024-01-01T00:00:00+00:00",
            "large": False,
            "unavailable": False,
            "member_count": len(self.members),
            "members": [self.members[viewer.id].json()] if viewer.id in self.members else [],
            "channels": [c.json(viewer) for c in self.channels if c.type not in THREADS],
            "threads": [c.json(viewer) for c in seen],
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }


@dataclass(eq=False)
class Channel:
    """A text channel, a direct conversation or a thread."""

    id: str
    name: str
    type: int = TEXT
    guild: Guild | None = None
    parent: Channel | None = None
    overwrites: dict[str, tuple[int, Permission, Permission]] = field(default_factory=dict)  # id: type, allow, deny
    recipients: list[User] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)
    owner: User | None = None
    archived: bool = False
    locked: bool = False
    archive_after: int = 1440
    joined: dict[str, str] = field(default_factory=dict)  # members of a thread and when they joined

    @property
    def mention(self) -> str:
        return f"<#{self.id}>"

    def permissions(self, user: User) -> Permission:
        """Roles, then the overwrites: everyone's, the roles', the member's."""
        if self.parent is not None:
            return self.parent.permissions(user)
        if self.guild is None:
            return MEMBER if user in self.recipients else Permission(0)
        base = self.guild.permissions(user)
        if user.id not in self.guild.members or Permission.ADMINISTRATOR in base:
            return base
        held = {role.id for role in self.guild.members[user.id].roles}
        for ids in ({self.guild.id}, held, {user.id}):
            chosen = [o for whose, o in self.overwrites.items() if whose in ids]
            for _, _, deny in chosen:
                base &= ~deny
            for _, allow, _ in chosen:
                base |= allow
        return base if Permission.VIEW_CHANNEL in base else Permission(0)

    def json(self, viewer: User) -> Json:
        last = next(reversed(self.messages), None)
        if self.type == DM:
            others = [u.json() for u in self.recipients if u is not viewer]
            return {"id": self.id, "type": DM, "last_message_id": last, "flags": 0, "recipients": others}
        assert self.guild is not None
        made: Json = {
            "id": self.id,
            "type": self.type,
            "guild_id": self.guild.id,
            "name": self.name,
            "parent_id": self.parent.id if self.parent else None,
            "last_message_id": last,
            "rate_limit_per_user": 0,
            "nsfw": False,
            "flags": 0,
        }
        if self.type not in THREADS:
            return {
                **made,
                "position": self.guild.channels.index(self) if self in self.guild.channels else 0,
                "topic": None,
                "permission_overwrites": [
                    {"id": whose, "type": kind, "allow": str(int(allow)), "deny": str(int(deny))}
                    for whose, (kind, allow, deny) in self.overwrites.items()
                ],
            }
        assert self.owner is not None
        made |= {
            "owner_id": self.owner.id,
            "member_count": len(self.joined),
            "message_count": len(self.messages),
            "total_message_sent": len(self.messages),
            "thread_metadata": {
                "archived": self.archived,
                "locked": self.locked,
                "auto_archive_duration": self.archive_after,
                "archive_timestamp": moment(self.id),
                "create_timestamp": moment(self.id),
            },
        }
        return {**made, "member": self.thread_member(viewer)} if viewer.id in self.joined else made

    def thread_member(self, user: User) -> Json:
        return {"id": self.id, "user_id": user.id, "join_timestamp": self.joined[user.id], "flags": 0}


class State(NamedTuple):
    """A message as it stood from a time on (seconds of the fake's clock)."""

    at: float
    content: str


@dataclass(eq=False)
class Message:
    id: str
    channel: Channel
    author: User
    content: str
    type: int = 0
    flags: int = 0
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    reply_to: Message | None = None
    reference: Json | None = None
    mentions: list[User] = field(default_factory=list)
    mention_roles: list[Role] = field(default_factory=list)
    mention_everyone: bool = False
    pings: list[str] = field(default_factory=list)  # what was really notified: user and role ids, "everyone"
    edits: list[State] = field(default_factory=list)  # every state, the first included
    edited: str | None = None
    deleted: bool = False
    only_for: User | None = None  # ephemeral
    webhook: bool = False
    nonce: Any = None
    thread: Channel | None = None
    interaction: Json | None = None
    application_id: str | None = None

    @property
    def ephemeral(self) -> bool:
        return self.only_for is not None

    @property
    def loading(self) -> bool:
        """The bot "is thinking": deferred, without a text yet."""
        return bool(self.flags & LOADING)

    @property
    def custom_ids(self) -> list[str]:
        return [part["custom_id"] for part in walk(self.components) if "custom_id" in part]

    @property
    def labels(self) -> list[str]:
        """Of its buttons, in order."""
        return [part["label"] for part in walk(self.components) if part.get("label")]

    def button(self, label: str) -> str:
        """The custom_id of the button that says `label`."""
        return next(part["custom_id"] for part in walk(self.components) if part.get("label") == label)

    def readable(self, viewer: User, *, allowed: bool) -> bool:
        """Whether an app may see what stands in it: with the message-content intent, in DMs, its own, and mentions."""
        return allowed or self.channel.guild is None or self.author is viewer or viewer in self.mentions

    def json(self, viewer: User, *, content: bool, event: bool = False, quoted: bool = True) -> Json:
        """As `viewer`, who has the message-content intent or not, gets it; an event has the guild and the member."""
        guild = self.channel.guild
        shown = self.readable(viewer, allowed=content)
        member = guild.members.get(self.author.id) if guild else None
        made: Json = {
            "id": self.id,
            "channel_id": self.channel.id,
            "type": self.type,
            "author": self.author.json(),
            "content": self.content if shown else "",
            "embeds": self.embeds if shown else [],
            "attachments": self.attachments if shown else [],
            "components": self.components if shown else [],
            "timestamp": moment(self.id),
            "edited_timestamp": self.edited,
            "tts": False,
            "pinned": False,
            "flags": self.flags,
            "mention_everyone": self.mention_everyone,
            "mentions": [_mentioned(user, guild) for user in self.mentions],
            "mention_roles": [role.id for role in self.mention_roles],
        }
        if self.nonce is not None:
            made["nonce"] = self.nonce
        if self.webhook:
            made["webhook_id"] = self.author.id
        if self.application_id is not None:
            made["application_id"] = self.application_id
        if self.interaction is not None:
            made["interaction_metadata"] = self.interaction
        if self.thread is not None:
            made["thread"] = self.thread.json(viewer)
        if self.reference is not None:
            made["message_reference"] = self.reference
            if quoted and self.type != THREAD_CREATED:
                there = self.reply_to is not None and not self.reply_to.deleted
                made["referenced_message"] = (
                    self.reply_to.json(viewer, content=content, quoted=False) if self.reply_to and there else None
                )
        if event and guild is not None:
            made["guild_id"] = guild.id
            if member is not None and not self.webhook:
                made["member"] = member.json(user=False)
        return made


def _mentioned(user: User, guild: Guild | None) -> Json:
    member = guild.members.get(user.id) if guild else None
    return {**user.json(), "member": member.json(user=False)} if member else user.json()


def walk(components: list[Json]) -> list[Json]:
    """All components, however deep."""
    found: list[Json] = []
    for part in components:
        found.append(part)
        inner = [*part.get("components", []), *(part[key] for key in ("component", "accessory") if key in part)]
        found.extend(walk(inner))
    return found


class Mentions(NamedTuple):
    """Whom a text names."""

    users: list[str]
    roles: list[str]
    everyone: bool


def mentions(text: str) -> Mentions:
    users, roles = dict.fromkeys(_USER.findall(text)), dict.fromkeys(_ROLE.findall(text))
    return Mentions(list(users), list(roles), bool(_EVERYONE.search(text)))
