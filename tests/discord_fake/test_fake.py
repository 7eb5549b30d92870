"""The fake against the unmodified discord.py: what a client that runs in it may rely on."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import warnings
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import yarl

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # discord.py imports audioop
    import discord
    from discord import app_commands
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

from tests.discord_fake import FakeDiscord, NotOffered, Permission

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
NONE = discord.AllowedMentions.none()


class Client(discord.Client):
    """Answers "ping" by "pong", and knows a few commands; what it saw is in `seen`."""

    def __init__(self, **more: Any) -> None:
        intents = more.pop("intents", None) or discord.Intents(guilds=True, messages=True, message_content=True)
        super().__init__(intents=intents, allowed_mentions=NONE, guild_ready_timeout=0.02, **more)
        self.tree = app_commands.CommandTree(self)
        self.seen: list[tuple[str, Any]] = []
        _commands(self.tree)

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """The library's own waits 5 s."""

    async def on_message(self, message: discord.Message) -> None:
        self.seen.append(("message", message))
        if message.content.endswith("ping"):
            await message.reply("pong")

    async def on_message_edit(self, _: discord.Message, message: discord.Message) -> None:
        self.seen.append(("edit", message))

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        self.seen.append(("delete", event.message_id))

    async def on_thread_create(self, thread: discord.Thread) -> None:
        self.seen.append(("thread", thread))

    async def on_resumed(self) -> None:
        self.seen.append(("resumed", None))

    def texts(self) -> list[str]:
        return [value.content for kind, value in self.seen if kind == "message" and value.author != self.user]


class _Form(discord.ui.Modal, title="What was wrong?"):
    words: Any = discord.ui.TextInput(label="Words", max_length=20, required=True)

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_message(f"noted: {self.words.value}", ephemeral=True)


class _Buttons(discord.ui.View):
    @discord.ui.button(label="Again", custom_id="again")
    async def again(self, interaction: discord.Interaction, _: Any) -> None:
        await interaction.response.edit_message(content="once more")

    @discord.ui.button(label="Form", custom_id="form")
    async def form(self, interaction: discord.Interaction, _: Any) -> None:
        await interaction.response.send_modal(_Form())

    @discord.ui.select(custom_id="which", options=[discord.SelectOption(label=x) for x in ("one", "two")])
    async def which(self, interaction: discord.Interaction, select: Any) -> None:
        await interaction.response.defer()
        await interaction.followup.send(f"chose {select.values[0]}", allowed_mentions=NONE)


def _commands(tree: app_commands.CommandTree[Any]) -> None:
    @tree.command(name="ask", description="Ask something")
    @app_commands.allowed_installs(guilds=True, users=True)
    async def ask(interaction: discord.Interaction, question: str, private: bool = False) -> None:
        await interaction.response.defer(ephemeral=private)
        await interaction.edit_original_response(content=f"you asked {question}", view=_Buttons(timeout=None))
        await interaction.followup.send("and more", allowed_mentions=NONE)

    @tree.command(name="twice", description="Acknowledges twice")
    async def twice(interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        interaction.response._response_type = None
        await interaction.response.defer()

    @ask.autocomplete("question")
    async def complete(_: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=f"{current}!", value=current)]

    group = app_commands.Group(
        name="settings", description="For admins", default_permissions=discord.Permissions(manage_guild=True)
    )

    @group.command(name="limit", description="Sets a limit")
    async def limit(
        interaction: discord.Interaction, user: discord.Member, number: app_commands.Range[int, 1, 5]
    ) -> None:
        await interaction.response.send_message(f"{user.name} {number}", ephemeral=True)

    tree.add_command(group)

    @tree.context_menu(name="Quote")
    async def quote(interaction: discord.Interaction, message: discord.Message) -> None:
        await interaction.response.send_message(f"{message.author.name} said {message.content}")


@contextlib.asynccontextmanager
async def running(fake: FakeDiscord, client: discord.Client) -> AsyncIterator[discord.Client]:
    """The client, logged in; its base URLs are the fake's for as long."""
    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    Route.BASE = fake.api_url
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(fake.gateway_url)
    task = asyncio.create_task(client.start(fake.token))
    try:
        waiting = asyncio.create_task(fake.ready(client.shard_count or 1))
        done, _ = await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            waiting.cancel()
            await task
        await waiting
        yield client
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before
        await client.close()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord() as made:
        yield made


