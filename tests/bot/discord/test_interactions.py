from __future__ import annotations

from pathlib import Path

import pytest

from bot.desk import ABOUT_THIS
from tests.bot.discord.running import Bot, running
from tests.bot.scripted import Scripted, asks_back
from tests.discord_fake import FakeDiscord, NotOffered

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def test_ask_is_deferred_at_once_and_answered_below_its_question(bot: Bot):
    fake = bot.fake
    bot.fireside.gate.clear()
    it = await fake.command(fake.alice, fake.general, "ask", {"question": "What is a *lamp*?"})
    assert await it.acknowledged() == "deferred"
    assert it.acknowledged_after < 1
    bot.fireside.gate.set()
    answer = await it.reply()
    assert answer.content.startswith("> What is a \\*lamp\\*?\nYou asked: What is a \\*lamp\\*?")
    assert answer.labels[-2:] == ["Why?", "Again"]


async def test_no_question_pings_anybody_from_the_reply(bot: Bot):
    fake = bot.fake
    question = f"@everyone {fake.bob.mention} <@&{fake.guild.id}> [x](https://example.org) ||is|| it?"
    answer = await (await fake.command(fake.olga, fake.general, "ask", {"question": question})).reply()
    asked = await fake.say(fake.olga, fake.general, question, mention_bot=True)
    replied = await fake.reply_to(asked, done=lambda m: m.reply_to is asked)
    assert not answer.pings
    assert not replied.pings
    assert fake.bob.mention not in answer.content + replied.content


async def test_a_private_ask_is_seen_by_the_asker_alone(bot: Bot):
    fake = bot.fake
    it = await fake.command(fake.alice, fake.general, "ask", {"question": "What is a lamp?", "private": True})
    assert (await it.reply()).ephemeral
    assert not fake.messages(fake.general, author=fake.bot)


async def test_a_second_ask_goes_on_with_the_first_until_reset(bot: Bot):
    fake = bot.fake
    for question in ("One?", "Two?"):
        await (await fake.command(fake.alice, fake.general, "ask", {"question": question})).reply()
    await (await fake.command(fake.bob, fake.general, "ask", {"question": "Other?"})).reply()
    await (await fake.command(fake.alice, fake.general, "reset")).reply()
    await (await fake.command(fake.alice, fake.general, "ask", {"question": "Three?"})).reply()
    assert [len(q.history) for q in bot.fireside.asked] == [0, 2, 0, 0]


async def test_in_a_dm_reset_ends_what_is_read_as_history(bot: Bot):
    fake = bot.fake
    dm = fake.dm(fake.alice)
    await fake.reply_to(await fake.say(fake.alice, dm, "One?"))
    await fake.reply_to(await fake.say(fake.alice, dm, "Two?"))
    await (await fake.command(fake.alice, dm, "reset")).reply()
    await fake.reply_to(await fake.say(fake.alice, dm, "Three?"))
    assert [len(q.history) for q in bot.fireside.asked] == [0, 2, 0]


async def test_an_interaction_that_came_too_late_is_answered_by_a_normal_message(bot: Bot):
    fake = bot.fake
    it = await fake.command(fake.alice, fake.general, "ask", {"question": "What is a lamp?"}, age=4)
    await fake.until(lambda: any("What is a lamp?" in m.content for m in fake.messages(fake.general, author=fake.bot)))
    assert it.original is None


async def test_a_private_one_that_came_too_late_is_answered_by_dm(bot: Bot):
    fake = bot.fake
    await fake.command(fake.alice, fake.general, "ask", {"question": "Lamp?", "private": True}, age=4)
    await fake.until(lambda: fake.messages(fake.dm(fake.alice), author=fake.bot))
    assert not fake.messages(fake.general, author=fake.bot)


async def test_an_answer_after_a_quarter_of_an_hour_is_a_normal_message(bot: Bot):
    fake = bot.fake
    bot.fireside.gate.clear()
    it = await fake.command(fake.alice, fake.general, "ask", {"question": "What is a lamp?"})
    await it.acknowledged()
    await fake.until(lambda: bot.fireside.asked)
    fake.advance(16 * 60)
    bot.fireside.gate.set()
    await fake.until(lambda: any("You asked" in m.content for m in fake.messages(fake.general, author=fake.bot)))


async def test_an_acknowledgement_whose_answer_is_lost_is_one_all_the_same(bot: Bot):
    fake = bot.fake
    fake.fail("POST", "/interactions/*/*/callback", 503, after=True)
    it = await fake.command(fake.alice, fake.general, "ask", {"question": "What is a lamp?"})
    assert "You asked" in (await it.reply()).content
    assert len(fake.violations) == 1  # the second try, which Discord refuses
    fake.violations.clear()


async def test_quote_shows_a_card_and_turns_to_the_next(bot: Bot):
    fake = bot.fake
    it = await fake.command(fake.alice, fake.general, "quote", {"topic": "lamps"})
    card = await it.reply()
    assert "Quotation number 1." in card.embeds[0]["description"]
    await fake.component(fake.alice, card, card.button("Next"))
    await fake.until(lambda: "Quotation number 2." in card.embeds[0]["description"])
    await fake.component(fake.alice, card, card.button("Previous"))
    await fake.until(lambda: "Quotation number 1." in card.embeds[0]["description"])
    assert "Post to channel" not in card.labels


