from __future__ import annotations

from pathlib import Path

import pytest

from tests.bot.scripted import Scripted
from tests.bot.slack.running import Bot, errors, running, text_in, whole
from tests.slack_fake import FakeSlack, mentions_in

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
WRITES = ("One two ", "three four ", "five.")


# Streams


async def test_the_model_s_text_comes_as_a_stream_of_one_message_and_ends_in_its_final_form(
    fake: FakeSlack, tmp_path: Path
):
    async with running(fake, Scripted(pieces=WRITES), tmp_path) as bot:
        ada = fake.person("Ada")
        asked = await bot.mentioned(ada, "What is a lamp?")
        await fake.until(lambda: any(m.stream == "streaming" and m.text == "One two" for m in bot.said()))
        begun = fake.called("chat.startStream")[0]
        assert (begun["recipient_user_id"], begun["recipient_team_id"]) == (ada.id, fake.team_id)
        bot.fireside.next_piece.release()
        await fake.until(lambda: bot.said()[0].pieces == ["One two", "\u200b three four"])
        for _ in WRITES:
            bot.fireside.next_piece.release()
        reply = await fake.reply_to(asked, done=whole)
        assert text_in(reply).startswith("You asked: What is a lamp?")
        assert reply.stream == "stopped"
        assert bot.said() == [reply]


async def test_a_stream_is_neutral_while_it_goes_on(fake: FakeSlack, tmp_path: Path):
    hostile = "Now <!channel> and *bold* [x](https://evil.example) @here https://evil.example # a \n- b \n1. c "
    async with running(fake, Scripted(pieces=(hostile,)), tmp_path) as bot:
        await bot.mentioned(fake.person("Ada"), "What is a lamp?")
        await fake.until(lambda: any(m.stream == "streaming" for m in bot.said()))
        assert not mentions_in(bot.said()[0])
        bot.fireside.next_piece.release()
        await fake.until(lambda: any(map(whole, bot.said())))


@pytest.mark.parametrize("error", ["channel_type_not_supported", "missing_scope", "feature_not_enabled"])
async def test_where_no_stream_is_allowed_the_text_comes_by_edits(fake: FakeSlack, tmp_path: Path, error: str):
    fake.fail("chat.startStream", times=99, error=error)
    async with running(fake, Scripted(pieces=WRITES), tmp_path) as bot:
        asked = await bot.mentioned(fake.person("Ada"), "What is a lamp?")
        shown = await fake.reply_to(asked, done=lambda m: "One two …" in text_in(m))
        bot.fireside.next_piece.release()
        await fake.until(lambda: "One two three four …" in text_in(shown))
        for _ in WRITES:
            bot.fireside.next_piece.release()
        await fake.until(lambda: whole(shown))
        assert bot.said() == [shown]
        assert len(fake.called("chat.startStream")) == 1


async def test_a_stream_that_expires_goes_on_by_edits_of_the_same_message(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(pieces=WRITES), tmp_path) as bot:
        await bot.mentioned(fake.person("Ada"), "What is a lamp?")
        await fake.until(lambda: any(m.stream == "streaming" for m in bot.said()))
        fake.expire_streams()
        bot.fireside.next_piece.release()
        (shown,) = bot.said()
        await fake.until(lambda: "One two three four …" in text_in(shown))
        for _ in WRITES:
            bot.fireside.next_piece.release()
        await fake.until(lambda: whole(shown))
        assert bot.said() == [shown]


async def test_a_stream_that_expires_before_its_end_ends_in_the_final_form(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(pieces=WRITES[:1]), tmp_path) as bot:
        await bot.mentioned(fake.person("Ada"), "What is a lamp?")
        await fake.until(lambda: any(m.stream == "streaming" for m in bot.said()))
        fake.expire_streams()
        bot.fireside.next_piece.release()
        (shown,) = bot.said()
        await fake.until(lambda: whole(shown))
        assert bot.said() == [shown]


async def test_the_stop_button_stops_the_model_and_leaves_what_was_written(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(pieces=WRITES), tmp_path) as bot:
        ada = fake.person("Ada")
        await bot.mentioned(ada, "What is a lamp?")
        await fake.until(lambda: any(m.stream == "streaming" for m in bot.said()))
        (shown,) = bot.said()
        await (await ada.stop(shown)).acknowledged()
        await fake.until(lambda: "Stopped." in text_in(shown))
        assert text_in(shown).startswith("One two")
        await bot.settled()
        assert bot.said() == [shown]
        assert bot.slack.desk.host.traffic.running == 0


