from __future__ import annotations

import contextlib
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.desk import LEAVING
from bot.slack.delivery import LOOKING
from bot.store import FILE, Store
from persona.types import Question, Reply
from tests.bot.scripted import Scripted, asks_back, echo
from tests.bot.slack.running import Bot, running, text_in, whole
from tests.slack_fake import FakeSlack, mentions_in

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def test_answers_a_mention_once_in_its_thread_and_pings_nobody(either: Bot):
    fake = either.fake
    asked = await either.mentioned(fake.person("Ada"), "What is a lamp? <!channel>")
    reply = await fake.reply_to(asked, done=whole)
    assert "You asked: What is a lamp? @channel" in text_in(reply)
    assert not mentions_in(reply)
    await either.settled()
    assert either.said() == [reply]
    assert either.asked == ["What is a lamp? @channel"]


async def test_what_slack_sends_again_is_acknowledged_and_not_answered_again(either: Bot):
    fake = either.fake
    await either.answers(fake.person("Ada"), "What is a lamp?")
    for delivery in fake.deliveries:
        await fake.retry(delivery)
    await either.settled()
    assert either.asked == ["What is a lamp?"]
    assert len(either.said()) == 1


async def test_the_same_message_under_another_event_id_is_answered_once(bot: Bot):
    fake = bot.fake
    await bot.answers(fake.person("Ada"), "What is a lamp?")
    again = {**fake.events("app_mention")[0].payload, "event_id": "Ev0ANOTHER"}
    await (await fake.mail.send("events_api", again)).acknowledged()
    await bot.settled()
    assert bot.asked == ["What is a lamp?"]


async def test_shows_at_once_that_it_looks(bot: Bot):
    fake = bot.fake
    bot.fireside.gate.clear()
    asked = await bot.mentioned(fake.person("Ada"), "What is a lamp?")
    await fake.until(lambda: fake.status(fake.general, asked.ts) == LOOKING)
    assert not bot.said()
    bot.fireside.gate.set()
    await fake.reply_to(asked, done=whole)
    await fake.until(lambda: fake.status(fake.general, asked.ts) == "")


async def test_every_event_is_acknowledged_within_a_second_while_the_answer_takes_long(either: Bot):
    fake = either.fake
    either.fireside.gate.clear()
    ada = fake.person("Ada")
    await either.mentioned(ada, "What is a lamp?")
    await ada.command("/fireside", "ask What is a rope?", channel=fake.general)
    await ada.opens_home()
    await fake.until(lambda: all(d.acked for d in fake.deliveries))
    assert max(d.seconds for d in fake.deliveries) < 1
    assert not either.said()


async def test_what_is_said_to_it_is_noted_before_it_is_acknowledged(either: Bot, tmp_path: Path):
    fake = either.fake
    either.fireside.gate.clear()

    def noted() -> set[str]:
        with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as store:
            return {event for (event,) in store.execute("SELECT event FROM seen")}

    for person in map(fake.person, ("Ada", "Bob", "Cleo")):
        asked = await either.mentioned(person, "What is a lamp?")
        key = f"{fake.general.id}:{asked.ts}"
        # The same message comes as two events: Slack sends again whichever of them is not acknowledged.
        await fake.until(partial(all_acknowledged, fake, asked.ts))
        assert key in noted()


def all_acknowledged(fake: FakeSlack, ts: str) -> bool:
    """Whether nothing that Slack sent of a message would be sent again."""
    sent = [d for d in fake.deliveries if d.payload.get("event", {}).get("ts") == ts]
    return len(sent) == 2 and all(d.acked for d in sent)


