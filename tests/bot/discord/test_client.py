from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bot.desk import CUT_SHORT
from bot.discord.rendering import neutral
from bot.host import NOT_HERE
from bot.store import FILE, Store
from persona.errors import ConfigError
from persona.pipeline import Fireside
from tests.bot.discord.running import Bot, running
from tests.bot.replies import reply
from tests.bot.scripted import CORPUS, Scripted
from tests.discord_fake import FakeDiscord, Permission

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def left_behind(folder: Path) -> list[str]:
    """The events in a store that were not done with."""
    store = await Store.open(folder / FILE)
    found = [seen.event for seen in await store.unanswered("discord")]
    await store.close()
    return found


async def test_answers_a_mention_by_one_reply_that_pings_nobody(bot: Bot):
    asked = await bot.fake.say(bot.fake.alice, bot.fake.general, "What is a lamp?", mention_bot=True)
    answer = await bot.fake.reply_to(asked)
    assert answer.content.startswith("You asked: What is a lamp?")
    assert answer.reply_to is asked
    assert not answer.pings
    assert bot.fireside.asked[0].history == ()


async def test_shows_that_it_types_at_once_and_before_the_answer_is_there(bot: Bot):
    bot.fireside.gate.clear()
    await bot.fake.say(bot.fake.alice, bot.fake.general, "What is a lamp?", mention_bot=True)
    await bot.fake.until(lambda: bot.fake.typing)
    assert not bot.fake.messages(bot.fake.general, author=bot.fake.bot)


async def test_a_dm_needs_no_mention(bot: Bot):
    asked = await bot.fake.say(bot.fake.alice, bot.fake.dm(bot.fake.alice), "What is a lamp?")
    assert (await bot.fake.reply_to(asked)).content.startswith("You asked: What is a lamp?")


async def test_what_is_not_said_to_it_is_left_alone(bot: Bot):
    fake = bot.fake
    await fake.say(fake.alice, fake.general, "What is a lamp?")
    await fake.say(fake.alice, fake.general, f"{fake.bob.mention} what is a lamp?")
    last = await fake.say(fake.alice, fake.general, "And this?", mention_bot=True)
    await fake.reply_to(last)
    assert [q.text for q in bot.fireside.asked] == ["And this?"]


async def test_a_reply_chain_is_the_history(bot: Bot):
    fake = bot.fake
    first = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    answer = await fake.reply_to(first)
    await fake.say(fake.bob, fake.general, "Something else.")
    second = await fake.say(fake.alice, fake.general, "And its oil?", reply_to=answer)
    await fake.reply_to(second)
    turns = bot.fireside.asked[1].history
    assert [(t.role, t.content) for t in turns] == [
        ("user", "What is a lamp?"),
        ("assistant", "You asked: What is a lamp?"),
    ]


async def test_a_thread_that_it_takes_part_in_goes_on_without_a_mention(bot: Bot):
    fake = bot.fake
    thread = await fake.start_thread(fake.alice, fake.general, "Lamps")
    unasked = await fake.say(fake.alice, thread, "Only thinking aloud.")
    first = await fake.say(fake.alice, thread, "What is a lamp?", mention_bot=True)
    await fake.reply_to(first)
    second = await fake.say(fake.alice, thread, "And its oil?")
    assert "And its oil?" in (await fake.reply_to(second)).content
    assert unasked.content not in [q.text for q in bot.fireside.asked]
    said = [t.content for t in bot.fireside.asked[1].history]
    assert said == ["Only thinking aloud.", "What is a lamp?", "You asked: What is a lamp?"]


async def test_a_thread_that_is_opened_on_its_reply_goes_on_without_a_mention_and_knows_the_reply(bot: Bot):
    fake = bot.fake
    reply = await fake.reply_to(await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True))
    thread = await fake.start_thread(fake.bob, fake.general, "Lamps", reply)
    await fake.reply_to(await fake.say(fake.bob, thread, "And its oil?"))
    turns = [(turn.role, turn.content) for turn in bot.fireside.asked[-1].history]
    assert turns == [("user", "What is a lamp?"), ("assistant", "You asked: What is a lamp?")]


