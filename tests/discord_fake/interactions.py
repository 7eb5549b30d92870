"""Interactions: what a person's command, button or form sends, and the handle that shows what the bot made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.discord_fake.world import CHAT_INPUT, CONTEXT_MENU, DM, Channel, Json, Message, Permission, User, walk

if TYPE_CHECKING:
    from tests.discord_fake.fake import FakeDiscord

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 2, 3, 4, 5
_ANSWERS: dict[int, dict[Any, str]] = {
    COMMAND: {4: "message", 5: "deferred", 9: "modal"},
    COMPONENT: {4: "message", 5: "deferred", 6: "deferred_update", 7: "update", 9: "modal"},
    AUTOCOMPLETE: {8: "choices"},
    MODAL: {4: "message", 5: "deferred"},
}
_KINDS: dict[int, type | tuple[type, ...]] = {3: str, 4: int, 5: bool, 10: (int, float)}
GUILD, BOT_DM, PRIVATE = 0, 1, 2


class NotOffered(AssertionError):
    """Discord's own client would not let this person do that."""


@dataclass(eq=False)
class Interaction:
    """One interaction, and what the bot answers. Times are seconds of the fake's clock."""

    fake: FakeDiscord
    id: str
    token: str
    type: int
    user: User
    channel: Channel
    data: Json
    context: int
    created: float
    message: Message | None = None  # the one that the component stands in
    message_type: int = CHAT_INPUT
    outside: bool = False  # user-installed, where the bot is no member
    parent: Interaction | None = None  # what a modal came from
    acknowledgement: str | None = None
    acknowledged_after: float | None = None
    original: Message | None = None
    messages: list[Message] = field(default_factory=list)
    choices: list[Json] | None = None
    modal_form: Json | None = None
    focused_kind: int = 3

    @property
    def age(self) -> float:
        return self.fake.now() - self.created

    @property
    def answers(self) -> dict[Any, str]:
        """The callback types that may answer it, and what they do."""
        if self.type == MODAL and self.message is not None:
            return {**_ANSWERS[MODAL], 6: "deferred_update", 7: "update"}
        return _ANSWERS[self.type]

    @property
    def ephemeral(self) -> bool:
        """Whether its original answer is for this person alone."""
        return self.original is not None and self.original.ephemeral

    @property
    def failed(self) -> bool:
        """The person sees "The application did not respond"."""
        late = self.age > 3 and self.acknowledgement is None
        return late or (self.original is not None and self.original.loading and self.age > 15 * 60)

    @property
    def modal(self) -> Json:
        """The form that the bot opened."""
        assert self.modal_form is not None, f"no modal was opened: {self.acknowledgement}"
        return self.modal_form

    def acknowledge(self, name: str) -> None:
        self.acknowledgement, self.acknowledged_after = name, self.age

    async def acknowledged(self, timeout: float = 5.0) -> str:
        """How the bot took it, as soon as it has."""
        await self.fake.until(lambda: self.acknowledgement, timeout, "the interaction was not acknowledged")
        assert self.acknowledgement is not None
        return self.acknowledgement

    async def reply(self, timeout: float = 5.0) -> Message:
        """The original answer, once it is more than "is thinking…"."""

        def done() -> bool:
            return self.original is not None and not self.original.loading

        await self.fake.until(done, timeout, "the interaction has no answer")
        assert self.original is not None
        return self.original

    async def followup(self, number: int = 1, timeout: float = 5.0) -> Message:
        """The message that is `number` after the original answer (or after nothing: an update has no message of its own)."""

        def later() -> list[Message]:
            return [m for m in self.messages if m is not self.original and not m.loading]

        await self.fake.until(lambda: len(later()) >= number, timeout, f"the interaction has no follow-up {number}")
        return later()[number - 1]

    def metadata(self, original: Message | None = None) -> Json:
        """What a message says about the interaction that it answers."""
        made: Json = {
            "id": self.id,
            "type": self.type,
            "user": self.user.json(),
            "authorizing_integration_owners": self.owners(),
        }
        if original is not None:
            made["original_response_message_id"] = original.id
        if self.type == COMPONENT and self.message is not None:
            made["interacted_message_id"] = self.message.id
        if self.type == MODAL and self.parent is not None:
            made["triggering_interaction_metadata"] = self.parent.metadata()
        return made

    def owners(self) -> Json:
        """Where the app is installed: in the guild ("0"; in its own DMs "0") or with the user."""
        if self.outside or self.context == PRIVATE:
            return {"1": self.user.id}
        return {"0": self.channel.guild.id if self.channel.guild else "0"}

    def json(self) -> Json:
        """The event, as the bot gets it."""
        bot, guild = self.fake.bot, self.channel.guild
        held = self.channel.permissions(self.user)
        mine = self.channel.permissions(bot) if not self.outside else Permission.EMBED_LINKS | Permission.ATTACH_FILES
        channel = self.channel.json(bot)
        if self.channel.type == DM and self.context == PRIVATE:  # a conversation that the bot is not in
            channel["recipients"] = [u.json() for u in self.channel.recipients]
        made: Json = {
            "id": self.id,
            "application_id": bot.id,
            "type": self.type,
            "token": self.token,
            "version": 1,
            "data": self.data,
            "channel_id": self.channel.id,
            "channel": {**channel, "permissions": str(int(held))},
            "app_permissions": str(int(mine)),
            "locale": "en-US",
            "entitlements": [],
            "entitlement_sku_ids": [],
            "authorizing_integration_owners": self.owners(),
            "context": self.context,
            "attachment_size_limit": 10 * 2**20,
        }
        if self.message is not None:
            made["message"] = self.message.json(bot, content=True)
        if guild is None:
            return {**made, "user": self.user.json()}
        member = guild.members[self.user.id].json()
        return {
            **made,
            "guild_id": guild.id,
            "guild": {"id": guild.id, "locale": "en-US", "features": []},
            "guild_locale": "en-US",
            "member": {**member, "permissions": str(int(held))},
        }