async def test_a_private_quotation_can_be_posted(bot: Bot):
    fake = bot.fake
    card = await (await fake.command(fake.alice, fake.general, "quote", {"topic": "lamps", "private": True})).reply()
    assert card.ephemeral
    posted = await (await fake.component(fake.alice, card, card.button("Post to channel"))).reply()
    assert not posted.ephemeral
    assert "Quotation number 1." in posted.embeds[0]["description"]


@pytest.mark.parametrize("label", ["Dark picture", "Light picture"])
async def test_a_quotation_comes_as_a_picture_with_its_words_as_description(bot: Bot, label: str):
    fake = bot.fake
    card = await (await fake.command(fake.alice, fake.general, "quote", {"topic": "lamps"})).reply()
    shown = await (await fake.component(fake.alice, card, card.button(label))).reply()
    assert "Quotation number 1." in shown.attachments[0]["description"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"topic": "sourdough"}, "Nothing in the talks is about that."),
        ({"topic": "lamps", "speaker": "Nobody"}, "There is no speaker 'Nobody'"),
        ({"topic": "lamps", "talk": "No talk"}, "There is no talk 'No talk'"),
    ],
)
async def test_a_quotation_that_is_not_there_is_said_so(bot: Bot, options: dict[str, str], says: str):
    it = await bot.fake.command(bot.fake.alice, bot.fake.general, "quote", options)
    assert says in (await it.reply()).content


async def test_topics_speakers_and_talks_are_completed_from_the_real_ones(bot: Bot):
    fake, corpus = bot.fake, bot.fireside.corpus
    given = {"topic": "deep lear"}
    topics = await fake.autocomplete(fake.alice, fake.general, "quote", given, focused="topic")
    assert "deep learning" in [c["value"] for c in topics]
    given = {"topic": "x", "speaker": corpus.speakers[0][:4].upper()}
    speakers = await fake.autocomplete(fake.alice, fake.general, "quote", given, focused="speaker")
    assert corpus.speakers[0] in [c["value"] for c in speakers]
    given = {"topic": "x", "talk": ""}
    talks = await fake.autocomplete(fake.alice, fake.general, "quote", given, focused="talk")
    assert [c["value"] for c in talks] == [t.title for t in corpus.catalog.talk]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("help", "/quote TOPIC"),
        ("sources", "transcript"),
        ("status", "Voice: quotes"),
        ("why", "I have no last answer to you here."),
        ("forget", "0 pieces of feedback deleted"),
    ],
)
async def test_each_of_the_plain_commands_answers_privately(bot: Bot, name: str, says: str):
    answer = await (await bot.fake.command(bot.fake.alice, bot.fake.general, name)).reply()
    assert says in answer.content
    assert answer.ephemeral


async def test_why_is_about_the_asker_s_own_last_reply(bot: Bot):
    fake = bot.fake
    await fake.reply_to(await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True))
    assert "supported" in (await (await fake.command(fake.alice, fake.general, "why")).reply()).content
    assert "no last answer" in (await (await fake.command(fake.bob, fake.general, "why")).reply()).content


async def test_an_option_is_a_button_and_a_click_goes_on(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(asks_back), tmp_path) as bot:
        back = await fake.reply_to(await fake.say(fake.alice, fake.general, "Which lamp?", mention_bot=True))
        on = await (await fake.component(fake.alice, back, back.button("the new lamp"))).reply()
        assert "the new lamp" in on.content
        said = [t.content for t in bot.fireside.asked[1].history]
        assert said == ["Which lamp?", "Which do you mean: (1) the old lamp; (2) the new lamp?"]


async def test_buttons_work_after_a_restart(fake: FakeDiscord, tmp_path: Path):
    async with running(fake, Scripted(asks_back), tmp_path):
        back = await fake.reply_to(await fake.say(fake.alice, fake.general, "Which lamp?", mention_bot=True))
        plain = await (await fake.command(fake.bob, fake.general, "ask", {"question": "What is *it*?"})).reply()
    async with running(fake, Scripted(asks_back), tmp_path) as bot:
        await (await fake.component(fake.alice, back, back.button("the new lamp"))).reply()
        assert bot.fireside.asked[0].text == "the new lamp"
        said = [t.content for t in bot.fireside.asked[0].history]
        assert said == ["Which lamp?", "Which do you mean: (1) the old lamp; (2) the new lamp?"]
        why = await (await fake.component(fake.bob, plain, "fireside:why")).reply()
        assert bot.fireside.asked[1].text == "What is *it*?"
        assert "ambiguous" in why.content
        await (await fake.component(fake.bob, plain, "fireside:up")).reply()
        assert [f.question for f in await bot.store.feedback()] == ["What is *it*?"]