async def test_a_thread_that_is_opened_on_somebody_elses_message_is_left_alone(bot: Bot):
    fake = bot.fake
    said = await fake.say(fake.alice, fake.general, "I bought a lamp.")
    thread = await fake.start_thread(fake.bob, fake.general, "Lamps", said)
    await fake.say(fake.bob, thread, "Where?")
    await fake.reply_to(await fake.say(fake.bob, thread, "What is a lamp?", mention_bot=True))
    assert [question.text for question in bot.fireside.asked] == ["What is a lamp?"]


async def test_in_a_thread_two_people_are_kept_apart(bot: Bot):
    fake = bot.fake
    thread = await fake.start_thread(fake.alice, fake.general, "Lamps")
    await fake.reply_to(await fake.say(fake.alice, thread, "What is a lamp?", mention_bot=True))
    await fake.reply_to(await fake.say(fake.bob, thread, "What is a rope?", mention_bot=True))
    await fake.reply_to(await fake.say(fake.alice, thread, "And its oil?"))
    said = [t.content for t in bot.fireside.asked[2].history]
    assert said == ["What is a lamp?", "You asked: What is a lamp?"]


async def test_in_a_thread_what_is_said_to_somebody_else_is_left_alone(bot: Bot):
    fake = bot.fake
    thread = await fake.start_thread(fake.alice, fake.general, "Lamps")
    await fake.reply_to(await fake.say(fake.alice, thread, "What is a lamp?", mention_bot=True))
    theirs = await fake.say(
        fake.bob,
        thread,
        "I like lamps, and this is no question to anyone but Alice.",
        reply_to=fake.messages(thread)[0],
    )
    await fake.say(fake.alice, thread, f"{fake.bob.mention} what do you think?")
    await fake.reply_to(await fake.say(fake.alice, thread, "And its oil?"))
    assert theirs.content not in [q.text for q in bot.fireside.asked]
    assert len(bot.fireside.asked) == 2


async def test_a_bare_mention_under_what_somebody_said_asks_about_that(bot: Bot):
    fake = bot.fake
    said = await fake.say(fake.bob, fake.general, "Lamps are overrated.")
    await fake.reply_to(await fake.say(fake.alice, fake.general, "", reply_to=said, mention_bot=True))
    assert bot.fireside.asked[0].text == "Lamps are overrated."


async def test_other_bots_and_webhooks_are_ignored_unless_allowed(bot: Bot):
    fake = bot.fake
    robot = fake.user("robot", bot=True)
    fake.join(fake.guild, robot)
    await fake.say(robot, fake.general, "Are you a lamp?", mention_bot=True)
    await fake.say_by_webhook(fake.general, "hook", f"{fake.bot.mention} Are you a lamp?")
    await fake.reply_to(await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True))
    assert [q.text for q in bot.fireside.asked] == ["What is a lamp?"]
    await bot.store.change_place("discord", fake.guild.id, other_bots=True)
    await fake.reply_to(await fake.say(robot, fake.general, "And now?", mention_bot=True))


async def test_the_model_s_text_comes_by_edits_of_one_message(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(pieces=("One.", " Two.")), tmp_path) as bot:
        asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
        await fake.reply_to(asked, done=lambda m: m.content == "One. …")
        bot.fireside.next_piece.release()
        await fake.reply_to(asked, done=lambda m: "Two." in m.content)
        bot.fireside.next_piece.release()
        answer = await fake.reply_to(asked, done=lambda m: m.components)
        assert answer.content.startswith("You asked: What is a lamp?")
        assert len(fake.messages(fake.general, author=fake.bot)) == 1
        assert len(answer.edits) == 3


