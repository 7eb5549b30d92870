"""The people in `scripts/chaos.py`, on the fake of each platform: what they ask and what comes of it, what they were told is
kept, and what goes wrong between the platform and the bot."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from bot.desk import CUT_SHORT, LEAVING, NOT_STORED
from bot.discord.rendering import reading
from bot.store import Store
from persona.card import load_card
from scripts.full_house import REFUSALS
from tests.discord_fake import FakeDiscord, Interaction
from tests.discord_fake import Message as DiscordMessage
from tests.slack_fake import Channel as SlackChannel
from tests.slack_fake import FakeSlack, Person
from tests.slack_fake import Message as SlackMessage

ROOMS, PEOPLE = 16, 40
KINDS = 4  # of questions, by turns: a command, a DM, two mentions
DM = 1
IN_A_ROW = 2  # requests of a kind that fail: it rains, it is no outage
LOOKS = 8.0  # seconds that somebody waits for a word about what they set or thought
THANKS = "Thank you"
QUOTED = "“"
ANSWERS = ("threads", "mentions")  # what the setting "answers" may be
BROKEN_LINES = tuple(text.partition("{")[0] for text in (LEAVING, CUT_SHORT)) + REFUSALS


class Seen(NamedTuple):
    """A message of the bot's about a question; `whole` ones have buttons, as only a reply that is done has. `unconfirmed`
    ones only the asker sees, and the bot's request failed after it had made them: no look of the bot's can find them."""

    text: str
    whole: bool
    unconfirmed: bool = False


class Asked:
    """A question, and what has come of it so far."""

    def __init__(self, kind: str, seen: Callable[[], Sequence[Seen]], failed: Callable[[], bool]) -> None:
        """`failed`: whether the platform itself has told the person that the app did not respond."""
        self.kind = kind
        self.begun = time.monotonic()
        self._seen, self._failed = seen, failed
        self.seconds: float | None = None  # until something had come of it
        self.excused = False  # the process was killed while nothing could be stored: nobody can know of it

    @property
    def outcome(self) -> str:
        """ "answered", "told" why not, "platform" where that told them, or "" as long as it is none of them."""
        seen = self._seen()
        if any(one.whole and UNAVAILABLE not in one.text for one in seen):
            return "answered"
        if any(one.whole or one.text.startswith(BROKEN_LINES) for one in seen):
            return "told"
        return "platform" if self._failed() else ""

    @property
    def twice(self) -> bool:
        """Whether it was answered more than once."""
        return sum(one.whole and not one.unconfirmed for one in self._seen()) > 1

    @property
    def again(self) -> bool:
        """Whether it was answered again only because nobody could know that it had been."""
        return not self.twice and sum(one.whole for one in self._seen()) > 1


class House(Protocol):
    """A platform with its people."""

    platform: str

    @property
    def acknowledged(self) -> int:
        """How many acknowledgements were noted."""
        ...

    @property
    def environ(self) -> dict[str, str]:
        """What the bot's process is told, so that it comes here."""
        ...

    @property
    def violations(self) -> list[str]:
        """What the platform would have refused of what the bot sent."""
        ...

    async def start(self) -> None:
        """Serves."""
        ...

    async def stop(self) -> None:
        """Hangs up on everyone."""
        ...

    async def up(self) -> None:
        """Returns once a bot is connected that was not when it was called."""
        ...

    async def settle_in(self) -> None:
        """What goes before all trouble."""
        ...

    async def tick(self) -> None:
        """What the platform does by the clock."""
        ...

    async def ask(self, number: int, text: str) -> Asked:
        """Has somebody ask."""
        ...

    async def shake(self, dice: random.Random) -> None:
        """Something happens to the connection."""
        ...

    def rain(self, dice: random.Random) -> None:
        """One of the next requests fails."""
        ...

    def clear(self) -> None:
        """No request fails any more."""
        ...

    async def opinion(self) -> None:
        """Somebody says what they think of a reply; whether that was acknowledged is noted."""
        ...

    async def setting(self) -> None:
        """An admin changes how the bot answers; whether that was acknowledged is noted."""
        ...

    async def quoted(self) -> bool:
        """Whether a quotation is found."""
        ...

    async def lost(self, store: Store) -> list[str]:
        """What was acknowledged, and is not there."""
        ...


UNAVAILABLE = load_card("ilya").abstain.unavailable[:40]