@pytest.fixture
async def client(fake: FakeDiscord) -> AsyncIterator[Client]:
    async with running(fake, Client()) as made:
        assert isinstance(made, Client)
        yield made


async def test_a_client_logs_in_sees_its_guild_and_answers(fake: FakeDiscord, client: Client) -> None:
    asked = await fake.say(fake.alice, fake.general, "ping", mention_bot=True)
    reply = await fake.reply_to(asked)
    assert (reply.content, reply.reply_to, reply.pings) == ("pong", asked, [])
    guild = client.get_guild(int(fake.guild.id))
    assert guild is not None
    assert [c.name for c in guild.text_channels] == ["general"]
    assert guild.me.guild_permissions.send_messages
    await fake.until(lambda: len(client.seen) == 2, otherwise="its own message comes back")


async def test_edits_and_deletions_reach_the_client(fake: FakeDiscord, client: Client) -> None:
    asked = await fake.say(fake.alice, fake.general, "one")
    await fake.edit(asked, "two")
    await fake.delete(asked)
    await fake.until(lambda: len(client.seen) == 3)
    assert [kind for kind, _ in client.seen] == ["message", "edit", "delete"]
    assert client.seen[1][1].content == "two"
    assert fake.messages(fake.general) == []


async def test_direct_messages_have_no_guild(fake: FakeDiscord, client: Client) -> None:
    reply = await fake.reply_to(await fake.say(fake.alice, fake.dm(fake.alice), "ping"))
    assert reply.channel is fake.dm(fake.alice)
    assert isinstance(client.seen[0][1].channel, discord.DMChannel)
    fake.close_dms(fake.bob)
    bob = await client.fetch_user(int(fake.bob.id))
    with pytest.raises(discord.Forbidden, match="50007"):
        await bob.send("hello")


async def test_without_the_intent_content_is_empty_but_for_mentions_and_dms(fake: FakeDiscord) -> None:
    client = Client(intents=discord.Intents(guilds=True, messages=True))
    async with running(fake, client):
        await fake.say(fake.alice, fake.general, "secret")
        await fake.say(fake.alice, fake.general, "hello", mention_bot=True)
        await fake.say(fake.alice, fake.dm(fake.alice), "private")
        await fake.until(lambda: len(client.seen) == 3)
        assert client.texts() == ["", f"{fake.bot.mention} hello", "private"]


async def test_history_pages_backwards(fake: FakeDiscord, client: Client) -> None:
    for number in range(5):
        await fake.say(fake.alice, fake.general, str(number))
    channel = client.get_channel(int(fake.general.id))
    assert isinstance(channel, discord.TextChannel)
    last = [m async for m in channel.history(limit=2)]
    assert [m.content for m in last] == ["4", "3"]
    assert [m.content async for m in channel.history(limit=2, before=last[-1])] == ["2", "1"]
    assert [m.content async for m in channel.history(limit=2, after=last[-1])] == ["4"]


async def test_a_reply_carries_what_it_answers(fake: FakeDiscord, client: Client) -> None:
    first = await fake.say(fake.alice, fake.general, "first")
    await fake.say(fake.bob, fake.general, "second", reply_to=first)
    await fake.until(lambda: len(client.seen) == 2)
    second = client.seen[1][1]
    assert second.reference.resolved.content == "first"
    assert second.mentions == [second.reference.resolved.author]


# Interactions


async def test_a_command_is_deferred_filled_and_followed(fake: FakeDiscord, client: Client) -> None:
    asked = await fake.command(fake.alice, fake.general, "ask", {"question": "why"})
    assert await asked.acknowledged() == "deferred"
    assert (asked.acknowledged_after or 0) < 1
    reply, more = await asked.reply(), await asked.followup()
    assert (reply.content, more.content, more.reply_to) == ("you asked why", "and more", reply)
    assert fake.messages(fake.general) == [reply, more]
    assert (reply.labels, reply.custom_ids) == (["Again", "Form"], ["again", "form", "which"])
    assert not asked.ephemeral
    assert not asked.failed


async def test_ephemeral_answers_are_seen_by_one_person(fake: FakeDiscord, client: Client) -> None:
    asked = await fake.command(fake.alice, fake.general, "ask", {"question": "why", "private": True})
    reply = await asked.reply()
    assert asked.ephemeral
    assert fake.messages(fake.general) == []
    assert fake.messages(fake.general, viewer=fake.alice)[0] is reply
    with pytest.raises(NotOffered, match="bob does not see"):
        await fake.component(fake.bob, reply, "again")
    assert not [value for kind, value in client.seen if kind == "message" and value.flags.ephemeral]