def offered(command: Json, user: User, channel: Channel, context: int, *, outside: bool) -> None:
    """NotOffered, if Discord would not show the command there to that user."""
    contexts = command.get("contexts") or [GUILD, BOT_DM, PRIVATE]
    installs = command.get("integration_types") or [0]
    if context not in contexts:
        raise NotOffered(f"/{command['name']} is not offered in this context: {contexts}")
    if (outside or context == PRIVATE) and 1 not in installs:
        raise NotOffered(f"/{command['name']} can't be installed by a user: {installs}")
    needed = command.get("default_member_permissions")
    if needed is not None and channel.guild is not None:
        held = channel.permissions(user)
        if (int(needed) == 0 and Permission.ADMINISTRATOR not in held) or int(needed) & ~int(held):
            raise NotOffered(f"/{command['name']} is not offered to {user.name}: it needs the permissions {needed}")


def nested(path: Sequence[str], command: Json, options: Mapping[str, Any], focused: str | None) -> list[Json]:
    """The options of a command as they are sent: a sub-command is an option that holds its own."""
    if path:
        inner = next((o for o in command.get("options", []) if o["name"] == path[0] and o["type"] in (1, 2)), None)
        if inner is None:
            raise NotOffered(f"/{command['name']} has no sub-command {path[0]!r}")
        return [{"name": path[0], "type": inner["type"], "options": nested(path[1:], inner, options, focused)}]
    known = {o["name"]: o for o in command.get("options", [])}
    if unknown := set(options) - set(known):
        raise NotOffered(f"/{command['name']} has no option {sorted(unknown)}; it has {sorted(known)}")
    missing = [n for n, o in known.items() if o.get("required") and n not in options]
    if missing and focused is None:
        raise NotOffered(f"/{command['name']} needs {missing}")
    made = [_value(known[name], value, checked=focused is None) for name, value in options.items()]
    for option in made:
        if option["name"] == focused:
            if not known[focused].get("autocomplete"):
                raise NotOffered(f"{focused!r} of /{command['name']} has no autocomplete")
            option["focused"] = True
    return made


