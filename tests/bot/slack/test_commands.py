from __future__ import annotations

from pathlib import Path

import pytest

from bot.desk import CUT_SHORT
from bot.slack.commands import LONGEST, LONGEST_TOPIC
from tests.bot.scripted import Scripted
from tests.bot.slack.running import Bot, actions_of, running, text_in, whole
from tests.slack_fake import FakeSlack, mentions_in

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def test_ask_is_acknowledged_at_once_and_answered_to_the_asker_alone(either: Bot):
    fake = either.fake
    ada = fake.person("Ada")
    either.fireside.gate.clear()
    it = await (await ada.command("/fireside", "ask What is a *lamp*? @everyone", channel=fake.general)).acknowledged()
    assert it.seconds < 1
    either.fireside.gate.set()
    await fake.until(lambda: any(map(whole, fake.ephemerals(ada))))
    reply = fake.ephemerals(ada)[-1]
    assert text_in(reply).startswith("What is a *lamp*? @everyone\nYou asked: What is a *lamp*? @everyone")
    assert not mentions_in(reply)
    assert not either.said()


async def test_a_private_answer_can_be_shared_once_for_all_to_see(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    reply = await bot.told(ada, "ask What is a lamp?")
    assert "share" in actions_of(reply)
    await (await ada.click(reply, "fireside:share")).acknowledged()
    await fake.until(bot.said)
    shared = bot.said()[0]
    assert text_in(shared).startswith("What is a lamp?\nYou asked: What is a lamp?")
    assert "share" not in actions_of(shared)
    assert bot.asked == ["What is a lamp?"]


async def test_a_second_ask_goes_on_with_the_first_until_reset(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    for person, text in (
        (ada, "ask One?"),
        (ada, "ask Two?"),
        (bob, "ask Other?"),
        (ada, "reset"),
        (ada, "ask Three?"),
    ):
        await bot.told(person, text)
    assert [len(q.history) for q in bot.fireside.asked] == [0, 2, 0, 0]


async def test_reset_ends_what_is_read_of_a_dm_s_thread(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    root = await bot.mentioned(ada, "One?", ada.dm)
    await fake.reply_to(root, done=whole)
    assert "Forgotten" in text_in(await bot.told(ada, "reset", ada.dm))
    await ada.say(ada.dm, "Two?", thread=root)
    await fake.until(lambda: bot.asked == ["One?", "Two?"])
    assert bot.fireside.asked[1].history == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("help", "/fireside quote TOPIC"),
        ("", "/fireside quote TOPIC"),
        ("  HELP  me", "/fireside quote TOPIC"),
        ("sources", "transcript"),
        ("status", "Voice: quotes"),
        ("why", "I have no last answer to you here."),
        ("reset", "Forgotten. Ask anew."),
        ("forget", "0 pieces of feedback deleted"),
        ("forget opt-in", "0 pieces of feedback deleted"),
        ("forget all", "'all' is nothing that forget takes. Give opt-out, opt-in, or nothing."),
        ("settings", "Only admins and owners of the workspace change its settings."),
        ("ask", "Write the question behind it: /fireside ask What did he say about reliability?"),
        ("ask " + "x" * (LONGEST + 1), f"That question has {LONGEST + 1:,} characters, and {LONGEST:,} is the most."),
        ("quote " + "x" * (LONGEST_TOPIC + 1), f"That topic has {LONGEST_TOPIC + 1} characters"),
        ("quote sourdough", "Nothing in the talks is about that."),
        ("qoute lamps", "There is no /fireside qoute."),
        ("qoute lamps", "quote"),
        ("x" * 500, "There is no /fireside x"),
        ("<!channel> <@U0NOBODY>", "There is no /fireside @channel"),
    ],
)
async def test_each_command_answers_the_asker_alone_in_a_sentence(bot: Bot, text: str, says: str):
    told = await bot.told(bot.fake.person("Ada"), text)
    assert says in text_in(told)
    assert not [active for active in mentions_in(told) if active.kind != "link"]
    assert not bot.said()


async def test_a_question_may_begin_on_a_new_line(bot: Bot):
    await bot.told(bot.fake.person("Ada"), "ask\nWhat is\na lamp?")
    assert bot.asked == ["What is\na lamp?"]


async def test_reliability_shows_figures_and_certificate(bot: Bot):
    shown = text_in(await bot.told(bot.fake.person("Ada"), "reliability"))
    assert "false answers" in shown
    assert "ertified" in shown
    assert "another threshold" in shown  # the script's is not the one that was measured


async def test_why_is_about_the_asker_s_own_last_reply(bot: Bot):
    fake = bot.fake
    await bot.answers(fake.person("Ada"), "What is a lamp?")
    assert "supported" in text_in(await bot.told(fake.person("Ada"), "why"))
    assert "no last answer" in text_in(await bot.told(fake.person("Bob"), "why"))


async def test_the_place_in_the_queue_is_told_before_the_answer(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path) as bot:
        ada = fake.person("Ada")
        bot.fireside.gate.clear()
        await bot.mentioned(fake.person("Bob"), "One?")
        await fake.until(lambda: bot.asked)
        assert "You are number 1 in the queue." in text_in(await bot.told(ada, "ask Two?"))
        bot.fireside.gate.set()
        await fake.until(lambda: any(map(whole, fake.ephemerals(ada))))


async def test_while_a_chat_model_writes_the_asker_of_a_command_sees_that_it_looks(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(pieces=("One ", "two ")), tmp_path) as bot:
        ada = fake.person("Ada")
        assert "looking through the talks…" in text_in(await bot.told(ada, "ask Lamp?"))
        for _ in range(2):
            bot.fireside.next_piece.release()
        await fake.until(lambda: any(map(whole, fake.ephemerals(ada))))
        assert len(fake.ephemerals(ada)) == 2


async def test_where_the_bot_is_no_member_a_command_is_answered_all_the_same(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    elsewhere = fake.channel("elsewhere", private=True, bot=False)
    reply = await bot.told(ada, "ask What is a lamp?", elsewhere)
    await (await ada.click(reply, "fireside:share")).acknowledged()
    await fake.until(lambda: bot.said(elsewhere))


async def test_a_question_in_a_command_is_no_longer_than_its_button_can_hold(fake: FakeSlack, tmp_path: Path):
    ada = fake.person("Ada")
    question = '"\\' * (LONGEST // 2)
    async with running(fake, Scripted(), tmp_path) as bot:
        reply = await bot.told(ada, f"ask {question}")
    async with running(fake, Scripted(), tmp_path) as bot:
        await bot.clicked(ada, reply, "why")
        assert bot.asked == []  # too long for its button, and cut above the reply: it is told so


async def test_in_a_blocked_channel_what_is_one_s_own_can_still_be_done(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    await bot.store.change_place("slack", fake.team_id, blocked_channels=(fake.general.id,))
    for text in ("quote lamps", "ask Lamp?", "sources"):
        assert "I am not to answer in this channel." in text_in(await bot.told(ada, text))
    assert "feedback deleted" in text_in(await bot.told(ada, "forget"))
    assert "/fireside ask" in text_in(await bot.told(ada, "help"))


async def test_a_store_that_fails_is_told_in_a_sentence(bot: Bot):
    await bot.settled()  # what is still being noted would open it again
    await bot.store.close()
    (Path(bot.store.where)).write_bytes(b"no database" * 500)
    told = text_in(await bot.told(bot.fake.person("Ada"), "forget opt-out"))
    assert told == "My store doesn't answer at the moment, so nothing has changed. Please try again later."


async def test_a_command_that_a_killed_process_left_is_told_by_the_next(fake: FakeSlack, tmp_path: Path):
    ada = fake.person("Ada")
    async with running(fake, Scripted(), tmp_path) as hung:
        hung.fireside.gate.clear()
        await (await ada.command("/fireside", "ask Lamp?", channel=fake.general)).acknowledged()
        await fake.until(lambda: hung.fireside.asked)
        async with running(fake, Scripted(), tmp_path):
            await fake.until(lambda: any(CUT_SHORT in text_in(m) for m in fake.ephemerals(ada)))
        hung.fireside.gate.set()