async def test_a_question_that_is_deleted_while_it_streams_takes_the_stream_with_it(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(pieces=WRITES), tmp_path) as bot:
        ada = fake.person("Ada")
        asked = await bot.mentioned(ada, "What is a lamp?")
        await fake.until(lambda: any(m.stream == "streaming" for m in bot.said()))
        await ada.delete(asked)
        await bot.settled()
        assert bot.said() == []


async def test_a_long_stream_keeps_to_what_one_call_may_hold(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(pieces=("*word* " * 4000, "end ")), tmp_path) as bot:
        await bot.mentioned(fake.person("Ada"), "What is a lamp?")
        await fake.until(lambda: any(m.stream == "streaming" for m in bot.said()))
        bot.fireside.next_piece.release()
        await fake.until(lambda: len(bot.said()[0].pieces) > 1)
        bot.fireside.next_piece.release()
        await fake.until(lambda: whole(bot.said()[0]))


# What Slack refuses


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("is_archived", "is archived: unarchive it, or ask elsewhere."),
        ("not_in_channel", "The bot is not in the channel"),
        ("missing_scope", "The app lacks the scope"),
        ("restricted_action", "The workspace's admins don't let the bot write"),
        ("token_revoked", "Slack refuses the token in SLACK_BOT_TOKEN"),
        ("something_new", "(something_new)."),
    ],
)
async def test_a_reply_that_slack_refuses_is_one_sentence_in_the_log_and_the_next_one_comes(
    bot: Bot, caplog: pytest.LogCaptureFixture, error: str, says: str
):
    fake = bot.fake
    fake.fail("chat.postMessage", error=error)
    asked = await bot.mentioned(fake.person("Ada"), "One?")
    await bot.settled()
    told = [m for m in caplog.messages if says in m]
    assert len(told) == 1
    assert "\n" not in told[0]
    assert not bot.said()
    assert fake.status(fake.general, asked.ts) == ""
    await bot.answers(fake.person("Ada"), "Two?")


async def test_a_channel_that_is_archived_meanwhile_is_named(bot: Bot, caplog: pytest.LogCaptureFixture):
    fake = bot.fake
    bot.fireside.gate.clear()
    await bot.mentioned(fake.person("Ada"), "One?")
    await fake.until(lambda: bot.asked)
    await fake.archive(fake.general)
    bot.fireside.gate.set()
    await bot.settled()
    assert f"The channel {fake.general.id} is archived" in caplog.text


async def test_a_channel_that_it_was_removed_from_meanwhile_is_named(bot: Bot, caplog: pytest.LogCaptureFixture):
    fake = bot.fake
    bot.fireside.gate.clear()
    await bot.mentioned(fake.person("Ada"), "One?")
    await fake.until(lambda: bot.asked)
    await fake.kick(fake.general)
    bot.fireside.gate.set()
    await bot.settled()
    assert f"The bot is not in the channel {fake.general.id}" in caplog.text


async def test_an_app_that_was_removed_meanwhile_is_told(bot: Bot, caplog: pytest.LogCaptureFixture):
    fake = bot.fake
    bot.fireside.gate.clear()
    await bot.mentioned(fake.person("Ada"), "One?")
    await fake.until(lambda: bot.asked)
    await fake.uninstall()
    bot.fireside.gate.set()
    await bot.settled()
    assert "Slack refuses the token in SLACK_BOT_TOKEN" in caplog.text
    assert not errors(caplog.messages)


@pytest.mark.parametrize("method", ["chat.postMessage", "conversations.replies", "users.info"])
async def test_what_slack_has_too_much_to_do_for_is_tried_again_when_it_says(bot: Bot, method: str):
    fake = bot.fake
    bob = fake.person("Bob")
    root = await bob.say(fake.general, "Lamps.")
    fake.fail(method, times=2, status=429, retry_after=0.02)
    await bot.answers(fake.person("Ada"), f"What does {bob.mention} say?", thread=root)
    assert len(bot.said()) == 1