def _value(option: Json, value: Any, *, checked: bool) -> Json:
    kind = option["type"]
    if kind in (6, 7, 8, 9, 11):
        value = getattr(value, "id", value)
    elif checked and not isinstance(value, _KINDS[kind]):
        raise NotOffered(f"{option['name']!r} is no {_KINDS[kind]}: {value!r}")
    if checked and option.get("choices") and value not in [c["value"] for c in option["choices"]]:
        raise NotOffered(f"{value!r} is no choice of {option['name']!r}")
    length = len(value) if isinstance(value, str) else None
    if checked and kind == 3 and length is not None:
        low, high = option.get("min_length") or 0, option.get("max_length") or 6000
        if not low <= length <= high:
            raise NotOffered(f"{option['name']!r} has {length} characters: {low} to {high} are taken")
    if checked and kind in (4, 10):
        low, high = option.get("min_value"), option.get("max_value")
        if (low is not None and value < low) or (high is not None and value > high):
            raise NotOffered(f"{option['name']!r} is {value}: {low} to {high} are taken")
    return {"name": option["name"], "type": kind, "value": value}


def pressed(message: Message, custom_id: str, values: Sequence[str]) -> Json:
    """What a click on a component sends."""
    part = next((c for c in walk(message.components) if c.get("custom_id") == custom_id), None)
    if part is None or part.get("disabled"):
        raise NotOffered(f"no component {custom_id!r} to use; there are {message.custom_ids}")
    data: Json = {"custom_id": custom_id, "component_type": part["type"], "id": part.get("id", 1)}
    if part["type"] == 2:
        return data
    known = [o["value"] for o in part.get("options", [])]
    low, high = part.get("min_values", 1), part.get("max_values", 1)
    if part["type"] == 3 and (not set(values) <= set(known) or not low <= len(values) <= high):
        raise NotOffered(f"{list(values)} can't be chosen from {known}")
    return {**data, "values": [getattr(v, "id", v) for v in values]}


def filled(form: Json, values: Mapping[str, Any]) -> list[Json]:
    """A modal's components, as they are sent when it is submitted."""
    inputs = {c["custom_id"]: c for c in walk(form["components"]) if "custom_id" in c}
    if unknown := set(values) - set(inputs):
        raise NotOffered(f"the form has no field {sorted(unknown)}; it has {sorted(inputs)}")
    return [_row(part, values) for part in form["components"]]


def _row(part: Json, values: Mapping[str, Any]) -> Json:
    if part["type"] == 10:
        return {"type": 10, "id": 1}
    if part["type"] == 18:
        return {"type": 18, "id": 1, "component": _field(part["component"], values)}
    return {"type": 1, "id": 1, "components": [_field(c, values) for c in part["components"]]}


def _field(part: Json, values: Mapping[str, Any]) -> Json:
    name = part["custom_id"]
    if part["type"] == 4:
        text = values.get(name, part.get("value") or "")
        low = part.get("min_length") or int(part.get("required", True))
        if not low <= len(text) <= (part.get("max_length") or 4000) and (text or part.get("required", True)):
            raise NotOffered(f"{name!r} takes {low} to {part.get('max_length') or 4000} characters, not {len(text)}")
        return {"type": 4, "id": 2, "custom_id": name, "value": text}
    chosen = [getattr(v, "id", v) for v in values.get(name, [])]
    return {"type": part["type"], "id": 2, "custom_id": name, "values": chosen}


def menu_type(kind: int) -> int:
    """The type of the message that answers a command of this type."""
    return CHAT_INPUT if kind == 1 else CONTEXT_MENU