async def test_buttons_selects_and_forms_go_on(fake: FakeDiscord, client: Client) -> None:
    reply = await (await fake.command(fake.alice, fake.general, "ask", {"question": "why"})).reply()
    pressed = await fake.component(fake.bob, reply, reply.button("Again"))
    assert await pressed.acknowledged() == "update"
    assert reply.content == "once more"
    chosen = await fake.component(fake.bob, reply, "which", ["two"])
    assert (await chosen.followup()).content == "chose two"
    assert await chosen.acknowledged() == "deferred_update"
    opened = await fake.component(fake.bob, reply, "form")
    assert await opened.acknowledged() == "modal"
    assert opened.modal["title"] == "What was wrong?"
    field = opened.modal["components"][0]["components"][0]["custom_id"]
    with pytest.raises(NotOffered, match="1 to 20 characters"):
        await fake.modal(opened, {field: "x" * 21})
    sent = await fake.modal(opened, {field: "all of it"})
    assert (await sent.reply()).content == "noted: all of it"
    assert sent.ephemeral
    with pytest.raises(NotOffered, match="no component 'other'"):
        await fake.component(fake.bob, reply, "other")


async def test_autocomplete_sub_commands_and_menus(fake: FakeDiscord, client: Client) -> None:
    choices = await fake.autocomplete(fake.alice, fake.general, "ask", {"question": "wh"}, focused="question")
    assert choices == [{"name": "wh!", "value": "wh"}]
    set_by = await fake.command(fake.olga, fake.general, "settings limit", {"user": fake.bob, "number": 3})
    assert (await set_by.reply()).content == "bob 3"
    said = await fake.say(fake.bob, fake.general, "the lamp")
    quoted = await fake.context_menu(fake.alice, said, "Quote")
    assert (await quoted.reply()).content == "bob said the lamp"


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("nothing", {}, "no command 'nothing'"),
        ("ask", {}, "needs"),
        ("ask", {"question": 3}, "is no"),
        ("ask", {"question": "x", "colour": "red"}, "has no option"),
        ("settings limit", {}, "not offered to alice"),
        ("settings speed", {}, "not offered to alice"),
    ],
)
async def test_what_discord_would_not_send_is_not_offered(
    fake: FakeDiscord, client: Client, name: str, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(NotOffered, match=complaint):
        await fake.command(fake.alice, fake.general, name, options)


async def test_a_user_installed_command_works_where_the_bot_is_not(fake: FakeDiscord, client: Client) -> None:
    other = fake.channel(fake.new_guild("Elsewhere", fake.olga, bot=False), "lobby")
    asked = await fake.command(fake.olga, other, "ask", {"question": "there"})
    assert (await asked.reply()).content == "you asked there"
    between = fake.dm(fake.alice, fake.bob)
    assert (await (await fake.command(fake.bob, between, "ask", {"question": "here"})).reply()).channel is between
    with pytest.raises(NotOffered, match="installed by a user"):
        await fake.command(fake.olga, other, "twice")


async def test_a_token_dies_after_three_seconds_and_after_fifteen_minutes(fake: FakeDiscord, client: Client) -> None:
    late = await fake.command(fake.alice, fake.general, "ask", {"question": "late"}, age=3.5)
    await fake.until(lambda: [r for r in fake.requests if r.path.endswith("/callback") and r.status == 404])
    assert late.failed
    gate = fake.hold("PATCH", "/webhooks/*/messages/@original")
    asked = await fake.command(fake.alice, fake.general, "ask", {"question": "slow"})
    await fake.until(lambda: gate.waiting)
    fake.advance(15 * 60 + 1)
    gate.open()
    await fake.until(lambda: [r for r in fake.requests if r.method == "PATCH" and r.status == 401])
    assert asked.failed


async def test_acknowledging_twice_is_refused_and_noted(fake: FakeDiscord, client: Client) -> None:
    await fake.command(fake.alice, fake.general, "twice")
    await fake.until(lambda: fake.violations)
    assert "already been acknowledged" in fake.violations.pop()


# What the API refuses


async def test_a_violation_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r"content: Must be 2000 or fewer in length\."):
        await _sends_too_much()