async def test_a_question_that_is_edited_while_it_waits_is_answered_as_it_then_stands(bot: Bot):
    fake = bot.fake
    bot.fireside.gate.clear()
    asked = await fake.say(fake.alice, fake.general, "What is a lmap?", mention_bot=True)
    await fake.until(lambda: bot.fireside.asked)
    await fake.edit(asked, f"{fake.bot.mention} What is a lamp?")
    await fake.until(lambda: len(bot.fireside.asked) == 2)
    bot.fireside.gate.set()
    assert "What is a lamp?" in (await fake.reply_to(asked)).content
    assert len(fake.messages(fake.general, author=fake.bot)) == 1


async def test_a_question_that_is_deleted_while_it_waits_gets_no_reply(bot: Bot):
    fake = bot.fake
    bot.fireside.gate.clear()
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    await fake.until(lambda: bot.fireside.asked)
    await fake.delete(asked)
    await fake.until(lambda: not bot.client._pending)
    bot.fireside.gate.set()
    assert not fake.messages(fake.general, author=fake.bot)


async def test_the_disclosure_is_shown_on_first_contact_in_a_channel_and_not_again(bot: Bot):
    fake = bot.fake
    disclosure = bot.fireside.card.disclosure
    first = await fake.reply_to(await fake.say(fake.alice, fake.general, "One?", mention_bot=True))
    second = await fake.reply_to(await fake.say(fake.alice, fake.general, "Two?", mention_bot=True))
    assert disclosure in first.content
    assert disclosure not in second.content


async def test_a_message_that_comes_twice_is_answered_once(bot: Bot):
    fake = bot.fake
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    await fake.posted(asked)
    await fake.reply_to(await fake.say(fake.alice, fake.general, "And its oil?", mention_bot=True))
    assert [q.text for q in bot.fireside.asked] == ["What is a lamp?", "And its oil?"]


async def test_no_message_is_answered_twice_by_a_process_that_was_started_anew(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path):
        asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
        await fake.reply_to(asked)
    async with running(fake, Scripted(), tmp_path) as bot:
        await fake.posted(asked)
        await fake.reply_to(await fake.say(fake.alice, fake.general, "And its oil?", mention_bot=True))
        assert [q.text for q in bot.fireside.asked] == ["And its oil?"]


async def test_what_a_killed_process_left_behind_is_answered_by_the_next(fake: FakeDiscord, tmp_path: Path):
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    store = await Store.open(tmp_path / FILE)
    assert await store.first_sight("discord", asked.id, fake.general.id)
    await store.close()
    async with running(fake, Scripted(), tmp_path):
        assert "What is a lamp?" in (await fake.reply_to(asked)).content


async def test_what_a_killed_process_had_half_written_is_finished_by_the_next(fake: FakeDiscord, tmp_path: Path):
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    half = fake.message(fake.general, fake.bot, "A lamp is …", type=19, reply_to=asked)
    half.reference = {"message_id": asked.id, "channel_id": fake.general.id, "guild_id": fake.guild.id}
    store = await Store.open(tmp_path / FILE)
    assert await store.first_sight("discord", asked.id, fake.general.id)
    await store.close()
    async with running(fake, Scripted(), tmp_path):
        await fake.until(lambda: half.content.startswith("You asked: What is a lamp?"))
    assert fake.messages(fake.general, author=fake.bot) == [half]


async def test_a_long_reply_that_stands_there_whole_is_left_alone_by_the_next_process(
    fake: FakeDiscord, tmp_path: Path
):
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    for text, components in (("A lamp is", []), ("a light.", [{"type": 1, "components": []}])):
        part = fake.message(fake.general, fake.bot, text, type=19, reply_to=asked, components=components)
        part.reference = {"message_id": asked.id, "channel_id": fake.general.id, "guild_id": fake.guild.id}
    store = await Store.open(tmp_path / FILE)
    assert await store.first_sight("discord", asked.id, fake.general.id)
    await store.close()
    async with running(fake, Scripted(), tmp_path) as bot:
        await fake.until(bot.client.is_ready)
        await fake.reply_to(await fake.say(fake.bob, fake.general, "And its oil?", mention_bot=True))
        assert [q.text for q in bot.fireside.asked] == ["And its oil?"]
    assert await left_behind(tmp_path) == []


