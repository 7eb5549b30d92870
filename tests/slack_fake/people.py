"""What people do in Slack's client, and what the app is told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.slack_fake.deliveries import COMMAND, INTERACTIVE, Delivery
from tests.slack_fake.world import (
    DOMAIN,
    IM,
    LIVE,
    PUBLIC,
    TEAM,
    Button,
    Channel,
    Edit,
    File,
    Json,
    Message,
    User,
    View,
)

if TYPE_CHECKING:
    from tests.slack_fake.fake import FakeSlack

_MENTION = re.compile(r"<@(\w+)>")
_ONE, _MANY = (
    "static_select external_select radio_buttons overflow".split(),
    "checkboxes multi_static_select multi_external_select".split(),
)
_NAMED = {
    f"{many}{kind}s_select": f"{kind}{'s' if many else ''}"
    for many in ("", "multi_")
    for kind in ("user", "channel", "conversation")
}
_CHOSEN = {  # what an element's state is called, and the element's initial one
    **dict.fromkeys(
        [f"{kind}_input" for kind in ("plain_text", "number", "email_text", "url_text")], ("value", "initial_value")
    ),
    **dict.fromkeys(_ONE, ("selected_option", "initial_option")),
    **dict.fromkeys(_MANY, ("selected_options", "initial_options")),
    **{kind: (f"selected_{name}", f"initial_{name}") for kind, name in _NAMED.items()},
    **{f"{name}picker": (f"selected_{name}", f"initial_{name}") for name in ("date", "time")},
}


class NotOffered(AssertionError):
    """Slack's client does not let a person do that."""


@dataclass(eq=False)
class AgentThread:
    """A conversation in the agent's pane. `ts` is None in the agent view until the person says something."""

    person: Person
    channel: Channel
    ts: str | None

    async def say(self, text: str) -> Message:
        said = await self.person.say(self.channel, text, thread=self.ts)
        self.ts = said.root
        return said

    @property
    def title(self) -> str | None:
        return self.person.fake.titles.get((self.channel.id, self.ts))

    @property
    def prompts(self) -> list[Json]:
        return self.person.fake.prompts.get((self.channel.id, self.ts), [])

    @property
    def status(self) -> str:
        return self.person.fake.status(self.channel, str(self.ts))


