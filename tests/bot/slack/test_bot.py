from __future__ import annotations

from pathlib import Path

import pytest

from bot.slack.delivery import LOOKING
from tests.bot.scripted import Scripted, asks_back
from tests.bot.slack.running import Bot, running
from tests.slack_fake import FakeSlack, mentions_in

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def test_answers_a_mention_once_in_its_thread_and_pings_nobody(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    asked = await ada.say(fake.general, f"{fake.bot.mention} What is a lamp? <!channel>")
    reply = await fake.reply_to(asked, done=lambda m: m.buttons)
    assert "You asked: What is a lamp? @channel" in str(reply.blocks)
    assert not mentions_in(reply)
    await bot.slack.desk.drain(2.0)
    assert len([m for m in fake.general.thread(asked.ts) if m.user is fake.bot]) == 1
    assert [q.text for q in bot.fireside.asked] == ["What is a lamp? @channel"]


async def test_shows_at_once_that_it_looks(bot: Bot):
    fake = bot.fake
    bot.fireside.gate.clear()
    asked = await fake.person("Ada").say(fake.general, f"{fake.bot.mention} What is a lamp?")
    await fake.until(lambda: fake.status(fake.general, asked.ts) == LOOKING)
    bot.fireside.gate.set()
    await fake.reply_to(asked, done=lambda m: m.buttons)
    await fake.until(lambda: fake.status(fake.general, asked.ts) == "")


async def test_goes_on_in_its_thread_without_a_mention_and_knows_what_was_said(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    first = await ada.say(fake.general, f"{fake.bot.mention} What is a lamp?")
    await fake.reply_to(first, done=lambda m: m.buttons)
    await bob.say(fake.general, "I know nothing of lamps.", thread=first)
    second = await ada.say(fake.general, "And a candle?", thread=first)
    await fake.until(lambda: bot.fireside.asked[-1].text == "And a candle?")
    turns = [turn.content for turn in bot.fireside.asked[-1].history]
    assert turns == ["What is a lamp?", "You asked: What is a lamp?"]
    assert second.root == first.ts


async def test_a_channel_where_nobody_named_it_is_left_alone(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    said = await ada.say(fake.general, "What is a lamp?")
    await ada.say(fake.general, "Somebody?", thread=said)
    asked = await ada.say(fake.general, f"{fake.bot.mention} You?")
    await fake.reply_to(asked, done=lambda m: m.buttons)
    assert [q.text for q in bot.fireside.asked] == ["You?"]


async def test_clarifying_options_are_buttons_and_a_click_goes_on(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(asks_back), tmp_path) as bot:
        ada = fake.person("Ada")
        asked = await ada.say(fake.general, f"{fake.bot.mention} Which lamp?")
        reply = await fake.reply_to(asked, done=lambda m: m.buttons)
        await (await ada.click(reply, "fireside:pick:1")).acknowledged()
        await fake.until(lambda: len(bot.fireside.asked) == 2)
        assert bot.fireside.asked[1].text == "the new lamp"
        assert bot.fireside.asked[1].history[0].content == "Which lamp?"


async def test_ask_is_private_and_can_be_shared(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    await (await ada.command("/fireside", "ask What is a lamp?", channel=fake.general)).acknowledged()
    await fake.until(lambda: fake.ephemerals(ada))
    reply = fake.ephemerals(ada)[-1]
    assert "You asked: What is a lamp?" in str(reply.blocks)
    await (await ada.click(reply, "fireside:share")).acknowledged()
    await fake.until(lambda: fake.general.messages)
    assert "You asked: What is a lamp?" in str(fake.general.messages[-1].blocks)