async def _sends_too_much() -> None:
    async with FakeDiscord() as fake, running(fake, Client()) as client:
        channel = client.get_channel(int(fake.general.id))
        assert isinstance(channel, discord.TextChannel)
        with pytest.raises(discord.HTTPException, match="50035"):
            await channel.send("x" * 2001)


_ROW = {"type": 1, "components": [{"type": 2, "style": 1, "label": "x", "custom_id": "x"}]}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"content": "x", "colour": "red"}, "UNKNOWN_FIELD"),
        ({"content": " \n "}, "empty message"),
        ({"content": "x", "flags": 64}, "FLAGS_INVALID"),
        ({"embeds": [{"title": "x"}] * 11}, "between 0 and 10"),
        ({"embeds": [{"title": "x" * 257}]}, "256 or fewer"),
        ({"embeds": [{"description": "x" * 4000}] * 2}, "MAX_EMBED_SIZE_EXCEEDED"),
        ({"embeds": [{"title": "x", "url": "javascript:1"}]}, "URL_TYPE_INVALID_URL"),
        ({"embeds": [{"title": "x", "image": {"url": "attachment://no.png"}}]}, "URL_TYPE_INVALID_ATTACHMENT"),
        ({"embeds": [{"title": "x", "fields": [{"name": "x", "value": ""}]}]}, "BASE_TYPE_MIN_LENGTH"),
        ({"content": "x", "components": [_ROW] * 6}, "between 0 and 5"),
        ({"content": "x", "components": [_ROW, _ROW]}, "DUPLICATED"),
        ({"content": "x", "components": [{"type": 1, "components": []}]}, "between 1 and 5"),
        (
            {
                "content": "x",
                "components": [{"type": 1, "components": [{"type": 2, "style": 1, "custom_id": "x" * 101}]}],
            },
            "100 or fewer",
        ),
        ({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}}, "PARSE_EXCLUSIVE"),
        ({"content": "x", "attachments": [{"id": "7"}]}, "neither here nor uploaded"),
    ],
)
async def test_a_message_that_the_api_would_refuse_is_refused(
    fake: FakeDiscord, body: dict[str, Any], complaint: str
) -> None:
    url = f"{fake.api_url}/channels/{fake.general.id}/messages"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {fake.token}"}) as session:
        refused = await session.post(url, json={"allowed_mentions": {"parse": []}, **body})
        assert refused.status == 400
        assert refused.headers["Content-Type"] == "application/json"
    assert complaint in fake.violations.pop()
    assert fake.messages(fake.general) == []


@pytest.mark.parametrize(
    ("commands", "complaint"),
    [
        ([{"name": f"c{n}", "description": "x"} for n in range(101)], "At most 100"),
        ([{"name": "Ask", "description": "x"}], "INVALID_NAME"),
        ([{"name": "ask", "description": "x" * 101}], "100 or fewer"),
        ([{"name": "ask", "description": "x"}] * 2, "DUPLICATE_NAME"),
        ([{"name": "ask", "description": "x", "colour": 1}], "UNKNOWN_FIELD"),
        (
            [
                {
                    "name": "ask",
                    "description": "x",
                    "options": [
                        {"type": 3, "name": "a", "description": "a", "choices": [{"name": "x", "value": "x"}] * 26}
                    ],
                }
            ],
            "between 0 and 25",
        ),
        (
            [
                {
                    "name": "ask",
                    "description": "x",
                    "options": [
                        {"type": 3, "name": "a", "description": "a"},
                        {"type": 3, "name": "b", "description": "b", "required": True},
                    ],
                }
            ],
            "OPTIONS_REQUIRED_INVALID",
        ),
    ],
)
async def test_commands_that_the_api_would_refuse_are_refused(fake: FakeDiscord, commands: Any, complaint: str) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {fake.token}"}) as session:
        refused = await session.put(f"{fake.api_url}/applications/{fake.bot.id}/commands", json=commands)
        assert refused.status == 400
    assert complaint in fake.violations.pop()
    assert fake.commands == []


async def test_forgotten_allowed_mentions_are_noted_and_ping(fake: FakeDiscord, client: Client) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {fake.token}"}) as session:
        await session.post(f"{fake.api_url}/channels/{fake.general.id}/messages", json={"content": fake.bob.mention})
    assert "no allowed_mentions" in fake.violations.pop()
    assert fake.pings == [fake.bob.id]