class Person:
    """Somebody at the keyboard (or another bot). See the package's docstring."""

    def __init__(self, fake: FakeSlack, user: User) -> None:
        self.fake, self.user = fake, user
        self._suggested: dict[str, list[Json]] = {}

    @property
    def id(self) -> str:
        return self.user.id

    @property
    def mention(self) -> str:
        return self.user.mention

    @property
    def dm(self) -> Channel:
        return self.fake.world.im(self.user)

    @property
    def modal(self) -> View | None:
        """What lies on top."""
        stack = self.fake.world.stacks.get(self.id)
        return stack[-1] if stack else None

    # Messages

    async def say(
        self,
        channel: Channel,
        text: str,
        thread: str | Message | None = None,
        *,
        broadcast: bool = False,
        files: Sequence[str] = (),
        legacy: bool = False,
    ) -> Message:
        """`files`: names of uploads; `legacy`: as an incoming webhook, without a user."""
        self._in(channel)
        if channel.archived:
            raise NotOffered(f"{channel.name} is archived")
        root = thread.root if isinstance(thread, Message) else thread
        subtype = "thread_broadcast" if broadcast else "file_share" if files else "bot_message" if legacy else None
        message = self.fake.world.post(channel, self.user, text, thread_ts=root, subtype=subtype)
        if not self.user.is_bot:
            message.more["client_msg_id"] = self.fake.world.new_id("").lower()
        message.blocks = _typed(text, self.fake.world.new_id("").lower()[-5:])
        for name in files:
            made = File(self.fake.world.new_id("F"), name, 1, user=self.id, data=b"-", shared=True)
            self.fake.world.files[made.id] = made
            message.files.append(made)
        await self.fake.tell_message(message, mentioned=bool(re.search(rf"<@{self.fake.bot.id}[|>]", text)))
        return message

    async def edit(self, message: Message, text: str) -> None:
        self._wrote(message)
        before = message.json()
        message.edits.append(Edit(self.fake.now(), message.text, message.blocks))
        message.text, message.blocks = text, _typed(text, message.blocks[0]["block_id"])
        message.edited = {"user": self.id, "ts": self.fake.world.ts()}
        await self.fake.tell_changed(message, before)

    async def delete(self, message: Message) -> None:
        self._wrote(message)
        message.deleted = True
        await self.fake.tell_deleted(message)

    def _wrote(self, message: Message) -> None:
        if message.user is not self.user or message.deleted:
            raise NotOffered(f"not {self.user.name}'s message: {message.text!r}")

    def _in(self, channel: Channel) -> None:
        if self.user not in channel.members:
            raise NotOffered(f"{self.user.name} is not in {channel.name or 'this conversation'}")

    # Commands and shortcuts

    async def command(self, command: str, text: str = "", channel: Channel | None = None) -> Delivery:
        channel = channel or self.fake.general
        self._in(channel)
        if command not in self.fake.commands or "commands" not in self.fake.scopes:
            raise NotOffered(f"no such command: {command}")
        names = {IM: "directmessage", PUBLIC: channel.name}
        payload = {
            "token": self.fake.verification_token,
            "team_id": TEAM,
            "team_domain": DOMAIN,
            "channel_id": channel.id,
            "channel_name": names.get(channel.kind, "privategroup"),
            "user_id": self.id,
            "user_name": self.user.name.lower(),
            "command": command,
            "text": text.strip(),
            "api_app_id": self.fake.app_id,
            "is_enterprise_install": "false",
            "response_url": self.fake.web.new_hook(self.user, channel, None),
            "trigger_id": self.fake.web.new_trigger(self.user),
        }
        return await self.fake.mail.send(COMMAND, payload)

    async def shortcut(self, message: Message | None, callback_id: str) -> Delivery:
        """Of a message's menu, or (None) of the global one."""
        if callback_id not in self.fake.shortcuts or "commands" not in self.fake.scopes:
            raise NotOffered(f"no such shortcut: {callback_id}")
        payload = self._interaction("shortcut" if message is None else "message_action")
        payload |= {"callback_id": callback_id, "action_ts": self.fake.world.ts()}
        if message is not None:
            self._in(message.channel)
            payload |= self._where(message) | {"message_ts": message.ts, "message": message.json()}
            payload["response_url"] = self.fake.web.new_hook(self.user, message.channel, None)
        return await self.fake.mail.send(INTERACTIVE, payload)

    def _interaction(self, kind: str, view: View | None = None) -> Json:
        return {
            "type": kind,
            "token": self.fake.verification_token,
            "team": {"id": TEAM, "domain": DOMAIN},
            "user": {
                "id": self.id,
                "username": self.user.name.lower(),
                "name": self.user.name.lower(),
                "team_id": self.user.team_id,
            },
            "api_app_id": self.fake.app_id,
            "enterprise": None,
            "is_enterprise_install": False,
            "trigger_id": self.fake.web.new_trigger(self.user, view),
        }

    def _where(self, message: Message) -> Json:
        names = {IM: "directmessage", PUBLIC: message.channel.name}
        return {"channel": {"id": message.channel.id, "name": names.get(message.channel.kind, "privategroup")}}

    # Buttons and menus

    async def click(
        self, target: Message | View, action_id: str, choose: Any = None, *, block_id: str | None = None
    ) -> Delivery:
        """Press a button or choose from a menu: `choose` is an option's value (a list of them for several), an id, or
        "positive" and "negative" of feedback buttons."""
        button = self._button(target, action_id, block_id)
        action = {"action_id": action_id, "block_id": button.block_id, "action_ts": self.fake.world.ts()}
        action |= self._pressed(button.element, choose)
        payload = self._interaction("block_actions", target if isinstance(target, View) else None)
        payload |= self._container(target) | {"actions": [action]}
        name = _CHOSEN.get(button.element["type"], ("",))[0]
        state = {button.block_id: {action_id: {"type": action["type"], name: action[name]}}} if name in action else {}
        payload["state"] = {"values": state}
        if isinstance(target, Message):
            payload["response_url"] = self.fake.web.new_hook(self.user, target.channel, target)
        return await self.fake.mail.send(INTERACTIVE, payload)

    async def suggest(self, target: Message | View, action_id: str, text: str) -> Delivery:
        """Type into a menu whose options the app looks up; they are in the delivery's `options` then."""
        button = self._button(target, action_id, None)
        if "external_select" not in button.element["type"] or len(text) < button.element.get("min_query_length", 3):
            raise NotOffered(f"{action_id} asks nobody about {text!r}")
        payload = self._interaction("block_suggestion") | self._container(target)
        payload |= {"action_id": action_id, "block_id": button.block_id, "value": text}
        del payload["trigger_id"]
        sent = await self.fake.mail.send(INTERACTIVE, payload)
        self.fake.on_options(sent, lambda options: self._suggested.__setitem__(action_id, options))
        return sent

    def _button(self, target: Message | View, action_id: str, block_id: str | None) -> Button:
        if isinstance(target, Message):
            self._in(target.channel)
        hidden = (
            target.closed or target.user is not self.user
            if isinstance(target, View)
            else target.deleted or (target.only_for is not None and target.only_for is not self.user)
        )
        for button in [] if hidden else target.buttons:
            if button.action_id == action_id and block_id in (None, button.block_id):
                if self.id not in button.element.get("visible_to_user_ids", [self.id]):
                    break
                return button
        raise NotOffered(f"{self.user.name} sees no {action_id}: {[b.action_id for b in target.buttons]}")

    def _container(self, target: Message | View) -> Json:
        if isinstance(target, View):
            return {"container": {"type": "view", "view_id": target.id}, "view": target.json(self.fake.bot)}
        place = {"type": "message", "message_ts": target.ts, "channel_id": target.channel.id}
        place["is_ephemeral"] = target.only_for is not None
        if target.thread_ts:
            place["thread_ts"] = target.thread_ts
        shown = {} if target.only_for else {"message": target.json()}
        return {"container": place, **self._where(target), **shown}

    def _pressed(self, element: Json, choose: Any) -> Json:
        kind = element["type"]
        if kind in _CHOSEN:
            return {"type": kind, **self._state(element, choose)}
        if kind == "feedback_buttons":
            halves = {name: element[f"{name}_button"] for name in ("positive", "negative")}
            half = halves.get(choose) or next((h for h in halves.values() if h["value"] == choose), None)
            if half is None:
                raise NotOffered(f"positive or negative, not {choose!r}")
            return {"type": kind, "text": half["text"], "value": half["value"]}
        return {"type": kind, **{n: element[n] for n in ("text", "value", "style", "url") if n in element}}

    def _state(self, element: Json, choose: Any) -> Json:
        """An element's state, with what was chosen in the form that Slack tells it in."""
        name, initial = _CHOSEN[element["type"]]
        if choose is None:
            return {name: element.get(initial)}
        if name == "selected_option":
            choose = self._option(element, choose)
        elif name == "selected_options":
            choose = [self._option(element, one) for one in choose]
        elif name == "value" and not (
            int(element.get("min_length") or 0) <= len(str(choose)) <= int(element.get("max_length") or 3000)
        ):
            raise NotOffered(f"too long or too short for {element['action_id']}: {choose!r}")
        return {name: choose}

    def _option(self, element: Json, value: str) -> Json:
        groups = [element, *element.get("option_groups", [])]
        options = [o for g in groups for o in g.get("options", [])] + self._suggested.get(element["action_id"], [])
        found = next((o for o in options if o["value"] == value), None)
        if found is None:
            raise NotOffered(f"no such option: {value!r} of {[o['value'] for o in options]}")
        return found

    # Views

    async def submit(self, view: View, values: Json | None = None) -> Delivery:
        """Fill in the inputs by action id, press the button; errors are in the delivery's `errors` then."""
        self._top(view)
        left, state = dict(values or {}), {}
        for block in view.blocks:
            for button in [b for b in view.buttons if b.block_id == block["block_id"] and b.element["type"] in _CHOSEN]:
                told = self._state(button.element, left.pop(button.action_id, None))
                if (
                    block["type"] == "input"
                    and not block.get("optional")
                    and next(iter(told.values())) in (None, "", [])
                ):
                    raise NotOffered(f"{button.action_id} must be filled in")
                state.setdefault(button.block_id, {})[button.action_id] = {"type": button.element["type"], **told}
        if left or view.type != "modal":
            raise NotOffered(f"no such inputs: {sorted(left)}")
        payload = self._interaction("view_submission", view) | {
            "view": view.json(self.fake.bot, state),
            "response_urls": [],
        }
        return await self.fake.mail.send(INTERACTIVE, payload)

    async def close(self, view: View) -> Delivery | None:
        """The app is told if the view asks for it."""
        self._top(view)
        self.fake.close_view(view)
        if not view.content.get("notify_on_close"):
            return None
        payload = self._interaction("view_closed") | {"view": view.json(self.fake.bot), "is_cleared": False}
        del payload["trigger_id"]
        return await self.fake.mail.send(INTERACTIVE, payload)

    def _top(self, view: View) -> None:
        if self.modal is not view:
            raise NotOffered(f"{self.user.name} does not see {view.title!r} on top")

    async def opens_home(self) -> Delivery | None:
        shown = self.fake.world.homes.get(self.id)
        return await self._home("home", {"view": shown.json(self.fake.bot)} if shown else {})

    async def _home(self, tab: str, more: Json) -> Delivery | None:
        event = {"type": "app_home_opened", "user": self.id, "channel": self.dm.id, "tab": tab, **more}
        return await self.fake.tell("app_home_opened", event)

    # The agent's pane

    async def opens_agent(self, looking_at: Channel | None = None) -> AgentThread:
        """In the agent view the messages tab opens; in the assistant view a new thread starts."""
        if self.fake.agent is None:
            raise NotOffered("the app is no agent")
        thread = AgentThread(self, self.dm, None)
        if self.fake.agent == "view":
            await self._home("messages", {})
            if looking_at is not None:
                await self.looks_at(looking_at, thread)
            return thread
        root = self.fake.world.post(self.dm, self.fake.bot, "New Assistant Thread", subtype="assistant_app_thread")
        thread.ts = root.ts
        await self._assistant("assistant_thread_started", thread, looking_at)
        return thread

    async def looks_at(self, channel: Channel, thread: AgentThread) -> Delivery | None:
        """Open a channel beside the pane."""
        if self.fake.agent != "view":
            return await self._assistant("assistant_thread_context_changed", thread, channel)
        entity = {"type": "slack#/types/channel_id", "value": channel.id, "team_id": TEAM}
        event = {
            "type": "app_context_changed",
            "user": self.id,
            "channel": self.dm.id,
            "context": {"entities": [entity]},
        }
        return await self.fake.tell("app_context_changed", event)

    async def _assistant(self, name: str, thread: AgentThread, looking_at: Channel | None) -> Delivery | None:
        context = {"channel_id": looking_at.id, "team_id": TEAM, "enterprise_id": None} if looking_at else {}
        about = {"user_id": self.id, "context": context, "channel_id": thread.channel.id, "thread_ts": thread.ts}
        return await self.fake.tell(name, {"type": name, "assistant_thread": about})

    async def stop(self, target: Message | AgentThread) -> Delivery:
        """Press the stop button of a session: its streams end at once."""
        root = target.root if isinstance(target, Message) else target.ts
        live = [m for m in target.channel.thread(str(root)) if m.stream == LIVE]
        if not live and self.fake.sessions.get((target.channel.id, str(root))) != "processing":
            raise NotOffered("nothing is being written there")
        for message in live:
            message.stream = "interrupted"
        event = {"type": "agent_session_stopped", "channel": target.channel.id, "user": self.id, "thread_ts": root}
        told = await self.fake.tell("agent_session_stopped", event | {"streaming_message_ts": [m.ts for m in live]})
        if told is None:
            raise NotOffered("without the event agent_session_stopped there is no stop button")
        return told


def _typed(text: str, block_id: str) -> list[Json]:
    """The rich text that Slack's client sends with what somebody types."""
    parts: list[Json] = []
    for number, part in enumerate(_MENTION.split(text)):
        if part:
            parts.append({"type": "user", "user_id": part} if number % 2 else {"type": "text", "text": part})
    return [{"type": "rich_text", "block_id": block_id, "elements": [{"type": "rich_text_section", "elements": parts}]}]