async def test_where_it_may_not_read_the_past_it_answers_without_a_reply(bot: Bot):
    fake = bot.fake
    await fake.permit(fake.general, fake.bot, deny=Permission.READ_MESSAGE_HISTORY)
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    answer = await fake.reply_to(asked)
    assert answer.reply_to is None


async def test_a_resumed_connection_loses_and_doubles_nothing(bot: Bot):
    fake = bot.fake
    await fake.reply_to(await fake.say(fake.alice, fake.general, "One?", mention_bot=True))
    await fake.reconnect()
    missed = await fake.say(fake.alice, fake.general, "Two?", mention_bot=True)
    await fake.resumed()
    await fake.reply_to(missed)
    assert [q.text for q in bot.fireside.asked] == ["One?", "Two?"]


async def test_a_reply_gets_through_errors_of_the_server_once(bot: Bot):
    fake = bot.fake
    fake.fail("POST", "/channels/*/messages", 503, times=1, after=True)
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    await fake.reply_to(asked)
    await bot.client.desk.drain(5.0)
    assert len(fake.messages(fake.general, author=fake.bot)) == 1


async def test_a_channel_that_takes_no_message_is_named_in_one_sentence(bot: Bot, caplog: pytest.LogCaptureFixture):
    fake = bot.fake
    await fake.permit(fake.general, fake.bot, deny=Permission.SEND_MESSAGES)
    await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    await fake.until(lambda: "Can't write in #general" in caplog.text)
    assert "Send Messages" in caplog.messages[-1]


async def test_a_full_queue_says_so_and_a_waiting_question_its_place(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path, waiting=1) as bot:
        bot.fireside.gate.clear()
        first = await fake.say(fake.alice, fake.general, "One?", mention_bot=True)
        await fake.until(lambda: bot.fireside.asked)
        second = await fake.say(fake.bob, fake.general, "Two?", mention_bot=True)
        waits = await fake.reply_to(second, done=lambda m: "number 1 in the queue" in m.content)
        third = await fake.say(fake.olga, fake.general, "Three?", mention_bot=True)
        assert "Too many are asking" in (await fake.reply_to(third, done=lambda m: m.reply_to is third)).content
        bot.fireside.gate.set()
        assert "One?" in (await fake.reply_to(first, done=lambda m: m.reply_to is first)).content
        await fake.until(lambda: "Two?" in waits.content)


async def test_blocked_people_and_channels_get_no_answer(bot: Bot):
    fake = bot.fake
    quiet = fake.channel(fake.guild, "quiet")
    await fake.channel_changed(quiet)
    settings = {"blocked_channels": (quiet.id,), "blocked_users": (fake.bob.id,)}
    await bot.store.change_place("discord", fake.guild.id, **settings)
    await fake.say(fake.alice, quiet, "One?", mention_bot=True)
    await fake.say(fake.bob, fake.general, "Two?", mention_bot=True)
    await fake.reply_to(await fake.say(fake.alice, fake.general, "Three?", mention_bot=True))
    assert [q.text for q in bot.fireside.asked] == ["Three?"]


async def test_mentions_only_means_that_a_thread_does_not_go_on(bot: Bot):
    fake = bot.fake
    await bot.store.change_place("discord", fake.guild.id, answers="mentions")
    thread = await fake.start_thread(fake.alice, fake.general, "Lamps")
    await fake.reply_to(await fake.say(fake.alice, thread, "One?", mention_bot=True))
    await fake.say(fake.alice, thread, "Two?")
    await fake.reply_to(await fake.say(fake.alice, thread, "Three?", mention_bot=True))
    assert [q.text for q in bot.fireside.asked] == ["One?", "Three?"]