async def test_in_a_busy_slack_its_own_thread_still_goes_on(fake: FakeSlack, tmp_path: Path):
    ada = fake.person("Ada")
    async with running(fake, Scripted(), tmp_path) as bot:
        root = await bot.mentioned(ada, "One?")
        await fake.reply_to(root, done=whole)
    async with running(fake, Scripted(), tmp_path) as bot:
        fake.fail("conversations.replies", times=2, status=429, retry_after=0.02)
        await ada.say(fake.general, "Two?", thread=root)
        await fake.until(lambda: bot.asked == ["Two?"])


async def test_a_post_that_got_through_though_its_answer_did_not_is_not_made_twice(bot: Bot):
    fake = bot.fake
    fake.fail("chat.postMessage", status=503, after=True)
    await bot.answers(fake.person("Ada"), "What is a lamp?")
    await bot.settled()
    assert len(bot.said()) == 1
    assert len(fake.called("chat.postMessage")) == 1


async def test_a_lost_post_is_not_made_again_while_nobody_can_see_whether_it_stands_there(bot: Bot):
    fake = bot.fake
    fake.fail("chat.postMessage", status=503, after=True, retry_after=0.01)
    fake.fail("conversations.replies", times=2, status=502, retry_after=0.01)
    fake.fail("conversations.replies", status=429, retry_after=0.01)
    await bot.answers(fake.person("Ada"), "What is a lamp?")
    await bot.settled()
    assert len(bot.said()) == 1
    assert len(fake.called("chat.postMessage")) == 1


async def test_a_lost_post_is_made_again_where_slack_lets_nobody_look(bot: Bot):
    fake = bot.fake
    fake.fail("chat.postMessage", status=503, retry_after=0.01)
    fake.fail("conversations.replies", times=99, error="missing_scope")
    await bot.answers(fake.person("Ada"), "What is a lamp?")
    assert len(bot.said()) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_reply_that_slack_does_not_take_for_long_is_left_to_the_next_process(
    fake: FakeSlack, tmp_path: Path, status: int
):
    ada = fake.person("Ada")
    async with running(fake, Scripted(), tmp_path) as bot:
        fake.fail("chat.postMessage", times=99, status=status, retry_after=0.01)
        asked = await bot.mentioned(ada, "What is a lamp?")
        await bot.settled()
        assert await bot.store.unanswered("slack") == [(f"{fake.general.id}:{asked.ts}",) * 2]
    fake.web.faults.clear()
    async with running(fake, Scripted(), tmp_path) as bot:
        await fake.reply_to(asked, done=whole)
        await bot.settled()
        assert len(bot.said()) == 1
        assert await bot.store.unanswered("slack") == []


async def test_a_command_s_reply_that_slack_does_not_take_for_long_is_told_by_the_next_process(
    fake: FakeSlack, tmp_path: Path
):
    ada = fake.person("Ada")
    async with running(fake, Scripted(), tmp_path) as bot:
        for method in ("response_url", "chat.postEphemeral", "chat.postMessage"):
            fake.fail(method, times=99, status=503, retry_after=0.01)
        await (await ada.command("/fireside", "ask What is a lamp?")).acknowledged()
        await bot.settled()
    fake.web.faults.clear()
    async with running(fake, Scripted(), tmp_path) as bot:
        await fake.until(lambda: fake.ephemerals(ada))
        assert text_in(fake.ephemerals(ada)[0]).startswith("I was restarted")
        assert await bot.store.unanswered("slack") == []


async def test_a_post_that_did_not_get_through_is_made_again(bot: Bot):
    fake = bot.fake
    fake.fail("chat.postMessage", status=502)
    await bot.answers(fake.person("Ada"), "What is a lamp?")
    assert len(bot.said()) == 1


async def test_a_reply_in_the_making_that_somebody_deleted_is_posted_anew(fake: FakeSlack, tmp_path: Path):
    fake.fail("chat.startStream", times=99, error="missing_scope")
    async with running(fake, Scripted(pieces=WRITES[:1]), tmp_path) as bot:
        asked = await bot.mentioned(fake.person("Ada"), "What is a lamp?")
        shown = await fake.reply_to(asked)
        fake.removed(shown)
        bot.fireside.next_piece.release()
        assert await fake.reply_to(asked, done=whole) is not shown


