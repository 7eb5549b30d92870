"""The app's home tab, and the settings of admins."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, cast

from bot.administration import CHANNELS, TITLES, USERS, Scope, change, menus, summary
from bot.desk import INTERVALS, NOT_STORED
from bot.host import Asker
from bot.slack import rendering
from bot.slack.delivery import FAILURES, ToPerson, error_of, persist
from bot.slack.reading import Event
from bot.slack.rendering import PREFIX, Block, button, header, neutral, option, plain_text, section
from bot.store import PlaceSettings
from bot.text import label
from persona.errors import InputError, StoreError

if TYPE_CHECKING:
    from bot.slack.bot import SlackBot
    from bot.slack.views import Click

log = logging.getLogger("fireside.slack")
ADMINS_ONLY = "Only admins and owners of the workspace change its settings."
SETTINGS = f"{PREFIX}:settings"
MOST = 100  # options of a menu
NOTHING_KEPT = "Nothing of you is kept, so there is nothing to export."
HOW_TO = (
    "*Ask* in a channel by naming me, in a thread that I take part in, or here under Messages. `/fireside quote` looks up "
    "what was really said. I answer from recorded talks, with sources, or say that I don't know."
)


def listen(bot: SlackBot) -> None:
    """Registers the settings' form; its menus come as clicks."""

    async def on_close(ack: Any) -> None:
        await ack()

    bot.listeners.view(SETTINGS)(on_close)


async def prompts(bot: SlackBot) -> list[dict[str, str]]:
    """Questions to begin with, about what the talks are much about."""
    fireside = await bot.desk.host.serving()
    return prompts_of([talk.title for talk in fireside.corpus.catalog.talk])


def prompts_of(talks: list[str]) -> list[dict[str, str]]:
    """Questions to begin with that any talks can answer or refuse."""
    out = [
        ("What can you answer?", "What can you answer?"),
        ("What are the talks about?", "What are these talks about?"),
        ("How reliable are you?", "How often are you wrong?"),
    ]
    out += [(label(f"About: {title}", 60), f"What is the main point of {title}?") for title in talks[:1]]
    return [{"title": title, "message": message} for title, message in out]


async def publish(bot: SlackBot, user: str) -> None:
    """Shows a person the home tab as it stands now."""
    admin = await bot.is_admin(user)
    blocks = [block async for block in _blocks(bot, bot.asker(user, ""), admin=admin)]
    await bot.client.views_publish(user_id=user, view={"type": "home", "blocks": blocks[:MOST]})


async def act(click: Click) -> None:
    """Does what a button or menu of the home tab or of the settings says."""
    bot, area, rest = click.bot, *click.name.split(":", 1)
    if area == "set":
        await _set(click, rest)
    elif rest == "settings":
        await open_settings(bot, bot.asker(click.user, ""), click.trigger, _to(bot, click.user))
    elif rest == "export":
        await _export(bot, click.user)
    else:
        opt_out = {"delete": None, "opt-out": True, "opt-in": False}[rest]
        await _to(bot, click.user).say(await bot.desk.forget(click.user, opt_out))
        await publish(bot, click.user)


async def open_settings(bot: SlackBot, asker: Asker, trigger: str, outlet: ToPerson) -> None:
    """The settings of the workspace, or of the channel where an admin asks for them."""
    if not await bot.is_admin(asker.user):
        await outlet.say(ADMINS_ONLY)
        return
    scope = Scope(asker.place)
    await bot.client.views_open(trigger_id=trigger, view=await _panel(bot, scope, here=asker.channel))


async def _set(click: Click, key: str) -> None:
    """Stores a choice of the settings, effective at once, and shows what holds now."""
    bot, view = click.bot, cast("Event", click.body.get("view") or {})
    if not await bot.is_admin(click.user):
        await _to(bot, click.user).say(ADMINS_ONLY)
        return
    known = cast("dict[str, Any]", json.loads(str(view.get("private_metadata") or "{}")))
    scope, here = Scope(click.asker.place, known.get("channel") or None), str(known.get("here", ""))
    problem = ""
    if key == "scope":
        scope = Scope(scope.place, here if _chosen(click.action)[0] == "channel" else None)
    else:
        try:
            await change(bot.desk.host, bot.desk.store, bot.desk.platform, scope, key, _chosen(click.action))
        except InputError as exc:
            problem = str(exc)
        except StoreError as exc:
            log.warning(str(exc))
            problem = NOT_STORED
    shown = await _panel(bot, scope, here=here, problem=problem)
    await bot.client.views_update(view_id=str(view["id"]), view=shown)