async def test_an_unknown_path_is_noted(fake: FakeDiscord) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {fake.token}"}) as session:
        assert (await session.get(f"{fake.api_url}/nowhere")).status == 404
    assert "GET /nowhere" in fake.violations.pop()


async def test_commands_come_back_as_discord_tells_them(fake: FakeDiscord, client: Client) -> None:
    before = [dict(c) for c in fake.commands]
    assert await client.tree.sync()
    assert fake.commands == before
    ask = next(c for c in before if c["name"] == "ask")
    assert ask["options"][1] == {"type": 5, "name": "private", "description": "…"}
    assert ask["integration_types"] == [0, 1]


# Permissions, threads, files


async def test_permissions_are_kept(fake: FakeDiscord, client: Client) -> None:
    channel = client.get_channel(int(fake.general.id))
    assert isinstance(channel, discord.TextChannel)
    await fake.permit(fake.general, fake.bot, deny=Permission.SEND_MESSAGES)
    with pytest.raises(discord.Forbidden, match="50013"):
        await channel.send("hello")
    await fake.until(lambda: not channel.permissions_for(channel.guild.me).send_messages)
    await fake.permit(fake.general, fake.bot, deny=Permission.VIEW_CHANNEL)
    with pytest.raises(discord.Forbidden, match="50001"):
        await channel.send("hello")
    await fake.say(fake.alice, fake.general, "unseen")
    shown = await fake.add_channel(fake.guild, "later")
    await fake.say(fake.alice, shown, "seen")
    await fake.until(lambda: client.texts() == ["seen"])
    assert [c.name for c in channel.guild.text_channels] == ["general", "later"]
    await fake.remove_channel(shown)
    with pytest.raises(discord.NotFound, match="10003"):
        await client.seen[-1][1].reply("too late")


async def test_threads_are_made_written_in_and_archived(fake: FakeDiscord, client: Client) -> None:
    asked = await fake.say(fake.alice, fake.general, "a question")
    await fake.until(lambda: client.seen)
    thread = await client.seen[0][1].create_thread(name="A question")
    await thread.send("an answer")
    there = fake.channels[str(thread.id)]
    assert (there.id, asked.thread) == (asked.id, there)
    await fake.say(fake.bob, there, "ping")
    await fake.until(lambda: [m.content for m in fake.messages(there, author=fake.bot)][-1] == "pong")
    with pytest.raises(discord.HTTPException, match="160004"):
        await client.seen[0][1].create_thread(name="Again")
    await fake.archive(there, locked=True)
    with pytest.raises(discord.Forbidden, match="50083"):
        await thread.send("too late")


async def test_a_thread_of_others_is_seen(fake: FakeDiscord, client: Client) -> None:
    thread = await fake.start_thread(fake.alice, fake.general, "Lamps")
    await fake.say(fake.alice, thread, "ping")
    await fake.until(lambda: fake.messages(thread, author=fake.bot))
    assert fake.bot.id in thread.joined
    assert [value.name for kind, value in client.seen if kind == "thread"] == ["Lamps"]


async def test_files_are_uploaded_described_and_served(fake: FakeDiscord, client: Client) -> None:
    channel = client.get_channel(int(fake.general.id))
    assert isinstance(channel, discord.TextChannel)
    file = discord.File(io.BytesIO(b"\x89PNG picture"), "card.png", description="A quote")
    embed = discord.Embed(title="Card").set_image(url="attachment://card.png")
    sent = await channel.send("see", file=file, embed=embed)
    assert (sent.attachments[0].filename, sent.attachments[0].description) == ("card.png", "A quote")
    assert await sent.attachments[0].read() == b"\x89PNG picture"
    assert fake.requests[-1].files == (("card.png", b"\x89PNG picture"),)


async def test_a_repeated_nonce_is_one_message(fake: FakeDiscord, client: Client) -> None:
    channel = client.get_channel(int(fake.general.id))
    assert isinstance(channel, discord.TextChannel)
    assert (await channel.send("once", nonce="7")).id == (await channel.send("once", nonce="7")).id
    assert len(fake.messages(fake.general)) == 1


# The gateway


async def test_a_cut_line_is_resumed_and_nothing_is_lost(fake: FakeDiscord, client: Client) -> None:
    await fake.say(fake.alice, fake.general, "before")
    await fake.until(lambda: client.texts() == ["before"])
    await fake.drop()
    await fake.say(fake.alice, fake.general, "meanwhile")
    await fake.resumed()
    await fake.say(fake.alice, fake.general, "after")
    await fake.until(lambda: client.texts() == ["before", "meanwhile", "after"])
    assert len(fake.identifies) == 1