async def test_without_the_thread_s_history_it_is_answered_without(bot: Bot, caplog: pytest.LogCaptureFixture):
    fake = bot.fake
    root = await fake.person("Ada").say(fake.general, "Lamps.")
    fake.fail("conversations.replies", times=99, error="missing_scope")
    await bot.answers(fake.person("Ada"), "What is it?", thread=root)
    assert bot.fireside.asked[0].history == ()
    assert "lacks the scope" in caplog.text


# Response URLs


async def test_a_response_url_that_expired_ends_in_a_message_to_the_asker_alone(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    bot.fireside.gate.clear()
    await (await ada.command("/fireside", "ask What is a lamp?", channel=fake.general)).acknowledged()
    await fake.until(lambda: bot.asked)
    await fake.advance(31 * 60)
    bot.fireside.gate.set()
    await fake.until(lambda: any(map(whole, fake.ephemerals(ada))))
    assert fake.called("chat.postEphemeral")
    assert not bot.said()


async def test_where_the_bot_is_no_member_and_the_url_expired_it_comes_in_their_conversation(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    elsewhere = fake.channel("elsewhere", bot=False)
    bot.fireside.gate.clear()
    await (await ada.command("/fireside", "ask What is a lamp?", channel=elsewhere)).acknowledged()
    await fake.until(lambda: bot.asked)
    await fake.advance(31 * 60)
    bot.fireside.gate.set()
    await fake.until(lambda: any(map(whole, bot.said(ada.dm))))


async def test_a_url_that_is_used_up_is_done_without(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    reply = await bot.told(ada, "ask What is a lamp?")
    for hook in fake.web.hooks.values():
        hook.uses = 5
    clicked = await ada.click(reply, "fireside:share")
    fake.web.hooks[clicked.response_url.rpartition("/")[2]].uses = 5
    await fake.until(bot.said)
    assert whole(bot.said()[0])


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "retry_after": 0.02}])
async def test_a_response_url_that_fails_for_a_moment_is_tried_again(bot: Bot, fault: dict[str, float]):
    fake = bot.fake
    ada = fake.person("Ada")
    fake.fail("response_url", **fault)  # type: ignore[arg-type]
    await bot.told(ada, "sources")
    assert len(fake.ephemerals(ada)) == 1


async def test_what_was_shared_though_the_answer_was_lost_is_not_shared_twice(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    reply = await bot.told(ada, "ask What is a lamp?")
    fake.fail("response_url", status=503, after=True)
    await (await ada.click(reply, "fireside:share")).acknowledged()
    await bot.settled()
    assert len(bot.said()) == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("not_in_channel", "I am not in this channel. Add me with /invite, then try it again."),
        ("is_archived", "This channel is archived, so I can't write in it. Ask me elsewhere."),
        ("expired_trigger_id", "Slack lets a form open for three seconds only"),
        ("invalid_auth", "Slack didn't let me do that."),
    ],
)
async def test_what_slack_refuses_is_told_to_who_clicked(bot: Bot, error: str, says: str):
    fake = bot.fake
    ada = fake.person("Ada")
    reply = await bot.answers(ada, "What is a lamp?")
    fake.fail("views.open", error=error)
    await (await ada.click(reply, "fireside:opinion", "negative")).acknowledged()
    await fake.until(lambda: fake.ephemerals(ada))
    assert says in text_in(fake.ephemerals(ada)[0])


# The connection


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_a_connection_that_slack_wants_anew_loses_and_doubles_nothing(bot: Bot, reason: str):
    fake = bot.fake
    ada = fake.person("Ada")
    await bot.answers(ada, "One?")
    await fake.disconnect(reason)
    missed = await bot.mentioned(ada, "Two?")
    await fake.connected()
    await fake.reply_to(missed, done=whole)
    await bot.settled()
    assert bot.asked == ["One?", "Two?"]
    assert "platform" not in bot.health.lacking


async def test_a_connection_that_breaks_is_made_anew_and_what_was_missed_is_answered(bot: Bot):
    fake = bot.fake
    await fake.drop()
    missed = await bot.mentioned(fake.person("Ada"), "One?")
    await fake.connected(timeout=15)
    await fake.reply_to(missed, done=whole)
    assert bot.asked == ["One?"]


async def test_a_socket_mode_that_is_switched_off_is_one_sentence(bot: Bot, caplog: pytest.LogCaptureFixture):
    await bot.fake.disconnect("link_disabled")
    await bot.fake.connected()
    assert "Socket Mode is switched off for the app. Switch it on at" in caplog.text