class Kept:
    """What people were told is kept: feedback by its author; of a setting the last value, or one that was tried since, whose
    acknowledgement may have been lost."""

    def __init__(self) -> None:
        self.critics: list[str] = []
        self.answers: set[str] = {ANSWERS[0]}
        self.changes = 0

    @property
    def acknowledged(self) -> int:
        """How many."""
        return len(self.critics) + self.changes

    def try_answers(self) -> str:
        """The other value of the setting."""
        wanted = ANSWERS[1] if ANSWERS[0] in self.answers else ANSWERS[0]
        self.answers.add(wanted)
        return wanted

    def changed(self, value: str) -> None:
        """The setting was acknowledged."""
        self.answers = {value}
        self.changes += 1

    async def lost(self, store: Store, platform: str, place: str) -> list[str]:
        """What is not there."""
        there = {row.user for row in await store.feedback() if row.platform == platform}
        lost = [f"the feedback of {user}" for user in self.critics if user not in there]
        now = (await store.place(platform, place)).answers
        if now not in self.answers:
            lost.append(f"the setting 'answers', which is {now} and not {' or '.join(sorted(self.answers))}")
        return lost


# The library tries an acknowledgement again whose answer was lost: that it comes twice is the fault's doing.
MEANT = "already been acknowledged"


class DiscordHouse:
    """Mentions, DMs and /ask."""

    platform = "discord"

    def __init__(self) -> None:
        self._fake = FakeDiscord()
        self._rooms = [self._fake.channel(self._fake.guild, f"room-{n}") for n in range(ROOMS)]
        self._people = [self._fake.user(f"person{n}") for n in range(PEOPLE)]
        for person in self._people:
            self._fake.join(self._fake.guild, person)
        self._kept = Kept()

    @property
    def acknowledged(self) -> int:
        """See House."""
        return self._kept.acknowledged

    @property
    def environ(self) -> dict[str, str]:
        """See House."""
        fake = self._fake
        addresses = {"FIRESIDE_DISCORD_API_URL": fake.api_url, "FIRESIDE_DISCORD_GATEWAY_URL": fake.gateway_url}
        return {**addresses, "DISCORD_TOKEN": fake.token}

    @property
    def violations(self) -> list[str]:
        """See House."""
        return [what for what in self._fake.violations if MEANT not in what]

    async def start(self) -> None:
        """See House."""
        await self._fake.start()

    async def stop(self) -> None:
        """See House."""
        await self._fake.stop()

    async def up(self) -> None:
        """See House."""
        before = len(self._fake.identifies)
        await self._fake.until(lambda: len(self._fake.identifies) > before and self._fake.gateway.ready, 120.0)

    async def settle_in(self) -> None:
        """Everyone who will write DMs has once got an answer there: Discord lists its DMs to no bot, so what is the first
        message of one, and comes while there is no connection, can't be known of."""
        for number in range(DM, PEOPLE, KINDS):
            said = await self._fake.say(self._people[number], self._fake.dm(self._people[number]), "Hello!")
            await self._fake.reply_to(said, done=lambda m: m.components, timeout=60.0)

    async def tick(self) -> None:
        """Nothing."""

    async def ask(self, number: int, text: str) -> Asked:
        """See House."""
        fake, person = self._fake, self._people[number % PEOPLE]
        room = self._rooms[number % ROOMS]
        match number % KINDS:
            case 0:
                made = await fake.command(person, room, "ask", {"question": text})
                return Asked("command", lambda: _in_interaction(made), lambda: made.failed)
            case 1:  # DM
                room = fake.dm(person)
                said = await fake.say(person, room, text)
                return Asked("dm", lambda: _in_channel(said), _never)
            case _:
                said = await fake.say(person, room, text, mention_bot=True)
                return Asked("mention", lambda: _in_channel(said), _never)

    async def shake(self, dice: random.Random) -> None:
        """See House."""
        match dice.randrange(5):
            case 0:
                await self._fake.drop()
            case 1:
                await self._fake.drop(dice.choice((1001, 4000, 4007, 4009)))
            case 2:
                await self._fake.reconnect()
            case 3:
                self._fake.refuse_resume()
                await self._fake.drop()
            case _:
                await self._fake.invalidate(resumable=dice.random() < 0.5)

    def rain(self, dice: random.Random) -> None:
        """See House."""
        method, path = dice.choice(
            (
                ("POST", "/channels/*/messages"),
                ("PATCH", "/channels/*/messages/*"),
                ("GET", "/channels/*"),
                ("POST", "/channels/*/typing"),
                ("POST", "/interactions/*/*/callback"),
                ("PATCH", "/webhooks/*/*/messages/*"),
            )
        )
        status = dice.choice((429, 429, 500, 502, 503))
        after = status >= 500 and dice.random() < 0.3
        self._fake.fail(
            method, path, status, retry_after=0.3, after=after, globally=status == 429 and dice.random() < 0.1
        )

    def clear(self) -> None:
        """See House."""
        self._fake.faults.clear()

    async def opinion(self) -> None:
        """See House."""
        fake = self._fake
        reply = next((m for room in self._rooms for m in reversed(room.messages.values()) if _liked(m)), None)
        if reply is None:
            return
        critic = fake.user(f"critic{len(fake.users)}")
        fake.join(fake.guild, critic)
        made = await fake.component(critic, reply, "fireside:up")
        if (await made.reply(LOOKS)).content.startswith(THANKS):
            self._kept.critics.append(critic.id)

    async def setting(self) -> None:
        """See House."""
        fake = self._fake
        panel = await (await fake.command(fake.olga, fake.general, "settings")).reply(LOOKS)
        if not panel.components:
            return
        wanted = self._kept.try_answers()
        before = len(panel.edits)
        await fake.component(fake.olga, panel, "fireside:set:0:answers", [wanted])
        await fake.until(lambda: len(panel.edits) > before, LOOKS)
        if panel.content != NOT_STORED and _says(panel.content, wanted):
            self._kept.changed(wanted)

    async def quoted(self) -> bool:
        """See House."""
        made = await self._fake.command(self._fake.alice, self._fake.general, "quote", {"topic": "reliability"})
        return any(QUOTED in str(embed) for embed in (await made.reply(LOOKS)).embeds)

    async def lost(self, store: Store) -> list[str]:
        """See House."""
        return await self._kept.lost(store, self.platform, self._fake.guild.id)