async def _panel(bot: SlackBot, scope: Scope, *, here: str, problem: str = "") -> Block:
    settings = await bot.desk.store.place(bot.desk.platform, *scope)
    where = f"in <#{scope.channel}>" if scope.channel else "in this workspace"
    blocks = [section(f"*How I behave {where}*\n" + "\n".join(map(neutral, summary(settings))))]
    if problem:
        blocks.append(section(neutral(problem)))
    if here.startswith(("C", "G")):
        options = [option("The whole workspace", "workspace"), option("This channel", "channel")]
        blocks.append(_row("scope", "What is set", options, options[1 if scope.channel else 0]))
    blocks += _menus(bot, scope, settings)
    other = ("nobots", "Ignore other bots") if settings.other_bots else ("bots", "Answer other bots too")
    blocks.append(rendering.actions(button(f"set:{other[0]}", other[1]), button("set:clear", "As I was started")))
    return {
        "type": "modal",
        "callback_id": SETTINGS,
        "title": plain_text("Settings"),
        "close": plain_text("Done"),
        "private_metadata": json.dumps({"channel": scope.channel, "here": here}),
        "blocks": blocks,
    }


def _menus(bot: SlackBot, scope: Scope, settings: PlaceSettings) -> Iterator[Block]:
    for menu in menus(bot.desk.host, settings):
        options = [option(choice.label, choice.value) for choice in menu.choices[:MOST]]
        chosen = next((o for o, c in zip(options, menu.choices, strict=False) if c.chosen), None)
        yield _row(menu.key, menu.title, options, chosen)
    if scope.channel is None:  # who may ask, and where, is the workspace's alone
        for key in CHANNELS:
            yield _many(key, "conversations", getattr(settings, key))
        for key in USERS:
            yield _many(key, "users", getattr(settings, key))


def _row(key: str, title: str, options: list[Block], chosen: Block | None) -> Block:
    element: Block = {"type": "static_select", "action_id": f"{PREFIX}:set:{key}", "options": options}
    if chosen is not None:
        element["initial_option"] = chosen
    return {"type": "section", "text": plain_text(title), "accessory": element}


def _many(key: str, kind: str, ids: tuple[str, ...]) -> Block:
    element: Block = {"type": f"multi_{kind}_select", "action_id": f"{PREFIX}:set:{key}"}
    element["placeholder"] = plain_text("None chosen")
    if kind == "conversations":  # of channels alone Slack's menu offers the public ones
        element["filter"] = {"include": ["public", "private", "mpim"]}
    if ids:
        element[f"initial_{kind}"] = list(ids)
    return {"type": "section", "text": plain_text(TITLES[key]), "accessory": element}


def _chosen(action: Event) -> list[str]:
    """The values of a menu; none for a button."""
    if option := action.get("selected_option"):
        return [str(cast("Event", option)["value"])]
    for key in ("selected_users", "selected_conversations"):
        if key in action:
            return [str(value) for value in cast("list[Any]", action[key])]
    return []


async def _blocks(bot: SlackBot, asker: Asker, *, admin: bool) -> AsyncGenerator[Block]:
    """The home tab: what this is, the talks, how reliable it is, a person's own data, the settings."""
    serving = await bot.desk.host.serving(asker)
    card = await bot.desk.scorecard(asker)
    yield header("What I am, and what I am not")
    yield section(neutral(serving.card.disclosure))
    yield section(HOW_TO)
    yield {"type": "divider"}
    yield header("The talks")
    for part in rendering.catalog_lines(serving.corpus.catalog)[:20]:
        yield section(part)
    yield {"type": "divider"}
    for block in rendering.figures("How often I am wrong", card.rows, ()).blocks:
        yield block
    for block in rendering.context(
        [neutral(line) for line in (card.certificate, card.differs, INTERVALS if card.rows else "") if line]
    ):
        yield block
    yield {"type": "divider"}
    yield header("My data")
    out = await bot.desk.opted_out(asker.user)
    kept = (
        "You asked me to keep nothing of you."
        if out
        else "I keep no messages. Feedback that you give is kept with its question and reply."
    )
    yield section(kept)
    own = [button("home:export", "Export"), button("home:delete", "Delete", style="danger")]
    own.append(button("home:opt-in", "Keep feedback again") if out else button("home:opt-out", "Keep nothing of me"))
    if admin:
        own.append(button("home:settings", "Settings (admins)"))
    yield rendering.actions(*own)


async def _export(bot: SlackBot, user: str) -> None:
    """Sends a person what is kept of them, as a file."""
    rows = await bot.desk.store.feedback(of=(bot.desk.platform, user))
    if not rows:
        await _to(bot, user).say(NOTHING_KEPT)
        return
    opened = await bot.client.conversations_open(users=user)
    channel = str(opened["channel"]["id"])
    text = json.dumps([row.model_dump(mode="json") for row in rows], ensure_ascii=False, indent=2)
    upload = bot.client.files_upload_v2
    try:
        await persist(
            lambda: upload(content=text, filename="fireside-feedback.json", title="What I keep of you", channel=channel)
        )
    except FAILURES as exc:
        log.warning(f"An export could not be uploaded ({error_of(exc)}): run `fireside doctor slack`.")
        await _to(bot, user).say("The file could not be uploaded. Whoever runs me finds the reason in the log.")


def _to(bot: SlackBot, user: str) -> ToPerson:
    """A word to a person in their conversation with the bot: the home tab has no response URL."""
    return ToPerson(bot.client, "", channel=user, user=user, private=True)