async def test_commands_are_registered_once_and_not_again_while_they_are_the_same(fake: FakeDiscord, tmp_path: Path):
    for _ in range(2):
        async with running(fake, Scripted(), tmp_path):
            pass
    assert sum(r.method == "PUT" for r in fake.requests) == 1


async def test_without_the_message_content_intent_mentions_and_dms_are_answered(tmp_path: Path):
    async with FakeDiscord(privileged=()) as fake, running(fake, Scripted(), tmp_path, content=False):
        await fake.reply_to(await fake.say(fake.alice, fake.general, "One?", mention_bot=True))
        await fake.reply_to(await fake.say(fake.alice, fake.dm(fake.alice), "Two?"))


async def test_a_channel_may_have_another_persona(fake: FakeDiscord, tmp_path: Path):
    other = Scripted(lambda _: reply(text="From the other one.", corpus=CORPUS.fingerprint))
    async with running(fake, Scripted(), tmp_path, personas={"other": other}.__getitem__) as bot:
        there = fake.channel(fake.guild, "other-talks")
        await fake.channel_changed(there)
        await bot.store.change_place("discord", fake.guild.id, there.id, persona="other")
        told = await fake.reply_to(await fake.say(fake.alice, there, "One?", mention_bot=True))
        assert "From the other one." in told.content
        here = await fake.reply_to(await fake.say(fake.alice, fake.general, "Two?", mention_bot=True))
        assert "You asked: Two?" in here.content


async def test_a_persona_that_can_not_be_opened_is_told_without_a_reason(fake: FakeDiscord, tmp_path: Path):
    def broken(name: str) -> Fireside:
        raise ConfigError(f"no card {name}")

    async with running(fake, Scripted(), tmp_path, personas=broken) as bot:
        await bot.store.change_place("discord", fake.guild.id, persona="other")
        told = await fake.reply_to(await fake.say(fake.alice, fake.general, "One?", mention_bot=True))
        assert told.content == neutral(NOT_HERE)


async def test_only_the_roles_that_may_ask_are_answered(bot: Bot):
    fake = bot.fake
    asks, spoils = await fake.add_role(fake.guild, "asks"), await fake.add_role(fake.guild, "spoils")
    await bot.store.change_place("discord", fake.guild.id, allowed_roles=(asks.id,), blocked_roles=(spoils.id,))
    await fake.say(fake.alice, fake.general, "One?", mention_bot=True)
    fake.join(fake.guild, fake.bob, [asks])
    await fake.reply_to(await fake.say(fake.bob, fake.general, "Two?", mention_bot=True))
    fake.join(fake.guild, fake.bob, [asks, spoils])
    await fake.say(fake.bob, fake.general, "Three?", mention_bot=True)
    fake.join(fake.guild, fake.olga, [asks])
    await fake.reply_to(await fake.say(fake.olga, fake.general, "Four?", mention_bot=True))
    assert [q.text for q in bot.fireside.asked] == ["Two?", "Four?"]


async def test_what_was_asked_while_there_was_no_bot_is_answered_once_it_is_there(fake: FakeDiscord, tmp_path: Path):
    """Discord tells of it no more: it is looked for."""
    dm = fake.dm(fake.alice)
    async with running(fake, Scripted(), tmp_path):
        early = await fake.say(fake.alice, dm, "What is a lamp?")
        await fake.reply_to(early)
    missed = [
        await fake.say(fake.alice, fake.general, "And its oil?", mention_bot=True),
        await fake.say(fake.alice, dm, "And its wick?"),
    ]
    unasked = await fake.say(fake.bob, fake.general, "Nice weather.")
    async with running(fake, Scripted(), tmp_path) as bot:
        for asked in missed:
            await fake.reply_to(asked)
        assert sorted(q.text for q in bot.fireside.asked) == ["And its oil?", "And its wick?"]
    assert not [m for m in fake.messages(fake.general) if m.reply_to is unasked]