class SlackHouse:
    """Mentions, DMs and /fireside ask, by Socket Mode."""

    platform = "slack"

    def __init__(self) -> None:
        self._fake = FakeSlack()
        self._people = [self._fake.person(f"Person{n}") for n in range(PEOPLE)]
        self._admin = self._fake.person("Olga", admin=True)
        self._rooms = [self._fake.channel(f"room-{n}") for n in range(ROOMS)]
        self._made = 0
        self._kept = Kept()

    @property
    def acknowledged(self) -> int:
        """See House."""
        return self._kept.acknowledged

    @property
    def environ(self) -> dict[str, str]:
        """See House."""
        fake = self._fake
        tokens = {"SLACK_BOT_TOKEN": fake.bot_token, "SLACK_APP_TOKEN": fake.app_token}
        return {"FIRESIDE_SLACK_API_URL": fake.api_url, "FIRESIDE_SLACK_MODE": "socket", **tokens}

    @property
    def violations(self) -> list[str]:
        """See House."""
        return self._fake.violations

    async def start(self) -> None:
        """See House."""
        await self._fake.start()

    async def stop(self) -> None:
        """See House."""
        await self._fake.stop()

    async def up(self) -> None:
        """See House."""
        await self._fake.until(lambda: not self._fake.mail.open(), 10.0, "the old socket is still open")
        await self._fake.connected(timeout=120.0)

    async def settle_in(self) -> None:
        """Nothing."""

    async def tick(self) -> None:
        """See House."""
        await self._fake.advance(0)  # what nobody acknowledged comes again

    async def ask(self, number: int, text: str) -> Asked:
        """See House."""
        fake, person, room = self._fake, self._people[number % PEOPLE], self._rooms[number % ROOMS]
        match number % KINDS:
            case 0:
                alone = self._newcomer("Asker", room)
                made = await alone.command("/fireside", f"ask {text}", channel=room)
                return Asked("command", lambda: _for_one(alone, room), lambda: bool(made.failed))
            case 1:
                said = await person.say(person.dm, text)
            case _:
                said = await person.say(room, f"{fake.bot.mention} {text}")
        return Asked("dm" if number % KINDS == DM else "mention", lambda: _in_thread(said, fake), _never)

    async def shake(self, dice: random.Random) -> None:
        """See House."""
        match dice.randrange(3):
            case 0:
                await self._fake.drop()
            case 1:
                await self._fake.disconnect("refresh_requested")
            case _:
                await self._fake.disconnect("warning")

    def rain(self, dice: random.Random) -> None:
        """See House."""
        method = dice.choice(
            (
                "chat.postMessage",
                "chat.update",
                "chat.*Stream",
                "conversations.replies",
                "assistant.threads.*",
                "users.info",
                "response_url",
                "apps.connections.open",
            )
        )
        if sum(fault.times for fault in self._fake.web.faults if fault.method == method) >= IN_A_ROW:
            return
        status = dice.choice((429, 429, 500, 502, 503))
        after = status >= 500 and dice.random() < 0.3
        self._fake.fail(method, status=status, retry_after=1 if status == 429 else None, after=after)

    def clear(self) -> None:
        """See House."""
        self._fake.web.faults.clear()

    async def opinion(self) -> None:
        """See House."""
        replies = (m for room in self._rooms for m in reversed(room.messages) if _is_whole(m, self._fake))
        reply = next(replies, None)
        if reply is None:
            return
        critic = self._newcomer("Critic", reply.channel)
        await critic.click(reply, "fireside:opinion", "positive")
        told = reply.channel.ephemerals
        await self._fake.until(lambda: any(m.only_for is critic.user for m in told), LOOKS)
        if any(m.only_for is critic.user and m.text.startswith(THANKS) for m in told):
            self._kept.critics.append(critic.id)

    async def setting(self) -> None:
        """See House."""
        fake, admin = self._fake, self._admin
        if admin.modal is not None:
            fake.close_view(admin.modal)
        await admin.command("/fireside", "settings")
        await fake.until(lambda: admin.modal, LOOKS)
        view = admin.modal
        assert view is not None
        wanted = self._kept.try_answers()
        before = view.content
        await admin.click(view, "fireside:set:answers", wanted)
        await fake.until(lambda: view.content is not before, LOOKS)
        if NOT_STORED not in str(view.content) and _says(str(view.content), wanted):
            self._kept.changed(wanted)

    async def quoted(self) -> bool:
        """See House."""
        person = self._newcomer("Reader", self._fake.general)
        await person.command("/fireside", "quote reliability")
        seen = self._fake.general.ephemerals
        await self._fake.until(lambda: any(m.only_for is person.user for m in seen), LOOKS)
        return any(m.only_for is person.user and "Quote 1 of" in str(m.blocks) for m in seen)

    async def lost(self, store: Store) -> list[str]:
        """See House."""
        return await self._kept.lost(store, self.platform, self._fake.team_id)

    def _newcomer(self, name: str, room: SlackChannel) -> Person:
        self._made += 1
        person = self._fake.person(f"{name}{self._made}")
        if person.user not in room.members:
            room.members.append(person.user)
        return person


