"""`/fireside …`: one command, whose first word says what to do."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from bot.desk import BROKEN, FORGOTTEN, INTERVALS, NOTHING_ASKED, Wanted
from bot.host import COMMANDS, Asker
from bot.logs import note_mistake
from bot.slack import home, rendering, views
from bot.slack.delivery import FAILURES, ToPerson, refused, told
from bot.slack.reading import Event
from bot.slack.rendering import Rendered
from bot.text import one_line
from persona.errors import FiresideError, InputError, StoreError
from persona.toml import nearest
from persona.types import Question

if TYPE_CHECKING:
    from bot.slack.bot import SlackBot

log = logging.getLogger("fireside.slack")
COMMAND = "/fireside"
LONGEST = 1500  # characters of a question
LONGEST_TOPIC = 300
OWN = ("forget", "help", "why", "reset")  # about what is a person's own: no setting keeps them from it
CALLBACK = "url "  # begins what the store notes of a command: where its answer goes
OPTIONS = {"": None, "opt-out": True, "opt-in": False}
NAMES = [command.name for command in COMMANDS]


def listen(bot: SlackBot) -> None:
    """Registers the command."""

    async def on_command(ack: Any, command: Event) -> None:
        event, where = f"{CALLBACK}{command.get('response_url', '')}", f"{command['channel_id']}:{command['user_id']}"
        with bot.desk.work():
            await bot.desk.acknowledge(event, where, ack)
            if await run(bot, command):
                await bot.desk.done(event)

    bot.listeners.command(COMMAND)(on_command)


async def run(bot: SlackBot, command: Event) -> bool:
    """Does what a command says; a mistake is told in a sentence. False where Slack took no answer, and may later: the next
    process tells the person."""
    asker = bot.asker(str(command["user_id"]), str(command["channel_id"]))
    outlet = ToPerson(bot.client, str(command.get("response_url", "")), channel=asker.channel, user=asker.user)
    word, rest = [*(await bot.text_of(str(command.get("text", "")))).split(maxsplit=1), "", ""][:2]
    word = word.casefold() or "help"
    try:
        if await bot.allowed(outlet, asker, mine=word in OWN):
            await _do(bot, word, rest.strip(), asker, outlet, command)
    except Exception as exc:
        await outlet.say(sentence(exc, asker.channel))
    return not outlet.owed


def sentence(exc: Exception, channel: str) -> str:
    """What to tell a person about what went wrong; a mistake of ours is noted."""
    if isinstance(exc, InputError):
        return str(exc)
    if isinstance(exc, FAILURES):
        log.warning(told(exc, channel))
        return refused(exc)
    if isinstance(exc, StoreError):
        log.warning(str(exc))
        return "My store doesn't answer at the moment, so nothing has changed. Please try again later."
    note_mistake(log, exc)
    return str(exc) if isinstance(exc, FiresideError) else BROKEN


async def _do(bot: SlackBot, word: str, rest: str, asker: Asker, outlet: ToPerson, command: Event) -> None:
    desk = bot.desk
    match word:
        case "ask":
            await _ask(bot, rest, asker, outlet, command)
        case "quote":
            await _quote(bot, rest, asker, outlet, str(command.get("trigger_id", "")))
        case "sources":
            await outlet.finish(rendering.sources((await desk.host.serving(asker)).corpus.catalog))
        case "why":
            last = desk.memory.last(asker.user, asker.channel)
            await outlet.say(await desk.why(last, asker) if last else NOTHING_ASKED)
        case "reliability":
            await outlet.finish(await reliability(bot, asker))
        case "reset":
            desk.memory.begin_anew(asker.user, asker.channel, f"{time.time():.6f}")
            await outlet.say(FORGOTTEN)
        case "forget":
            if rest.casefold() not in OPTIONS:
                raise InputError(
                    f"'{one_line(rest, 40)}' is nothing that forget takes. Give opt-out, opt-in, or nothing."
                )
            await outlet.say(await desk.forget(asker.user, OPTIONS[rest.casefold()]))
        case "status":
            await outlet.say(await desk.host.status_text(asker, admin=await bot.is_admin(asker.user)))
        case "settings":
            await home.open_settings(bot, asker, str(command.get("trigger_id", "")), outlet)
        case "help":
            await outlet.say(desk.host.help_text(f"{COMMAND} "))
        case _:
            shown = one_line(word, 40)
            raise InputError(
                f"There is no {COMMAND} {shown}.{nearest(shown, NAMES)} {COMMAND} help lists what there is."
            )


async def reliability(bot: SlackBot, asker: Asker) -> Rendered:
    """The scorecard and certificate of what runs."""
    card = await bot.desk.scorecard(asker)
    lines = [card.certificate, card.differs, INTERVALS if card.rows else ""]
    return rendering.figures("How often I am wrong", card.rows, lines)


async def _ask(bot: SlackBot, text: str, asker: Asker, outlet: ToPerson, command: Event) -> None:
    if not text:
        raise InputError(f"Write the question behind it: {COMMAND} ask What did he say about reliability?")
    if len(text) > LONGEST:
        raise InputError(f"That question has {len(text):,} characters, and {LONGEST:,} is the most. Ask it shorter.")
    history = bot.desk.memory.turns(asker.user, asker.channel)
    question = Question(text=text, id=str(command.get("trigger_id", "")), history=history)
    await bot.respond(question, asker, outlet, repeat=True)


async def _quote(bot: SlackBot, topic: str, asker: Asker, outlet: ToPerson, trigger: str) -> None:
    if not topic:
        await views.open_search(bot, trigger, asker)
        return
    if len(topic) > LONGEST_TOPIC:
        raise InputError(f"That topic has {len(topic)} characters, and {LONGEST_TOPIC} is the most. Give a few words.")
    await views.show_quotes(bot, topic, Wanted(), asker, outlet)