@pytest.mark.parametrize("how", ["reconnect", "close"])
async def test_a_client_that_is_told_to_come_again_resumes(fake: FakeDiscord, client: Client, how: str) -> None:
    await (fake.reconnect() if how == "reconnect" else fake.drop(4000))
    await fake.resumed()
    await fake.until(lambda: ("resumed", None) in client.seen)
    assert len(fake.identifies) == 1


async def test_a_refused_resume_begins_a_new_session(fake: FakeDiscord, client: Client) -> None:
    fake.refuse_resume()
    await fake.drop()
    await fake.until(lambda: len(fake.identifies) == 2)
    await fake.ready()
    await fake.say(fake.alice, fake.general, "again")
    await fake.until(lambda: client.texts() == ["again"])
    assert fake.gateway.resumed == 0


async def test_an_invalidated_session_is_identified_anew(fake: FakeDiscord, client: Client) -> None:
    await fake.invalidate()
    await fake.until(lambda: len(fake.identifies) == 2 and fake.gateway.ready)


async def test_heartbeats_come_when_due_and_when_asked_for(fake: FakeDiscord, client: Client) -> None:
    await fake.until(lambda: fake.heartbeats)
    before = len(fake.heartbeats)
    await fake.ask_heartbeat()
    await fake.until(lambda: len(fake.heartbeats) == before + 1)
    assert fake.heartbeats[-1] == fake.gateway.ready[0].events[-1]["s"]


async def test_a_gateway_that_acknowledges_nothing_is_left() -> None:
    async with FakeDiscord(heartbeat_interval=0.05) as fake, running(fake, Client(heartbeat_timeout=0.1)):
        fake.ack_heartbeats = False
        await fake.resumed()


async def test_a_wrong_token_is_refused(fake: FakeDiscord) -> None:
    client = Client()
    fake.token, right = "another", fake.token
    with pytest.raises(discord.LoginFailure):
        async with _logged_in_with(fake, client, right):
            pass
    assert fake.requests[-1].status == 401


@contextlib.asynccontextmanager
async def _logged_in_with(fake: FakeDiscord, client: discord.Client, token: str) -> AsyncIterator[None]:
    before, Route.BASE = Route.BASE, fake.api_url
    try:
        await client.login(token)
        yield
    finally:
        Route.BASE = before
        await client.close()


async def test_a_privileged_intent_that_is_off_ends_the_connection() -> None:
    async with FakeDiscord(privileged=()) as fake:
        with pytest.raises(discord.PrivilegedIntentsRequired):
            async with running(fake, Client()):
                pass


async def test_shards_get_their_guilds_and_messages() -> None:
    class Sharded(discord.AutoShardedClient):
        before_identify_hook = Client.before_identify_hook

    async with FakeDiscord() as fake:
        intents = discord.Intents(guilds=True, messages=True)
        client = Sharded(intents=intents, shard_count=2, guild_ready_timeout=0.02)
        async with running(fake, client):
            await fake.until(lambda: client.get_guild(int(fake.guild.id)))
            assert sorted(i["shard"] for i in fake.identifies) == [[0, 2], [1, 2]]


@pytest.mark.parametrize("compress", [None, "zlib-stream", "zstd-stream"])
async def test_the_stream_is_plain_or_compressed_as_asked(fake: FakeDiscord, compress: str | None) -> None:
    query = {"v": "10", "encoding": "json"} | ({"compress": compress} if compress else {})
    async with aiohttp.ClientSession() as session, session.ws_connect(fake.gateway_url, params=query) as socket:
        read = _reader(compress)
        assert read(await socket.receive())["d"] == {"heartbeat_interval": 41250}
        identify = {"token": fake.token, "intents": 1, "properties": {}}
        await socket.send_json({"op": 2, "d": identify})
        ready, guild = read(await socket.receive()), read(await socket.receive())
        assert (ready["t"], guild["t"], guild["s"]) == ("READY", "GUILD_CREATE", 2)
        await socket.send_json({"op": 2, "d": identify})
        assert (await socket.receive()).data == 4005