async def test_goes_on_in_its_thread_without_a_mention_and_knows_what_was_said(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    first = await bot.mentioned(ada, "What is a lamp?")
    await fake.reply_to(first, done=whole)
    await bob.say(fake.general, f"{ada.mention} I know nothing of lamps.", thread=first)
    second = await ada.say(fake.general, "And a candle?", thread=first)
    await fake.until(lambda: bot.asked[-1] == "And a candle?")
    turns = [turn.content for turn in bot.fireside.asked[-1].history]
    assert turns == ["What is a lamp?", "You asked: What is a lamp?"]
    assert second.root == first.ts
    assert len(bot.asked) == 2  # what Bob says to Ada is not said to the bot


async def test_in_a_thread_two_people_are_kept_apart(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    root = await bot.mentioned(ada, "What is a lamp?")
    await fake.reply_to(root, done=whole)
    for person, text in ((bob, "What is a rope?"), (ada, "And its oil?")):
        await person.say(fake.general, text, thread=root)
        await fake.until(lambda text=text: any(f"You asked: {text}" in text_in(m) for m in bot.said()))
    assert [[t.content for t in q.history] for q in bot.fireside.asked] == [
        [],
        [],
        ["What is a lamp?", "You asked: What is a lamp?"],
    ]


async def test_after_a_restart_the_thread_is_still_its_own_and_its_words_are_known(fake: FakeSlack, tmp_path: Path):
    ada = fake.person("Ada")
    async with running(fake, Scripted(), tmp_path) as bot:
        root = await bot.mentioned(ada, "What is a lamp?")
        await fake.reply_to(root, done=whole)
        await bot.mentioned(fake.person("Bob"), "What is a rope?", thread=root)
        await fake.until(lambda: len([m for m in bot.said() if whole(m)]) == 2)
    async with running(fake, Scripted(), tmp_path) as bot:
        await ada.say(fake.general, "And its oil?", thread=root)
        await fake.until(lambda: bot.asked == ["And its oil?"])
        turns = [turn.content for turn in bot.fireside.asked[0].history]
        assert turns == ["What is a lamp?", "You asked: What is a lamp?"]


async def test_the_thread_s_earlier_messages_of_the_asker_are_read(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    root = await ada.say(fake.general, "I wonder about lamps.")
    await bob.say(fake.general, "I don't.", thread=root)
    await bot.answers(ada, "Who invented them?", thread=root)
    assert [turn.content for turn in bot.fireside.asked[0].history] == ["I wonder about lamps."]


async def test_a_long_thread_is_read_to_its_end(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    root = await bot.mentioned(ada, "What is a lamp?")
    await fake.reply_to(root, done=whole)
    for number in range(450):
        fake.world.post(fake.general, ada.user, f"Number {number}.", thread_ts=root.ts)
    await ada.say(fake.general, "And its oil?", thread=root)
    await fake.until(lambda: bot.asked[-1] == "And its oil?")
    assert [t.content for t in bot.fireside.asked[-1].history] == [f"Number {n}." for n in range(440, 450)]


async def test_a_channel_where_nobody_named_it_is_left_alone(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    said = await ada.say(fake.general, "What is a lamp?")
    await ada.say(fake.general, "Somebody?", thread=said)
    await ada.say(fake.general, f"{fake.person('Bob').mention}, what is a lamp?")
    await bot.answers(ada, "You?")
    await bot.settled()
    assert bot.asked == ["You?"]


async def test_a_thread_that_is_not_its_own_is_looked_through_once(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    said = await ada.say(fake.general, "What is a lamp?")
    for _ in range(3):
        await ada.say(fake.general, "Somebody?", thread=said)
        await bot.settled()
    assert len(fake.called("conversations.replies")) == 1
    await bot.answers(ada, "You?", thread=said)
    await ada.say(fake.general, "And now?", thread=said)
    await fake.until(lambda: bot.asked == ["You?", "And now?"])


async def test_a_dm_needs_no_mention_and_its_thread_gets_a_title(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    thread = await ada.opens_agent()
    await fake.until(lambda: thread.prompts)
    assert all(prompt["title"] and prompt["message"] for prompt in thread.prompts)
    asked = await thread.say("What is a lamp?")
    await fake.reply_to(asked, done=whole)
    assert thread.title == "What is a lamp?"
    await thread.say("And its oil?")
    await fake.until(lambda: bot.asked == ["What is a lamp?", "And its oil?"])
    assert [t.content for t in bot.fireside.asked[1].history] == ["What is a lamp?", "You asked: What is a lamp?"]
    assert thread.title == "What is a lamp?"


async def test_the_older_assistant_view_gets_prompts_too(tmp_path: Path):
    async with FakeSlack(agent="assistant") as fake, running(fake, Scripted(), tmp_path):
        thread = await fake.person("Ada").opens_agent()
        await fake.until(lambda: thread.prompts)
        await fake.reply_to(await thread.say("What is a lamp?"), done=lambda m: whole(m) or m.subtype)


async def test_in_a_conversation_of_several_it_answers_to_its_name(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    room = fake.group_dm(ada, fake.person("Bob"))
    await ada.say(room, "Hello, all of you.")
    assert "You asked: What is a lamp?" in text_in(await bot.answers(ada, "What is a lamp?", room))
    assert bot.asked == ["What is a lamp?"]


@pytest.mark.parametrize(
    ("how", "fields"),
    [
        ("a message that is sent to the channel too", {"broadcast": True}),
        ("a message with a file", {"files": ["lamp.png"]}),
    ],
)
async def test_other_kinds_of_messages_are_questions_too(bot: Bot, how: str, fields: dict[str, Any]):
    del how
    fake = bot.fake
    ada = fake.person("Ada")
    root = await ada.say(fake.general, "Lamps.")
    await bot.mentioned(ada, "What is a lamp?", thread=root, **fields)
    await fake.until(lambda: any(map(whole, bot.said())))
    assert bot.asked == ["What is a lamp?"]


async def test_a_me_message_is_a_question_too(bot: Bot):
    fake = bot.fake
    said = fake.world.post(fake.general, fake.person("Ada").user, f"{fake.bot.mention} wonders", subtype="me_message")
    await fake.tell_message(said, mentioned=True)
    await fake.reply_to(said, done=whole)
    assert bot.asked == ["wonders"]


async def test_a_bare_mention_in_a_thread_asks_about_what_was_said_before_it(bot: Bot):
    fake = bot.fake
    root = await fake.person("Bob").say(fake.general, "Lamps are overrated.")
    await bot.answers(fake.person("Ada"), "", thread=root)
    await bot.answers(fake.person("Ada"), "")
    assert bot.asked == ["Lamps are overrated.", ""]


async def test_names_stand_in_place_of_ids_and_escapes_are_read(bot: Bot):
    fake = bot.fake
    bob = fake.person("Bob")
    await bot.answers(fake.person("Ada"), f"What of {bob.mention} &amp; <#{fake.general.id}|general> &lt;3?")
    assert bot.asked == ["What of @bob & #general <3?"]


async def test_a_very_long_question_is_asked_whole(bot: Bot):
    await bot.answers(bot.fake.person("Ada"), "What is it? " * 3300)
    assert len(bot.asked[0]) == 3300 * 12 - 1


@pytest.mark.parametrize("left_out", [("user",), ("team",), ("channel_type", "client_msg_id", "blocks", "event_ts")])
async def test_an_event_without_what_is_optional_is_answered(bot: Bot, left_out: tuple[str, ...]):
    fake = bot.fake
    asked = fake.world.post(fake.general, fake.person("Ada").user, f"{fake.bot.mention} What is a lamp?")
    event = {"type": "app_mention", "channel": fake.general.id, **asked.json(), "event_ts": asked.ts}
    wrapped = fake.event({k: v for k, v in event.items() if k not in left_out})
    for key in ("event_context", "authorizations", "is_ext_shared_channel", "context_team_id"):
        del wrapped[key]
    await (await fake.mail.send("events_api", wrapped)).acknowledged()
    assert "You asked: What is a lamp?" in text_in(await fake.reply_to(asked, done=whole))


async def test_somebody_of_another_workspace_is_answered_by_the_settings_of_this_one(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(pieces=("One two ",)), tmp_path) as bot:
        eve = fake.person("Eve", team="T0ELSEWHERE", admin=True)
        asked = await bot.mentioned(eve, "What is a lamp?")
        await fake.until(lambda: fake.called("chat.startStream"))
        assert fake.called("chat.startStream")[0]["recipient_team_id"] == "T0ELSEWHERE"
        bot.fireside.next_piece.release()
        await fake.reply_to(asked, done=whole)
        assert "Only admins" in text_in(await bot.told(eve, "settings"))
        await bot.store.change_place("slack", fake.team_id, blocked_users=(eve.id,))
        await bot.mentioned(eve, "And now?")
        await bot.settled()
        assert bot.asked == ["What is a lamp?"]


async def test_other_bots_are_answered_only_if_allowed_and_only_by_name(bot: Bot):
    fake = bot.fake
    robot = fake.person("Robot", bot=True)
    await bot.mentioned(robot, "Are you a lamp?")
    await bot.mentioned(robot, "Are you a rope?", legacy=True)
    await bot.settled()
    assert bot.asked == []
    await bot.store.change_place("slack", fake.team_id, other_bots=True)
    root = await bot.mentioned(robot, "And now?")
    await fake.reply_to(root, done=whole)
    await robot.say(fake.general, "I see.", thread=root)
    await bot.settled()
    assert bot.asked == ["And now?"]


async def test_blocked_people_and_channels_get_no_answer(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    quiet = fake.channel("quiet")
    await bot.store.change_place("slack", fake.team_id, blocked_channels=(quiet.id,), blocked_users=(bob.id,))
    await bot.mentioned(ada, "One?", quiet)
    await bot.mentioned(bob, "Two?")
    await bot.mentioned(bob, "Three?", bob.dm)
    await bot.answers(ada, "Four?")
    await bot.settled()
    assert bot.asked == ["Four?"]


async def test_where_channels_are_allowed_only_those_and_dms_are_answered(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    talks = fake.channel("talks")
    await bot.store.change_place("slack", fake.team_id, allowed_channels=(talks.id,))
    await bot.mentioned(ada, "One?")
    assert "not to answer in this channel" in text_in(await bot.told(ada, "ask Two?"))
    await bot.answers(ada, "Three?", talks)
    await bot.answers(ada, "Four?", ada.dm)
    assert bot.asked == ["Three?", "Four?"]


async def test_mentions_only_means_that_a_thread_does_not_go_on(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    await bot.store.change_place("slack", fake.team_id, fake.general.id, answers="mentions")
    root = await bot.mentioned(ada, "One?")
    await fake.reply_to(root, done=whole)
    await ada.say(fake.general, "Two?", thread=root)
    await bot.mentioned(ada, "Three?", thread=root)
    await fake.until(lambda: "Three?" in bot.asked)
    assert bot.asked == ["One?", "Three?"]


async def test_of_who_opted_out_nothing_is_read_that_does_not_name_the_bot(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    assert "From now on I keep nothing of you" in text_in(await bot.told(ada, "forget opt-out"))
    root = await bot.mentioned(ada, "One?")
    await fake.reply_to(root, done=whole)
    await ada.say(fake.general, "Two?", thread=root)
    await bot.mentioned(ada, "Three?", thread=root)
    await fake.until(lambda: "Three?" in bot.asked)
    assert bot.asked == ["One?", "Three?"]
    assert bot.fireside.asked[1].history == ()


async def test_the_disclosure_is_shown_on_first_contact_in_a_channel_and_not_again(bot: Bot):
    ada = bot.fake.person("Ada")
    disclosure = bot.fireside.card.disclosure.split(".")[0]
    assert disclosure in text_in(await bot.answers(ada, "One?"))
    assert disclosure not in text_in(await bot.answers(ada, "Two?"))


async def test_a_question_that_is_edited_while_it_waits_is_answered_as_it_then_stands(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    bot.fireside.gate.clear()
    asked = await bot.mentioned(ada, "What is a lmap?")
    await fake.until(lambda: bot.asked)
    await ada.edit(asked, f"{fake.bot.mention} What is a lamp?")
    await fake.until(lambda: len(bot.asked) == 2)
    bot.fireside.gate.set()
    assert "You asked: What is a lamp?" in text_in(await fake.reply_to(asked, done=whole))
    assert len(bot.said()) == 1


async def test_a_question_that_is_deleted_while_it_waits_gets_no_reply(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    bot.fireside.gate.clear()
    asked = await bot.mentioned(ada, "What is a lamp?")
    await fake.until(lambda: bot.asked)
    await ada.delete(asked)
    await bot.settled()
    assert not bot.said()
    assert fake.status(fake.general, asked.ts) == ""


async def test_a_mention_that_is_edited_in_later_is_left_alone(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    said = await ada.say(fake.general, "What is a lamp?")
    await ada.edit(said, f"{fake.bot.mention} What is a lamp?")
    await bot.settled()
    assert bot.asked == []


async def test_a_waiting_question_is_told_its_place_and_a_full_queue_says_so(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path, waiting=1) as bot:
        ada, bob, eve = map(fake.person, ("Ada", "Bob", "Eve"))
        bot.fireside.gate.clear()
        first = await bot.mentioned(ada, "One?")
        await fake.until(lambda: bot.asked)
        second = await bot.mentioned(bob, "Two?")
        await fake.until(lambda: fake.status(fake.general, second.ts) == "is busy: you are number 1 in the queue…")
        third = await bot.mentioned(eve, "Three?")
        full = await fake.reply_to(third)
        assert "Too many are asking" in text_in(full)
        assert not mentions_in(full)
        bot.fireside.gate.set()
        await fake.reply_to(first, done=whole)
        await fake.reply_to(second, done=whole)


async def test_where_no_status_can_be_set_the_place_is_a_message_that_becomes_the_reply(
    fake: FakeSlack, tmp_path: Path
):
    async with running(fake, Scripted(), tmp_path) as bot:
        fake.fail("assistant.threads.setStatus", times=99, error="missing_scope")
        bot.fireside.gate.clear()
        await bot.mentioned(fake.person("Ada"), "One?")
        await fake.until(lambda: bot.asked)
        second = await bot.mentioned(fake.person("Bob"), "Two?")
        waits = await fake.reply_to(second)
        assert "You are number 1 in the queue." in text_in(waits)
        bot.fireside.gate.set()
        assert await fake.reply_to(second, done=whole) is waits


async def test_who_asks_too_fast_is_told_so(fake: FakeSlack, tmp_path: Path):
    from bot.limits import Limits

    async with running(fake, Scripted(), tmp_path, limits=Limits(per_user="1/minute")) as bot:
        ada = fake.person("Ada")
        await bot.answers(ada, "One?")
        told = await fake.reply_to(await bot.mentioned(ada, "Two?"))
        assert "more than I can answer at once" in text_in(told)
        assert "more than I can answer at once" in text_in(await bot.told(ada, "ask Three?"))


async def test_a_mistake_of_ours_is_told_in_a_sentence_and_the_next_question_is_answered(
    fake: FakeSlack, tmp_path: Path
):
    def breaks(question: Question) -> Reply:
        if question.text == "One?":
            raise RuntimeError(question.text)
        return echo(question)

    async with running(fake, Scripted(breaks), tmp_path) as bot:
        told = await fake.reply_to(await bot.mentioned(fake.person("Ada"), "One?"))
        assert "I can't answer here at the moment" in text_in(told)
        await bot.answers(fake.person("Ada"), "Two?")


# Restarts


async def test_no_message_is_answered_twice_by_a_process_that_was_started_anew(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path) as bot:
        await bot.answers(fake.person("Ada"), "What is a lamp?")
        await bot.settled()
        before = list(fake.deliveries)
    async with running(fake, Scripted(), tmp_path) as bot:
        for delivery in before:
            await fake.retry(delivery)
        await bot.answers(fake.person("Ada"), "And its oil?")
        await bot.settled()
        assert bot.asked == ["And its oil?"]


@pytest.mark.parametrize("where", ["{channel}", "{channel}:{root}"])
async def test_what_a_killed_process_left_behind_is_answered_once_by_the_next(
    fake: FakeSlack, tmp_path: Path, where: str
):
    root = await fake.person("Bob").say(fake.general, "Lamps.")
    asked = await fake.person("Ada").say(fake.general, f"{fake.bot.mention} What is a lamp?", thread=root)
    store = await Store.open(tmp_path / FILE)
    place = where.format(channel=fake.general.id, root=root.ts)
    assert await store.first_sight("slack", f"{fake.general.id}:{asked.ts}", place)
    await store.close()
    for _ in range(2):
        async with running(fake, Scripted(), tmp_path) as bot:
            assert "What is a lamp?" in text_in(await fake.reply_to(asked, done=whole))
            await bot.settled()
    assert len(bot.said()) == 1


async def test_what_a_killed_process_had_half_written_is_finished_by_the_next(fake: FakeSlack, tmp_path: Path):
    asked = await fake.person("Ada").say(fake.general, f"{fake.bot.mention} What is a lamp?")
    half = fake.world.post(fake.general, fake.bot, "A lamp is ", thread_ts=asked.ts, markdown=True, stream="streaming")
    store = await Store.open(tmp_path / FILE)
    assert await store.first_sight("slack", f"{fake.general.id}:{asked.ts}", f"{fake.general.id}:{asked.ts}")
    await store.close()
    async with running(fake, Scripted(), tmp_path) as bot:
        await fake.until(lambda: whole(half))
        await bot.settled()
        assert bot.said() == [half]


async def test_a_killed_process_s_whole_reply_is_not_made_again(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path) as bot:
        reply = await bot.answers(fake.person("Ada"), "What is a lamp?")
        await bot.settled()
    async with running(fake, Scripted(), tmp_path / "other") as bot:
        assert await bot.store.first_sight("slack", f"{fake.general.id}:{reply.root}", fake.general.id)
        await bot.slack.take_up(await bot.slack.left_behind())
        assert bot.asked == []
        assert await bot.store.unanswered("slack") == []


async def test_a_question_of_long_ago_or_that_is_gone_is_left(fake: FakeSlack, tmp_path: Path):
    gone = await fake.person("Ada").say(fake.general, f"{fake.bot.mention} Two?")
    gone.deleted = True
    store = await Store.open(tmp_path / FILE)
    for ts in (f"{time.time() - 3600:.6f}", gone.ts):
        await store.first_sight("slack", f"{fake.general.id}:{ts}", fake.general.id)
    await store.close()
    async with running(fake, Scripted(), tmp_path) as bot:
        assert bot.asked == []
        assert not bot.said()


async def test_a_question_that_slack_would_not_give_is_left_for_the_next_start(fake: FakeSlack, tmp_path: Path):
    asked = await fake.person("Ada").say(fake.general, f"{fake.bot.mention} What is a lamp?")
    store = await Store.open(tmp_path / FILE)
    await store.first_sight("slack", f"{fake.general.id}:{asked.ts}", fake.general.id)
    await store.close()
    fake.fail("conversations.replies", error="not_in_channel")
    async with running(fake, Scripted(), tmp_path) as bot:
        assert bot.asked == []
    async with running(fake, Scripted(), tmp_path):
        await fake.reply_to(asked, done=whole)


async def test_who_asks_while_it_is_being_stopped_is_told_so(bot: Bot):
    fake = bot.fake
    bot.fireside.gate.clear()
    first = await bot.mentioned(fake.person("Ada"), "One?")
    await fake.until(lambda: bot.asked)
    bot.slack.desk.leaving = True
    told = await fake.reply_to(await bot.mentioned(fake.person("Bob"), "Two?"))
    assert text_in(told) == LEAVING
    assert LEAVING in text_in(await bot.told(fake.person("Bob"), "ask Three?"))
    bot.fireside.gate.set()
    await fake.reply_to(first, done=whole)
    assert bot.asked == ["One?"]


async def test_clarifying_options_are_buttons_and_a_click_goes_on_where_the_question_stands(
    fake: FakeSlack, tmp_path: Path
):
    async with running(fake, Scripted(asks_back), tmp_path) as bot:
        ada = fake.person("Ada")
        asked = await bot.mentioned(ada, "Which lamp?")
        back = await fake.reply_to(asked, done=whole)
        assert [b.label for b in back.buttons if ":pick:" in b.action_id] == ["the old lamp", "the new lamp"]
        await (await ada.click(back, "fireside:pick:1")).acknowledged()
        await fake.until(lambda: len(bot.said()) == 2)
        on = bot.said()[1]
        assert on.root == asked.ts
        assert "You asked: the new lamp" in text_in(on)
        question = bot.fireside.asked[1]
        said = [turn.content for turn in question.history]
        assert said == ["Which lamp?", "Which do you mean: (1) the old lamp; (2) the new lamp?"]
        await ada.say(fake.general, "And its oil?", thread=asked)
        await fake.until(lambda: len(bot.asked) == 3)
        assert [turn.content for turn in bot.fireside.asked[2].history][-2:] == [
            "the new lamp",
            "You asked: the new lamp",
        ]


async def test_a_thread_under_a_shared_reply_goes_on_from_that_reply(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    private = await bot.told(ada, "ask What is a lamp?")
    await (await ada.click(private, "fireside:share")).acknowledged()
    await fake.until(bot.said)
    await fake.person("Bob").say(fake.general, "And its oil?", thread=bot.said()[0])
    await fake.until(lambda: len(bot.asked) == 2)
    turns = [turn.content for turn in bot.fireside.asked[1].history]
    assert turns == ["What is a lamp?", "You asked: What is a lamp?"]