async def test_a_thumb_down_asks_what_was_wrong_and_keeps_it_with_the_reply(bot: Bot):
    fake = bot.fake
    answer = await fake.reply_to(await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True))
    pressed = await fake.component(fake.bob, answer, "fireside:down")
    assert await pressed.acknowledged() == "modal"
    thanks = await (await fake.modal(pressed, {"comment": "It is a *buoy*."})).reply()
    assert thanks.ephemeral
    (kept,) = await bot.store.feedback()
    assert (kept.good, kept.comment, kept.question, kept.user) == (
        False,
        "It is a *buoy*.",
        "What is a lamp?",
        fake.bob.id,
    )
    assert "1 piece of feedback" in (await (await fake.command(fake.bob, fake.general, "forget")).reply()).content
    assert not await bot.store.feedback()


async def test_again_writes_anew_with_another_seed(bot: Bot):
    fake = bot.fake
    answer = await fake.reply_to(await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True))
    await (await fake.component(fake.alice, answer, answer.button("Again"))).reply()
    assert [q.text for q in bot.fireside.asked] == ["What is a lamp?"] * 2
    assert bot.fireside.seeds[0] != bot.fireside.seeds[1]


async def test_who_opted_out_leaves_no_feedback(bot: Bot):
    fake = bot.fake
    await (await fake.command(fake.alice, fake.general, "forget", {"opt_out": True})).reply()
    answer = await fake.reply_to(await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True))
    told = await (await fake.component(fake.alice, answer, "fireside:up")).reply()
    assert "keep nothing of you" in told.content
    assert not await bot.store.feedback()


async def test_the_message_menu_looks_up_what_was_said_about_a_message(bot: Bot):
    fake = bot.fake
    said = await fake.say(fake.bob, fake.general, "Lamps are overrated.")
    card = await (await fake.context_menu(fake.alice, said, ABOUT_THIS)).reply()
    assert card.ephemeral
    assert card.content == "> Lamps are overrated."


async def test_settings_are_for_admins_and_hold_at_once(bot: Bot):
    fake = bot.fake
    with pytest.raises(NotOffered):
        await fake.command(fake.alice, fake.general, "settings")
    refused = await (await fake.command(fake.alice, fake.general, "settings", anyway=True)).reply()
    assert "may manage this server" in refused.content
    panel = await (await fake.command(fake.olga, fake.general, "settings")).reply()
    await fake.component(fake.olga, panel, "fireside:set:0:answers", ["mentions"])
    await fake.until(lambda: "Answers mentions only." in panel.content)
    await fake.component(fake.olga, panel, panel.button("Where"))
    await fake.until(lambda: "fireside:set:0:blocked_channels" in panel.custom_ids)
    await fake.component(fake.olga, panel, "fireside:set:0:blocked_channels", [fake.general])
    await fake.until(lambda: "Channels where I never answer" in panel.content)
    blocked = await fake.command(fake.alice, fake.general, "ask", {"question": "Lamp?"})
    told = await blocked.followup()
    assert "not to answer in this channel" in told.content
    assert told.ephemeral
    await fake.component(fake.olga, panel, panel.button("As I was started"))
    await fake.until(lambda: "goes on in its threads" in panel.content)
    await (await fake.command(fake.alice, fake.general, "ask", {"question": "Lamp?"})).reply()


async def test_a_channel_has_settings_of_its_own(bot: Bot):
    fake = bot.fake
    panel = await (await fake.command(fake.olga, fake.general, "settings", {"channel": fake.general})).reply()
    assert "Where" not in panel.labels
    await fake.component(fake.olga, panel, f"fireside:set:{fake.general.id}:voice", ["quotes"])
    await fake.until(lambda: "Voice: quotes" in panel.content)
    assert (await bot.store.place("discord", fake.guild.id, fake.general.id)).voice == "quotes"
    assert (await bot.store.place("discord", fake.guild.id)).voice is None


async def test_only_certified_risks_are_offered_and_taken(bot: Bot):
    fake = bot.fake
    panel = await (await fake.command(fake.olga, fake.general, "settings")).reply()
    assert ("fireside:set:0:risk" in panel.custom_ids) == bool(bot.client.desk.host.risks())


async def test_commands_work_where_a_user_brought_the_bot_along(bot: Bot):
    fake = bot.fake
    elsewhere = fake.new_guild("Elsewhere", fake.olga, bot=False)
    fake.join(elsewhere, fake.alice)
    channel = fake.channel(elsewhere, "lobby")
    it = await fake.command(fake.alice, channel, "ask", {"question": "What is a lamp?"})
    assert "You asked" in (await it.reply()).content


async def test_reliability_shows_figures_certificate_and_picture(bot: Bot):
    shown = await (await bot.fake.command(bot.fake.alice, bot.fake.general, "reliability")).reply()
    assert "ertified" in shown.content
    assert "another threshold" in shown.content  # the script's is not the one that was measured
    assert any("false answers" in field["name"] for field in shown.embeds[0]["fields"])
    assert shown.attachments[0]["filename"] == "reliability.png"