def _reader(compress: str | None) -> Any:
    if compress is None:
        return lambda message: json.loads(message.data)
    if compress == "zlib-stream":
        whole = zlib.decompressobj()
    else:
        whole = pytest.importorskip("zstandard").ZstdDecompressor().decompressobj()
    return lambda message: json.loads(whole.decompress(message.data))


@pytest.mark.parametrize(
    ("payload", "code"),
    [("nonsense", 4002), ('{"op": 3, "d": {}}', 4003), ('{"op": 2, "d": {"token": "x", "intents": 1}}', 4004)],
)
async def test_a_wrong_payload_closes_the_connection(fake: FakeDiscord, payload: str, code: int) -> None:
    query = {"v": "10", "encoding": "json"}
    async with aiohttp.ClientSession() as session, session.ws_connect(fake.gateway_url, params=query) as socket:
        await socket.receive()
        await socket.send_str(payload)
        await socket.receive()
        assert socket.close_code == code


async def test_a_client_that_sends_too_much_is_thrown_out(fake: FakeDiscord) -> None:
    query = {"v": "10", "encoding": "json"}
    async with aiohttp.ClientSession() as session, session.ws_connect(fake.gateway_url, params=query) as socket:
        for _ in range(121):
            await socket.send_json({"op": 1, "d": None})
        async for _ in socket:
            pass
        assert socket.close_code == 4008


# Faults of the REST API


@pytest.mark.parametrize("globally", [False, True])
async def test_a_rate_limited_request_is_sent_again_when_it_may(
    fake: FakeDiscord, client: Client, globally: bool
) -> None:
    fake.fail("POST", "/channels/*/messages", 429, retry_after=0.05, globally=globally)
    reply = await fake.reply_to(await fake.say(fake.alice, fake.general, "ping"))
    tries = [r.status for r in fake.requests if r.path.endswith("/messages")]
    assert (tries, len(fake.messages(fake.general, author=fake.bot)), reply.content) == ([429, 200], 1, "pong")


async def test_a_full_bucket_answers_429_until_it_drains() -> None:
    async with FakeDiscord(rate_limits={"POST /channels/*/typing": (1, 0.1)}) as fake:
        url = f"{fake.api_url}/channels/{fake.general.id}/typing"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bot {fake.token}"}) as session:
            first, second = await session.post(url), await session.post(url)
            assert (first.status, first.headers["X-RateLimit-Remaining"], second.status) == (204, "0", 429)
            assert 0 < (await second.json())["retry_after"] <= 0.1
        assert len(fake.typing) == len(fake.rate_limited) == 1


async def test_an_answer_can_be_lost_after_the_deed(fake: FakeDiscord) -> None:
    fake.fail("POST", "/channels/*/messages", 502, after=True)
    url = f"{fake.api_url}/channels/{fake.general.id}/messages"
    body = {"content": "x", "allowed_mentions": {"parse": []}}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {fake.token}"}) as session:
        assert (await session.post(url, json=body)).status == 502
    assert len(fake.messages(fake.general)) == 1


async def test_a_message_whose_answer_was_lost_is_sent_again_and_stays_single(
    fake: FakeDiscord, client: Client
) -> None:
    def answers() -> list[int]:
        return [r.status for r in fake.requests if r.path.endswith("/messages")]

    fake.fail("POST", "/channels/*/messages", 429, retry_after=0.01, after=True)
    await fake.say(fake.alice, fake.general, "ping")
    await fake.until(lambda: answers() == [429, 200])
    assert len(fake.messages(fake.general, author=fake.bot)) == 1


async def test_other_bots_webhooks_and_system_messages_look_like_themselves(fake: FakeDiscord, client: Client) -> None:
    robot = fake.user("robot", bot=True)
    fake.join(fake.guild, robot)
    await fake.say(robot, fake.general, "beep")
    await fake.say_by_webhook(fake.general, "news", "today")
    await fake.say(fake.bob, fake.general, "", kind=7)
    await fake.until(lambda: len(client.seen) == 3)
    beep, news, joined = (value for _, value in client.seen)
    assert (beep.author.bot, beep.webhook_id, news.author.bot) == (True, None, True)
    assert str(news.webhook_id) == str(news.author.id)
    assert joined.is_system()


async def test_until_tells_what_was_done_when_it_gives_up(fake: FakeDiscord) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get(f"{fake.api_url}/users/@me")
    with pytest.raises(AssertionError, match=r"no pong(.|\n)*GET /users/@me → 401"):
        await fake.until(lambda: False, 0.05, "no pong")
