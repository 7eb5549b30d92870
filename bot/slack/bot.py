"""The bot: which events are questions, what their answers rest on, and how each is answered once."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from slack_bolt.async_app import AsyncApp

from bot.desk import BROKEN, CUT_SHORT, LEAVING, PACE, TOO_OLD, Desk, Exchange, Named, Pending, follow
from bot.host import Asker, Host, Refused
from bot.logs import note_mistake
from bot.slack import commands, home, reading, rendering, views
from bot.slack.delivery import FAILURES, Client, InThread, Outlet, ToPerson, error_of, persist, told
from bot.slack.reading import Event
from bot.store import PlaceSettings, Store
from persona.pipeline import Answered
from persona.types import Question, Turn

log = logging.getLogger("fireside.slack")
T = TypeVar("T")
PLATFORM = "slack"
NAMED = Named("`/fireside forget`", "`/fireside forget opt-out`", "`/fireside forget opt-in`", "`/fireside settings`")
ANYTHING = re.compile(r"[\s\S]*")
REMEMBERED = 5000  # users whose names, and threads whose people, are remembered
PROMPTS = 4
NOTING = "noting"  # of the library's context: the task that notes an event
CHANGES = ("message_changed", "message_deleted")
KINDS = (None, "thread_broadcast", "file_share", "me_message", "bot_message")


class SlackBot:
    """Answers mentions, DMs, threads, commands and clicks. `me` is the bot's user id, `data_dir` holds the evaluations."""

    def __init__(
        self, app: AsyncApp, host: Host, store: Store, data_dir: Path, *, me: str, team: str, pace: float = PACE
    ) -> None:
        self.app = app
        self.client: Client = app.client
        self.me, self.team = me, team
        self.desk = Desk(PLATFORM, host, store, data_dir, NAMED, pace=pace)
        self._pending: dict[str, Pending[Event]] = {}
        self._threads: OrderedDict[str, bool] = OrderedDict()
        self._names: OrderedDict[str, str] = OrderedDict()
        self.listeners: Any = app  # slack_bolt's types are partly unknown
        self._listen()

    def _listen(self) -> None:
        app = self.listeners
        app.event("app_mention", middleware=[self.note])(self.on_message)
        app.event("message", middleware=[self.note])(self.on_message)
        app.event("app_home_opened")(self.on_home)
        app.event("assistant_thread_started")(self.on_thread_started)
        app.event("agent_session_stopped")(self.on_stopped)
        app.event(ANYTHING)(_nothing)  # what is subscribed to and not ours is acknowledged all the same
        commands.listen(self)
        views.listen(self)
        home.listen(self)
        app.action(ANYTHING)(_acknowledged)
        app.view(ANYTHING)(_acknowledged)
        app.error(self.on_error)

    # Events

    async def note(
        self, event: Event, body: Event, context: dict[str, Any], next_: Callable[[], Awaitable[None]]
    ) -> None:
        """Notes what is said to the bot before the library acknowledges it: Slack doesn't tell what was acknowledged again,
        should this process be killed. The same message comes as a mention and as a message, and again where Slack missed
        our acknowledgement: the first of them is taken on."""
        if self._is_said(event) and self._is_new(event, body):
            context[NOTING] = await self.desk.note(_id(event), f"{event['channel']}:{_root(event)}")
        await next_()

    async def on_message(self, event: Event, body: Event, context: dict[str, Any]) -> None:
        """Somebody writes where the bot is."""
        if event.get("subtype") in CHANGES:
            self._changed(event)
        elif self._is_said(event):
            if noting := cast("Awaitable[bool] | None", context.get(NOTING)):
                await self._handle(event, self._take_on(event, noting))
        elif self._is_new(event, body):
            await self._handle(event, self._overhear(event))

    async def on_home(self, event: Event) -> None:
        """Somebody opens the app: its home, or its conversation."""
        with self.desk.work():
            try:
                if event.get("tab") == "messages":
                    await self._suggest(str(event["channel"]), None)
                else:
                    await home.publish(self, str(event["user"]))
            except FAILURES as exc:
                log.warning(told(exc, str(event.get("channel"))))

    async def on_thread_started(self, event: Event) -> None:
        """Somebody opens a new thread with the assistant (the view that came before the agent's)."""
        thread = cast("Event", event.get("assistant_thread") or {})
        with self.desk.work(), contextlib.suppress(*FAILURES):
            await self._suggest(str(thread["channel_id"]), str(thread["thread_ts"]))

    async def on_stopped(self, event: Event) -> None:
        """Somebody presses the stop button of what is being written."""
        for pending in self._pending.values():
            here = pending.event
            if here.get("channel") == event.get("channel") and _root(here) == event.get("thread_ts"):
                pending.stopped = True
                pending.stop()

    async def on_error(self, error: Exception, body: Event) -> None:
        """A mistake of ours in one event ends that event alone."""
        del body  # nor the error's message: it may hold what somebody wrote
        note_mistake(log, error)

    # Answers

    async def respond(
        self, question: Question, asker: Asker, outlet: Outlet, *, seed: int = 0, repeat: bool = False
    ) -> None:
        """Answers a question into an outlet; `repeat` shows the question above the reply."""
        outcome = await follow(self.desk.host.answer(question, asker, seed=seed), outlet.show, self.desk.pace)
        await self.post(question, outcome, asker, outlet, repeat=repeat)

    async def post(
        self,
        question: Question,
        outcome: Answered | Refused,
        asker: Asker,
        outlet: Outlet,
        *,
        repeat: bool = False,
    ) -> None:
        """Posts how a question came out, and remembers it."""
        if isinstance(outcome, Refused):
            await outlet.finish(rendering.plain(outcome.text))
            return
        note = "" if outlet.private else await self.desk.disclosure(asker, asker.channel)
        reply_id = outcome.reply.id or question.id
        exchange = Exchange(question, asker.user, outcome)
        self.desk.memory.keep(reply_id, asker.channel, exchange)
        rendered = rendering.message(
            outcome.reply,
            value=rendering.button_value(reply_id, question.text),
            question=question.text if repeat else None,
            note=note,
            private=outlet.private,
        )
        ts = await outlet.finish(rendered)
        if ts is not None:
            self.desk.memory.keep(f"{asker.channel}:{ts}", asker.channel, exchange)

    async def allowed(self, outlet: ToPerson, asker: Asker, *, mine: bool = False) -> bool:
        """Whether a command or click is answered; if not, the person is told why. `mine`: it is about what is theirs, which
        no setting keeps from them."""
        refusal = LEAVING if self.desk.leaving else ""
        if not refusal and not mine:
            refusal = self._refusal(await self._settings(asker.channel), asker.user, asker.channel)
        if refusal:
            await outlet.say(refusal)
        return not refusal

    def asker(self, user: str, channel: str) -> Asker:
        """Who asks, and whose settings hold: those of the workspace that the app is installed in, also for people of others
        in a channel that is shared with them."""
        return Asker(PLATFORM, user, self.team, channel)

    def joined(self, channel: str, root: str) -> None:
        """Notes that the bot has said something in a thread."""
        _keep(self._threads, f"{channel}:{root}", True)

    async def exchange(self, value: Event, message: Event, channel: str) -> Exchange | None:
        """What a reply of ours replied to, by the value of its buttons; after a restart read again from that and the
        thread."""
        reply_id = str(value.get("id", ""))
        kept = self.desk.memory.reply(reply_id)
        if kept is not None:
            return kept
        thread = str(message.get("thread_ts") or "")
        found = await self._read(channel, thread) if thread else []
        here = next((m for m in found if m.get("ts") == message.get("ts")), message)
        asked, user = rendering.mark_of(reading.blocks_of(here))
        turns: tuple[Turn, ...] = ()
        text = str(value.get("q") or reading.asked_in(reading.blocks_of(here)))
        if question := next((m for m in found if m.get("ts") == asked), None):
            text = text or await self._asked({**question, "channel": channel}, str(question.get("text", "")))
            turns = reading.turns([m for m in found if str(m.get("ts")) < asked], user, self.me, self._recall(channel))
        return Exchange(Question(text=text, id=reply_id, history=turns), user) if text else None

    async def is_admin(self, user: str) -> bool:
        """Whether somebody administers this workspace; nobody of another one does."""
        try:
            found = await persist(lambda: self.client.users_info(user=user))
        except FAILURES as exc:
            log.warning(f"Slack doesn't say who {user} is ({error_of(exc)}): run `fireside doctor slack`.")
            return False
        about = cast("Event", found.get("user") or {})
        if about.get("team_id", self.team) != self.team:
            return False
        return bool(about.get("is_admin") or about.get("is_owner") or about.get("is_primary_owner"))

    async def text_of(self, text: str) -> str:
        """What a text of Slack's asks, with names in place of ids."""
        names = {user: await self._name(user) for user in set(reading.mentioned(text)) - {self.me}}
        return reading.text_of(text, self.me, names)

    async def left_behind(self) -> Sequence[tuple[str, str]]:
        """What a process that was killed left, to be taken up. Ask before there is a connection: then it is known what of it
        Slack only sends again."""
        left = await self.desk.left_behind()
        for event, _ in left:
            self.desk.unseen(event)
        return left

    async def take_up(self, left: Sequence[tuple[str, str]]) -> None:
        """Answers what was left behind."""
        for event, where in left:
            if self.desk.leaving:
                return
            channel, _, root = where.partition(":")
            with self.desk.work():
                try:
                    if event.startswith(commands.CALLBACK):
                        outlet = ToPerson(
                            self.client, event.removeprefix(commands.CALLBACK), channel=channel, user=root
                        )
                        await outlet.say(CUT_SHORT)
                        settled = not outlet.owed
                    else:
                        settled = await self._take_up_one(channel, root, event.rpartition(":")[2])
                    if settled:
                        await self.desk.done(event)
                except FAILURES as exc:
                    log.warning(told(exc, channel))
                except Exception as exc:
                    note_mistake(log, exc)

    async def _take_up_one(self, channel: str, root: str, ts: str) -> bool:
        """Whether nothing is left to do about it."""
        if time.time() - float(ts) > TOO_OLD:
            return True
        found = await self._thread(channel, root or ts)
        asked = next((m for m in found if m.get("ts") == ts), None)
        if asked is None:
            return True
        later = (m for m in found if str(m.get("ts")) > ts and m.get("user") == self.me)
        ours = [(m, reading.blocks_of(m)) for m in later]
        noted = next((found for found in ours if rendering.mark_of(found[1])[0] == ts), None)
        if noted is not None and rendering.is_whole(noted[1]):
            return True
        # A stream notes nothing until its end: one that stands there without a note is what was left of it.
        left = noted or next((found for found in ours if not any(rendering.mark_of(found[1]))), None)
        return await self._answer({**asked, "channel": channel}, str(left[0]["ts"]) if left else None)

    def _is_said(self, event: Event) -> bool:
        """Whether a message is said to the bot: it names it, or nobody else is there."""
        if event.get("subtype") not in KINDS:
            return False
        return (
            event.get("type") == "app_mention"
            or _direct(str(event.get("channel")))
            or self.me in reading.mentioned(str(event.get("text", "")))
        )

    def _is_new(self, event: Event, body: Event) -> bool:
        """Whether somebody else wrote a message, and it comes for the first time."""
        if event.get("subtype") not in KINDS or not event.get("channel") or not event.get("ts"):
            return False
        event_id = str(body.get("event_id", ""))
        return (
            event.get("user") != self.me
            and (not event_id or self.desk.unseen(event_id))
            and self.desk.unseen(_id(event))
        )

    async def _handle(self, event: Event, settling: Awaitable[bool]) -> None:
        """Waits until nothing is left to do about an event, and notes that; False: something is."""
        with self.desk.work():
            try:
                if await settling:
                    await self.desk.done(_id(event))
            except Exception as exc:
                note_mistake(log, exc)

    async def _take_on(self, event: Event, noting: Awaitable[bool]) -> bool:
        """Answers what is said to the bot, if it may, and no other process does."""
        return await noting and (not await self._concerns(event, said=True) or await self._answer(event))

    async def _overhear(self, event: Event) -> bool:
        """Answers what is said in a thread that the bot takes part in."""
        return (
            await self._concerns(event, said=False)
            and await self.desk.first_sight(_id(event), f"{event['channel']}:{_root(event)}")
            and await self._answer(event)
        )

    async def _concerns(self, event: Event, *, said: bool) -> bool:
        """Whether a message is to be answered: it is said to the bot, or in its thread, and allowed."""
        channel, user = str(event["channel"]), str(event.get("user", ""))
        settings = await self._settings(channel)
        if self._refusal(settings, user, channel) or (event.get("bot_id") and not (said and settings.other_bots)):
            return False
        if said:
            return True
        text = str(event.get("text", ""))
        others = [name for name in reading.mentioned(text) if name != self.me]
        if others or not event.get("thread_ts") or not text.strip() or settings.answers == "mentions":
            return False
        return not await self.desk.opted_out(user) and await self._takes_part(event)

    async def _settings(self, channel: str) -> PlaceSettings:
        return await self.desk.settings(self.team, None if _direct(channel) else channel)

    def _refusal(self, settings: PlaceSettings, user: str, channel: str) -> str:
        """Why somebody gets no answer; which channels are allowed says nothing of a conversation with the bot alone."""
        if _direct(channel):
            settings = settings.model_copy(update={"allowed_channels": (), "blocked_channels": ()})
        return self.desk.refusal(settings, user, [channel])

    async def _answer(self, event: Event, shown: str | None = None) -> bool:
        """Answers a message; `shown` is what stands there already of an answer to it. False where Slack didn't take the
        answer, and may later: then it is left to the next process."""
        channel, ts = str(event["channel"]), str(event["ts"])
        outlet = self._outlet(event, shown)
        pending = self._pending[f"{channel}:{ts}"] = Pending(event, str(event.get("text", "")))
        try:
            if self.desk.leaving:
                await outlet.finish(rendering.plain(LEAVING))
                return not outlet.owed
            await outlet.begin()
            ready = await self.desk.answer_as_it_stands(
                pending, lambda: self._question(pending), self._asker_of(event), outlet.show
            )
            if pending.deleted or (ready is None and not pending.stopped):
                await outlet.withdraw()
            elif ready is None:
                await outlet.finish(rendering.stopped(outlet.written))
            else:
                question, outcome = ready
                await self._title(event, question)
                await self.post(question, outcome, self._asker_of(event), outlet)
                self.joined(channel, _root(event))
        except Exception as exc:
            note_mistake(log, exc)
            await outlet.finish(rendering.plain(BROKEN))
        finally:
            del self._pending[f"{channel}:{ts}"]
        return not outlet.owed

    async def _question(self, pending: Pending[Event]) -> Question:
        event = pending.event
        turns = await self._history(event)
        return Question(text=await self._asked(event, pending.text), id=_id(event), history=turns)

    def _changed(self, event: Event) -> None:
        """A question that still waits was edited or deleted."""
        message = cast("Event", event.get("message") or {})
        ts = str(event.get("deleted_ts") or message.get("ts") or "")
        pending = self._pending.get(f"{event.get('channel')}:{ts}")
        if pending is None:
            return
        text = str(message.get("text", ""))
        if event.get("subtype") == "message_deleted" or message.get("subtype") == "tombstone":
            pending.deleted = True
        elif text and text != pending.text:
            pending.text, pending.changed = text, True
        else:
            return
        pending.stop()

    async def _history(self, event: Event) -> tuple[Turn, ...]:
        """The turns before a message: its thread's, as far as they are its author's and the bot's."""
        channel, user, ts = str(event["channel"]), str(event.get("user", "")), str(event["ts"])
        if await self.desk.opted_out(user) or not event.get("thread_ts"):
            return ()
        before = [m for m in await self._read(channel, _root(event)) if str(m.get("ts")) < ts][-reading.READ_BACK :]
        since = self.desk.memory.since(user, channel)
        alone = channel.startswith("D")
        return reading.turns(before, user, self.me, self._recall(channel), since, alone=alone)

    async def _asked(self, event: Event, text: str) -> str:
        """The question of a message; a bare mention in a thread asks about what somebody said last before it."""
        asked = await self.text_of(text)
        if asked or not event.get("thread_ts"):
            return asked
        found = await self._read(str(event["channel"]), _root(event))
        before = [m for m in found if str(m.get("ts")) < str(event["ts"]) and m.get("user") != self.me]
        return await self.text_of(str(before[-1].get("text", ""))) if before else asked

    async def _read(self, channel: str, root: str) -> list[Event]:
        """The messages of a thread; none where Slack doesn't give them."""
        try:
            return await self._thread(channel, root)
        except FAILURES as exc:
            log.warning(told(exc, channel))
            return []

    async def _thread(self, channel: str, root: str) -> list[Event]:
        """The messages of a thread, oldest first."""
        found: list[Event] = []
        cursor = ""
        for _ in range(10):
            given = {"channel": channel, "ts": root, "limit": 200, **({"cursor": cursor} if cursor else {})}
            page = await persist(partial(self.client.conversations_replies, **given))
            found += cast("list[Event]", page.get("messages") or [])
            cursor = str(cast("Event", page.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
        return found

    async def _takes_part(self, event: Event) -> bool:
        """Whether the bot has said something in a message's thread, or begun it."""
        channel, root = str(event["channel"]), _root(event)
        key = f"{channel}:{root}"
        if event.get("parent_user_id") == self.me:
            return True
        if key not in self._threads:
            found = await self._read(channel, root)
            there = any(m.get("user") == self.me for m in found)
            if found and not self._threads.get(key):  # it may have said something meanwhile
                _keep(self._threads, key, there)
        return self._threads.get(key, False)

    def _recall(self, channel: str) -> reading.Recall:
        def recall(ts: str) -> reading.Said | None:
            kept = self.desk.memory.reply(f"{channel}:{ts}")
            return reading.Said(kept.answered.reply.text, kept.user) if kept and kept.answered else None

        return recall

    def _outlet(self, event: Event, shown: str | None = None) -> InThread:
        return InThread(
            self.client,
            channel=str(event["channel"]),
            thread=_root(event),
            asked=str(event["ts"]),
            user=str(event.get("user") or event.get("bot_id") or ""),
            team=str(event.get("user_team") or event.get("team") or self.team),
            me=self.me,
            shown=shown,
        )

    def _asker_of(self, event: Event) -> Asker:
        user = str(event.get("user") or event.get("bot_id") or "")
        return self.asker(user, str(event["channel"]))

    async def _name(self, user: str) -> str:
        if user not in self._names:
            name = "someone"
            with contextlib.suppress(*FAILURES):
                found = cast("Event", (await self.client.users_info(user=user)).get("user") or {})
                profile = cast("Event", found.get("profile") or {})
                name = str(profile.get("display_name") or found.get("real_name") or found.get("name") or name)
            _keep(self._names, user, name)
        return self._names[user]

    async def _suggest(self, channel: str, thread: str | None) -> None:
        """Prompts to begin with: what the talks are much about."""
        prompts = await home.prompts(self)
        given = {"thread_ts": thread} if thread else {}
        await self.client.assistant_threads_setSuggestedPrompts(
            channel_id=channel, title="What would you like to know?", prompts=prompts[:PROMPTS], **given
        )

    async def _title(self, event: Event, question: Question) -> None:
        """Names a thread with the agent after its first question."""
        if str(event["channel"]).startswith("D") and not question.history:
            with contextlib.suppress(*FAILURES):
                await self.client.assistant_threads_setTitle(
                    channel_id=str(event["channel"]),
                    thread_ts=_root(event),
                    title=rendering.label(question.text, 60),
                )


def _keep(known: OrderedDict[str, T], key: str, value: T) -> None:
    """Remembers something; the oldest is forgotten."""
    known[key] = value
    if len(known) > REMEMBERED:
        known.popitem(last=False)


def _direct(channel: str) -> bool:
    """Whether this is somebody's conversation with the bot, and nobody else's; a user's id stands for it too."""
    return not channel.startswith(("C", "G"))


def _root(event: Event) -> str:
    """The ts of the thread that an event is in, or begins."""
    return str(event.get("thread_ts") or event["ts"])


def _id(event: Event) -> str:
    return f"{event['channel']}:{event['ts']}"


async def _nothing() -> None:
    """An event that is nobody's concern."""


async def _acknowledged(ack: Any) -> None:
    await ack()