async def test_what_was_answered_is_not_answered_again_though_the_store_lost_it(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path / "one"):
        await fake.reply_to(await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True))
    async with running(fake, Scripted(), tmp_path / "other") as bot:
        await fake.reply_to(await fake.say(fake.alice, fake.general, "And its oil?", mention_bot=True))
        assert [q.text for q in bot.fireside.asked] == ["And its oil?"]


async def test_a_session_that_may_not_be_resumed_loses_no_question(bot: Bot):
    fake = bot.fake
    fake.refuse_resume()
    before = len(fake.identifies)
    await fake.drop()
    missed = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    await fake.until(lambda: len(fake.identifies) > before, 20)  # the library waits five seconds
    assert (await fake.reply_to(missed, timeout=10)).reply_to is missed


async def test_whoever_s_command_a_killed_process_left_is_told_and_who_was_answered_is_not(
    fake: FakeDiscord, tmp_path: Path
):
    before, killed = tmp_path / "before", tmp_path / "killed"
    async with running(fake, Scripted(), before) as bot:
        answered = await fake.command(fake.bob, fake.general, "ask", {"question": "What is oil?"})
        said = (await answered.reply()).content
        bot.fireside.gate.clear()
        cut = await fake.command(fake.alice, fake.general, "ask", {"question": "What is a lamp?"})
        await fake.until(lambda: len(bot.fireside.asked) == 2)
        shutil.copytree(before, killed)  # the store, as a process that is killed now leaves it
        fake.fail("*", "/webhooks/*", 400, times=None)  # and nothing more comes of it
    fake.faults.clear()
    assert await left_behind(killed) == [f"{cut.id}:{cut.token}"]
    async with running(fake, Scripted(), killed):
        await fake.until(lambda: cut.original is not None and cut.original.content == CUT_SHORT)
        await fake.reply_to(await fake.say(fake.alice, fake.general, "And its oil?", mention_bot=True))
        assert (await answered.reply()).content == said
    assert await left_behind(killed) == []


async def test_a_command_s_reply_that_discord_does_not_take_for_long_is_told_by_the_next_process(
    fake: FakeDiscord, tmp_path: Path
):
    async with running(fake, Scripted(), tmp_path) as bot:
        fake.fail("*", "/webhooks/*", 429, times=None, retry_after=0.001)
        asked = await fake.command(fake.alice, fake.general, "ask", {"question": "What is a lamp?"})
        await fake.until(lambda: bot.fireside.asked)
    fake.faults.clear()
    assert await left_behind(tmp_path) == [f"{asked.id}:{asked.token}"]
    async with running(fake, Scripted(), tmp_path):
        await fake.until(lambda: asked.original is not None and asked.original.content == CUT_SHORT)
    assert await left_behind(tmp_path) == []


async def test_a_question_that_can_t_be_read_again_yet_is_kept_for_the_next_start(fake: FakeDiscord, tmp_path: Path):
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    store = await Store.open(tmp_path / FILE)
    await store.first_sight("discord", asked.id, fake.general.id)
    await store.close()
    fake.fail("GET", "/channels/*/messages/*", 400, times=None)
    async with running(fake, Scripted(), tmp_path):
        await fake.until(lambda: any("messages/" in str(request) for request in fake.requests))
        await fake.reply_to(await fake.say(fake.bob, fake.general, "And its oil?", mention_bot=True))
    assert await left_behind(tmp_path) == [asked.id]
    fake.faults.clear()
    async with running(fake, Scripted(), tmp_path):
        assert "What is a lamp?" in (await fake.reply_to(asked, done=lambda m: m.reply_to is asked)).content


async def test_a_channel_that_can_t_be_read_for_the_moment_is_looked_through_again(fake: FakeDiscord, tmp_path: Path):
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    fake.fail("GET", "/channels/*/messages", 429, times=25, retry_after=0.001)  # more than one reading's tries
    async with running(fake, Scripted(), tmp_path):
        assert "What is a lamp?" in (await fake.reply_to(asked)).content