HOUSES: dict[str, Callable[[], House]] = {"discord": DiscordHouse, "slack": SlackHouse}


def _never() -> bool:
    return False


def _says(text: str, answers: str) -> bool:
    return ("mentions only" in text) == (answers == "mentions")


def _read(messages: Iterable[DiscordMessage]) -> list[Seen]:
    return [Seen(reading(m.content), bool(m.components)) for m in messages if not m.loading and not m.deleted]


def _in_interaction(made: Interaction) -> list[Seen]:
    return _read(made.messages)


def _in_channel(asked: DiscordMessage) -> list[Seen]:
    return _read(m for m in asked.channel.messages.values() if m.reply_to is asked)


def _liked(message: DiscordMessage) -> bool:
    """Whether it is a whole reply of the bot's, with thumbs under it."""
    return not message.deleted and "fireside:up" in str(message.components)


def _is_whole(message: SlackMessage, fake: FakeSlack) -> bool:
    return message.user is fake.bot and not message.deleted and any(b["type"] == "actions" for b in message.blocks)


def _in_thread(asked: SlackMessage, fake: FakeSlack) -> list[Seen]:
    said = (m for m in asked.channel.thread(asked.root) if m.user is fake.bot and not m.deleted)
    return [Seen(m.text, _is_whole(m, fake)) for m in said]


def _for_one(person: Person, room: SlackChannel) -> list[Seen]:
    seen = (m for m in room.ephemerals if m.only_for is person.user and not m.deleted)
    return [Seen(m.text, any(b["type"] == "actions" for b in m.blocks), m.unconfirmed) for m in seen]