async def test_a_reply_that_discord_does_not_take_for_long_comes_once_it_does(bot: Bot):
    fake = bot.fake
    fake.fail("POST", "/channels/*/messages", 429, times=45, retry_after=0.001)  # more than one reply's tries
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    first = await fake.reply_to(asked, timeout=20)
    assert "What is a lamp?" in first.content
    assert bot.fireside.card.disclosure in first.content  # it is said once a channel: not lost with the first try
    await bot.client.desk.drain(5.0)
    assert len(fake.messages(fake.general, author=fake.bot)) == len(bot.fireside.asked) == 1


async def test_a_reply_that_is_still_owed_when_the_bot_stops_is_left_to_the_next_process(
    fake: FakeDiscord, tmp_path: Path
):
    async with running(fake, Scripted(), tmp_path) as bot:
        fake.fail("POST", "/channels/*/messages", 429, times=None, retry_after=0.001)
        asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
        await fake.until(lambda: bot.fireside.asked)
    fake.faults.clear()
    assert await left_behind(tmp_path) == [asked.id]
    async with running(fake, Scripted(), tmp_path):
        assert "What is a lamp?" in (await fake.reply_to(asked)).content


async def test_what_can_not_be_seen_to_holds_up_nothing_else_that_is_owed(fake: FakeDiscord, tmp_path: Path):
    odd = fake.channel(fake.guild, "odd", kind=99)  # of a type that the library doesn't know
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    store = await Store.open(tmp_path / FILE)
    await store.first_sight("discord", asked.id, fake.general.id)
    await store.first_sight("discord", "5", odd.id)
    await store.close()
    fake.fail("GET", f"/channels/{fake.general.id}/messages/*", 429, times=25, retry_after=0.001)
    async with running(fake, Scripted(), tmp_path):
        assert "What is a lamp?" in (await fake.reply_to(asked)).content


async def test_progress_of_a_killed_process_that_could_note_nothing_gives_way_to_the_answer(
    fake: FakeDiscord, tmp_path: Path
):
    asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
    waits = fake.message(fake.general, fake.bot, "-# You are number 3 in the queue.", type=19, reply_to=asked)
    waits.reference = {"message_id": asked.id, "channel_id": fake.general.id, "guild_id": fake.guild.id}
    async with running(fake, Scripted(), tmp_path):
        await fake.until(lambda: waits.content.startswith("You asked: What is a lamp?"))
    assert fake.messages(fake.general, author=fake.bot) == [waits]


async def test_a_thread_that_can_t_be_read_for_the_moment_is_still_its_own(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path / "one"):
        thread = await fake.start_thread(fake.alice, fake.general, "Lamps")
        await fake.reply_to(await fake.say(fake.alice, thread, "What is a lamp?", mention_bot=True))
    async with running(fake, Scripted(), tmp_path / "other"):
        fake.fail("GET", "/channels/*/messages", 429, times=None, retry_after=0.001)
        read = len(fake.requests)
        await fake.say(fake.alice, thread, "And its oil?")
        await fake.until(lambda: sum(str(r.path).endswith("/messages") for r in fake.requests[read:]) >= 20)
        fake.faults.clear()
        assert "And its wick?" in (await fake.reply_to(await fake.say(fake.alice, thread, "And its wick?"))).content


async def test_progress_whose_posting_was_lost_gives_way_to_the_answer(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path) as bot:
        bot.fireside.gate.clear()
        await fake.say(fake.bob, fake.general, "What is oil?", mention_bot=True)
        await fake.until(lambda: bot.fireside.asked)
        fake.fail("POST", "/channels/*/messages", 400, after=True)  # it stands there, and the bot doesn't know
        asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
        await fake.until(lambda: any("number 1" in m.content for m in fake.messages(fake.general, author=fake.bot)))
        bot.fireside.gate.set()
        reply = await fake.reply_to(asked, done=lambda m: m.reply_to is asked and m.components)
    assert reply.content.startswith("You asked: What is a lamp?")
    assert len([m for m in fake.messages(fake.general, author=fake.bot) if m.reply_to is asked]) == 1
