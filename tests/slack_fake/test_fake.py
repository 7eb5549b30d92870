"""The fake against the unmodified slack_bolt and slack_sdk: what a bot that runs in it may rely on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.slack_fake import FakeSlack, Message, NotOffered, check_blocks, check_view, mentions_in
from tests.slack_fake.world import Json

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def section(text: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def button(label: str, action_id: str, **more: Any) -> Json:
    return {"type": "button", "text": {"type": "plain_text", "text": label}, "action_id": action_id, **more}


FORM: Json = {
    "type": "modal",
    "callback_id": "form",
    "title": {"type": "plain_text", "text": "Form"},
    "submit": {"type": "plain_text", "text": "Send"},
    "notify_on_close": True,
    "blocks": [
        {
            "type": "input",
            "block_id": "why",
            "label": {"type": "plain_text", "text": "Why?"},
            "element": {"type": "plain_text_input", "action_id": "words", "max_length": 20},
        },
        {
            "type": "input",
            "optional": True,
            "block_id": "talk",
            "label": {"type": "plain_text", "text": "Talk"},
            "element": {"type": "external_select", "action_id": "talk", "min_query_length": 1},
        },
    ],
}


def bot(fake: FakeSlack) -> AsyncApp:
    """Answers mentions by "pong" with buttons, and knows a command, a form and a shortcut. What it saw is in `seen`."""
    client = AsyncWebClient(fake.bot_token, base_url=fake.api_url)
    app = AsyncApp(client=client, signing_secret=fake.signing_secret, process_before_response=False)
    app.seen = []  # type: ignore[attr-defined]

    @app.event("app_mention")
    async def mention(event: Json, say: Any) -> None:
        row = {"type": "actions", "elements": [button("Again", "again"), button("Form", "form")]}
        await say("pong", blocks=[section("pong"), row], thread_ts=event["ts"])

    @app.event("message")
    async def message(event: Json) -> None:
        app.seen.append((event.get("subtype"), event))  # type: ignore[attr-defined]

    @app.action("again")
    async def again(ack: Any, respond: Any) -> None:
        await ack()
        await respond("once more", replace_original=True)

    @app.action("form")
    async def form(ack: Any, body: Json, client: AsyncWebClient) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=FORM)

    @app.view("form")
    async def submitted(ack: Any, view: Json) -> None:
        words = view["state"]["values"]["why"]["words"]["value"]
        if words == "bad":
            await ack(response_action="errors", errors={"why": "Not that."})
        else:
            await ack()
        app.seen.append(("form", view["state"]["values"]))  # type: ignore[attr-defined]

    @app.view_closed("form")
    async def closed(ack: Any) -> None:
        await ack()

    @app.options("talk")
    async def talks(ack: Any, payload: Json) -> None:
        await ack(options=[{"text": {"type": "plain_text", "text": payload["value"]}, "value": "t1"}])

    @app.command("/fireside")
    async def command(ack: Any, command: Json, respond: Any) -> None:
        await ack(f"you said {command['text']}")
        await respond("in public", response_type="in_channel")

    @app.shortcut("quote")
    async def quote(ack: Any, shortcut: Json, client: AsyncWebClient) -> None:
        await ack()
        message = shortcut["message"]
        await client.chat_postMessage(channel=message["user"], text=message["text"])

    return app


@contextlib.asynccontextmanager
async def connected(fake: FakeSlack) -> AsyncIterator[AsyncApp]:
    app = bot(fake)
    handler = AsyncSocketModeHandler(app, fake.app_token, ping_interval=0.2)
    await handler.connect_async()
    await fake.connected()
    try:
        yield app
    finally:
        await handler.close_async()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def served(fake: FakeSlack) -> AsyncIterator[str]:
    runner = web.AppRunner(bot(fake).web_app("/slack/events"), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    finally:
        await runner.cleanup()


@pytest.fixture
async def fake() -> AsyncIterator[FakeSlack]:
    async with FakeSlack(shortcuts=("quote",)) as made:
        yield made


@pytest.fixture
def client(fake: FakeSlack) -> AsyncWebClient:
    return AsyncWebClient(fake.bot_token, base_url=fake.api_url)


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as error:
        await call
    return error.value.response["error"]


# Socket Mode


async def test_a_mention_is_told_twice_with_one_ts_and_answered_in_its_thread(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    async with connected(fake) as app:
        asked = await ada.say(fake.general, f"{fake.bot.mention} ping")
        reply = await fake.reply_to(asked)
        assert (reply.text, reply.thread_ts, reply.user) == ("pong", asked.ts, fake.bot)
        mention, message = fake.deliveries[:2]
        assert mention.payload["event"]["ts"] == message.payload["event"]["ts"] == asked.ts
        assert mention.payload["event_id"] != message.payload["event_id"]
        assert (await mention.acknowledged()).seconds < 3
        assert mention.response is None
        await fake.until(lambda: app.seen)
        assert [kind for kind, _ in app.seen] == [None]  # its own answer, bolt drops
        await fake.until(lambda: len(fake.deliveries) == 3)
        assert fake.deliveries[2].payload["event"]["bot_id"] == fake.bot.bot_id


async def test_buttons_forms_and_menus_work_as_in_the_client(fake: FakeSlack) -> None:
    ada, bob = fake.person("Ada"), fake.person("Bob")
    async with connected(fake) as app:
        reply = await fake.reply_to(await ada.say(fake.general, f"{fake.bot.mention} ping"))
        await (await ada.click(reply, "form")).acknowledged()
        await fake.until(lambda: ada.modal)
        assert ada.modal is not None
        with pytest.raises(NotOffered, match="must be filled in"):
            await ada.submit(ada.modal, {})
        with pytest.raises(NotOffered, match="does not see"):
            await bob.submit(ada.modal, {"words": "x"})
        found = await (await ada.suggest(ada.modal, "talk", "lamp")).acknowledged()
        assert found.options is not None
        assert found.options[0]["value"] == "t1"
        failed = await (await ada.submit(ada.modal, {"words": "bad"})).acknowledged()
        assert failed.errors == {"why": "Not that."}
        assert ada.modal is not None
        await (await ada.submit(ada.modal, {"words": "good", "talk": "t1"})).acknowledged()
        assert ada.modal is None
        await fake.until(lambda: len(app.seen) > 2)
        assert app.seen[-1][1]["talk"]["talk"]["selected_option"]["value"] == "t1"
        await ada.click(reply, "form")
        await fake.until(lambda: ada.modal)
        told = await ada.close(ada.modal)  # type: ignore[arg-type]
        assert told is not None
        await told.acknowledged()
        await ada.click(reply, "again")
        await fake.until(lambda: reply.edits)
        assert (reply.text, reply.edits[0].text) == ("once more", "pong")
        with pytest.raises(NotOffered, match="sees no again"):
            await ada.click(reply, "again")


async def test_a_command_is_answered_by_its_acknowledgement_and_by_its_response_url(fake: FakeSlack) -> None:
    ada, bob = fake.person("Ada"), fake.person("Bob")
    async with connected(fake):
        asked = await (await ada.command("/fireside", " a lamp ")).acknowledged()
        assert asked.payload["text"] == "a lamp"
        await fake.until(lambda: fake.general.messages)
        assert [m.text for m in fake.ephemerals(ada)] == ["you said a lamp"]
        assert [m.text for m in fake.general.messages] == ["in public"]
        assert not fake.ephemerals(bob)
        with pytest.raises(NotOffered, match="no such command"):
            await ada.command("/other")


async def test_a_message_shortcut_carries_the_message(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    async with connected(fake):
        said = await ada.say(fake.general, "Light it.")
        await (await ada.shortcut(said, "quote")).acknowledged()
        await fake.until(lambda: ada.dm.messages)
        assert ada.dm.messages[0].text == "Light it."


async def test_edits_and_deletions_are_told(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    async with connected(fake) as app:
        said = await ada.say(ada.dm, "one")
        await ada.edit(said, "two")
        await ada.delete(said)
        await fake.until(lambda: len(app.seen) == 3)
        seen = dict(app.seen)
        assert set(seen) == {None, "message_changed", "message_deleted"}
        assert seen[None]["channel_type"] == "im"
        assert seen["message_changed"]["previous_message"]["text"] == "one"
        assert seen["message_deleted"]["deleted_ts"] == said.ts
        assert not ada.dm.messages


async def test_the_app_hears_only_what_it_has_subscribed_to_where_it_is() -> None:
    async with FakeSlack(subscriptions=["message.channels"], commands=()) as fake:
        ada = fake.person("Ada")
        away = fake.channel("away", bot=False)
        await ada.say(away, "nobody")
        await ada.say(ada.dm, "nor here")
        await ada.say(fake.general, f"{fake.bot.mention} here")
        fake.scopes.remove("channels:history")
        await ada.say(fake.general, "no more")
        assert [d.payload["event"]["type"] for d in fake.deliveries] == ["message"]


async def test_what_is_not_acknowledged_comes_again(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    app = AsyncApp(client=AsyncWebClient(fake.bot_token, base_url=fake.api_url))
    app.logger.setLevel(logging.ERROR)
    handler = AsyncSocketModeHandler(app, fake.app_token)
    await handler.connect_async()
    await fake.connected()
    await ada.say(ada.dm, "hello")  # nobody listens: bolt does not acknowledge
    (told,) = fake.deliveries
    for seconds in (3, 60, 300, 4):
        await fake.advance(seconds)
    assert [(t.number, t.reason) for t in told.tries] == [(0, None), (1, "timeout"), (2, "timeout"), (3, "timeout")]
    assert told.failed == "given_up"
    await handler.close_async()


async def test_events_wait_for_a_socket_as_long_as_slack_retries(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    await ada.say(ada.dm, "too early")
    await fake.advance(400)
    await ada.say(ada.dm, "early")
    assert (await ada.command("/fireside", "x")).failed == "dispatch_failed"
    await fake.advance(30)
    async with connected(fake) as app:
        await fake.until(lambda: app.seen)
        assert [event["text"] for _, event in app.seen] == ["early"]
        assert fake.deliveries[0].failed == "given_up"
        assert fake.deliveries[1].tries[0][1:] == (2, "timeout")


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "link_disabled"])
async def test_a_client_that_is_told_to_go_comes_back(fake: FakeSlack, reason: str) -> None:
    ada = fake.person("Ada")
    async with connected(fake):
        first = (await fake.connected())[0]
        await fake.disconnect(reason)
        assert (await fake.connected())[0] is not first
        assert await fake.reply_to(await ada.say(fake.general, f"{fake.bot.mention} ping"))


async def test_a_dropped_client_comes_back_and_gets_what_it_had_not_acknowledged(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    async with connected(fake):
        await fake.ping()
        (first,) = await fake.connected()
        await fake.until(lambda: first.pongs)
        await fake.drop()
        asked = await ada.say(fake.general, f"{fake.bot.mention} ping")
        assert await fake.reply_to(asked)
        assert fake.deliveries[0].tries[0].number == 1


async def test_several_sockets_share_the_envelopes(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    async with connected(fake), connected(fake):
        sockets = await fake.connected(2)
        for number in range(4):
            await ada.say(ada.dm, str(number))
        await fake.until(lambda: all(d.acked for d in fake.deliveries))
        assert sorted(len(s.acked) for s in sockets) == [2, 2]


async def test_only_an_app_token_opens_sockets(fake: FakeSlack, client: AsyncWebClient) -> None:
    assert await refused(client.apps_connections_open(app_token=fake.bot_token)) == "not_allowed_token_type"
    assert await refused(client.auth_test(token="-".join(("xoxb", "other")))) == "invalid_auth"
    assert (await client.auth_test())["bot_id"] == fake.bot.bot_id
    assert (await client.auth_test(token=fake.app_token))["app_id"] == fake.app_id
    await fake.uninstall()
    assert await refused(client.auth_test()) == "account_inactive"


# HTTP mode


async def test_in_http_mode_events_commands_and_clicks_come_signed(fake: FakeSlack) -> None:
    ada = fake.person("Ada")
    async with served(fake) as url:
        assert await fake.verify_url(url)
        fake.request_url = url
        reply = await fake.reply_to(await ada.say(fake.general, f"{fake.bot.mention} ping"))
        await (await ada.click(reply, "again")).acknowledged()
        await fake.until(lambda: reply.edits)
        await (await ada.command("/fireside", "lamp")).acknowledged()
        assert [m.text for m in fake.ephemerals(ada)] == ["you said lamp"]
        await fake.until(lambda: len(fake.general.messages) == 3)


async def test_what_is_not_signed_by_slack_is_refused(fake: FakeSlack) -> None:
    async with served(fake) as url:
        event = fake.event({"type": "message", "text": "x", "channel": fake.general.id, "user": "U1", "ts": "1.1"})
        good = await fake.post(url, event, retry=(1, "http_timeout"))
        assert good.status == 200
        assert (await fake.replay(good)).status == 200  # Slack's signature has no nonce: the bot must know the event
        assert good.headers["X-Slack-Retry-Num"] == "1"
        assert (await fake.post(url, event, secret="another")).status == 401
        assert (await fake.post(url, event, timestamp=fake.clock() - 600)).status == 401


async def test_http_events_that_fail_come_again_with_their_number_and_reason(fake: FakeSlack) -> None:
    ada, seen = fake.person("Ada"), []

    async def listen(request: web.Request) -> web.Response:
        seen.append((request.headers.get("X-Slack-Retry-Num"), request.headers.get("X-Slack-Retry-Reason")))
        return web.Response(status=500 if len(seen) == 1 else 200)

    app = web.Application()
    app.router.add_post("/", listen)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.request_url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await ada.say(ada.dm, "hello")
    (told,) = fake.deliveries
    await fake.until(lambda: told.answer)
    assert not told.acked
    await fake.advance(3)
    await told.acknowledged()
    assert seen == [(None, None), ("1", "http_error")]
    await runner.cleanup()
    assert (await ada.command("/fireside")).kind == "slash_commands"
    await fake.until(lambda: fake.deliveries[-1].failed == "dispatch_failed")


# The Web API


async def test_arguments_come_in_every_form(fake: FakeSlack, client: AsyncWebClient) -> None:
    said = await fake.person("Ada").say(fake.general, "hello")
    form = await client.api_call("chat.postMessage", data={"channel": fake.general.id, "text": "a", "blocks": "[]"})
    query = await client.api_call("chat.postMessage", params={"channel": fake.general.id, "text": "b"})
    body = await client.api_call("chat.postMessage", json={"channel": fake.general.id, "text": "c"})
    assert [fake.general.find(r["ts"]).text for r in (form, query, body)] == ["a", "b", "c"]  # type: ignore[union-attr]
    assert "chat:write" in form.headers["x-oauth-scopes"]
    link = await client.chat_getPermalink(channel=fake.general.id, message_ts=said.ts)
    assert link["permalink"].endswith(said.ts.replace(".", ""))


async def test_what_the_published_api_refuses_is_a_violation(fake: FakeSlack, client: AsyncWebClient) -> None:
    channel = fake.general.id
    assert await refused(client.api_call("chat.postMassage")) == "unknown_method"
    await client.chat_postMessage(channel=channel, text="x", colour="red")
    assert await refused(client.api_call("chat.postMessage", json={"channel": channel, "text": " "})) == "no_text"
    assert await refused(client.chat_postMessage(channel="", text="x")) == "invalid_arguments"
    blocks = [section("x" * 3001)]
    with pytest.raises(SlackApiError) as error:
        await client.chat_postMessage(channel=channel, text="x", blocks=blocks)
    assert error.value.response["error"] == "invalid_blocks"
    assert "json-pointer:/blocks/0/text/text" in error.value.response["response_metadata"]["messages"][0]
    many = [section("x" * 2900) for _ in range(5)]
    assert await refused(client.chat_postMessage(channel=channel, text="x", blocks=many)) == "msg_blocks_too_long"
    sent = await client.chat_postMessage(channel=channel, text="x" * 40_001)
    assert len(sent["message"]["text"]) == 40_000
    assert await refused(client.chat_update(channel=channel, ts=sent["ts"], text="x" * 4001)) == "msg_too_long"
    assert await refused(client.api_call("users.info", json={"user": fake.bot.id})) == "invalid_form_data"
    assert len(fake.violations) == 9
    with pytest.raises(AssertionError, match="Slack would refuse"):
        fake.assert_clean()
    fake.violations.clear()


async def test_the_world_decides_what_a_token_may_do(fake: FakeSlack, client: AsyncWebClient) -> None:
    ada = fake.person("Ada")
    secret, away = fake.channel("secret", private=True, bot=False), fake.channel("away", bot=False)
    said = await ada.say(fake.general, "mine")
    assert await refused(client.chat_postMessage(channel=secret.id, text="x")) == "channel_not_found"
    assert await refused(client.chat_postMessage(channel=away.id, text="x")) == "not_in_channel"
    assert await refused(client.conversations_history(channel=away.id)) == "not_in_channel"
    assert await refused(client.chat_update(channel=fake.general.id, ts=said.ts, text="x")) == "cant_update_message"
    assert await refused(client.chat_delete(channel=fake.general.id, ts=said.ts)) == "cant_delete_message"
    assert (await client.conversations_join(channel=away.id))["channel"]["is_member"]
    await fake.archive(away)
    assert await refused(client.chat_postMessage(channel=away.id, text="x")) == "is_archived"
    fake.scopes.remove("im:history")
    with pytest.raises(SlackApiError) as error:
        await client.conversations_history(channel=ada.dm.id)
    assert (error.value.response["error"], error.value.response["needed"]) == ("missing_scope", "im:history")
    assert "chat:write" in error.value.response["provided"]


async def test_an_update_with_text_alone_takes_the_blocks_away(fake: FakeSlack, client: AsyncWebClient) -> None:
    about: Json = {"channel": fake.general.id}
    sent = await client.chat_postMessage(**about, text="x", blocks=[section("one")])
    message = fake.general.messages[0]
    about["ts"] = sent["ts"]
    await client.chat_update(**about, text="x", blocks=[section("two")])
    assert (message.blocks[0]["text"]["text"], message.edited) == ("two", None)
    await client.chat_update(**about, text="y")
    assert (message.text, message.blocks) == ("y", [])
    assert message.edited is not None
    assert [len(edit.blocks) for edit in message.edits] == [1, 1]


async def test_history_and_replies_come_in_pages(fake: FakeSlack, client: AsyncWebClient) -> None:
    ada = fake.person("Ada")
    root = await ada.say(fake.general, "root")
    for number in range(3):
        await ada.say(fake.general, f"reply {number}", thread=root)
    last = await ada.say(fake.general, "later")
    history = await client.conversations_history(channel=fake.general.id, limit=1)
    assert ([m["text"] for m in history["messages"]], history["has_more"]) == (["later"], True)
    cursor = history["response_metadata"]["next_cursor"]
    older = await client.conversations_history(channel=fake.general.id, limit=1, cursor=cursor)
    assert older["messages"][0]["reply_count"] == 3
    replies = await client.conversations_replies(channel=fake.general.id, ts=root.ts, limit=2)
    assert [m["text"] for m in replies["messages"]] == ["root", "reply 0", "reply 1"]
    await ada.delete(root)
    replies = await client.conversations_replies(channel=fake.general.id, ts=root.ts)
    assert replies["messages"][0]["subtype"] == "tombstone"
    await ada.delete(last)
    assert await refused(client.conversations_replies(channel=fake.general.id, ts=last.ts)) == "thread_not_found"


async def test_people_channels_and_the_team_can_be_looked_up(fake: FakeSlack, client: AsyncWebClient) -> None:
    ada, bob = fake.person("Ada"), fake.person("Bob", admin=True)
    fake.channel("secret", private=True)
    listed = await client.users_conversations(types=["public_channel", "private_channel"])
    assert [c["name"] for c in listed["channels"]] == ["general", "secret"]
    assert (await client.users_info(user=bob.id))["user"]["is_admin"]
    assert await refused(client.users_info(user="U1")) == "user_not_found"
    assert (await client.bots_info(bot=fake.bot.bot_id))["bot"]["user_id"] == fake.bot.id
    assert (await client.team_info())["team"]["id"] == fake.team_id
    opened = await client.conversations_open(users=ada.id)
    assert opened["channel"]["id"] == ada.dm.id
    assert (await client.conversations_open(users=[ada.id, bob.id]))["channel"]["id"] == fake.group_dm(ada, bob).id
    members = await client.conversations_members(channel=fake.general.id)
    assert members["members"] == [fake.bot.id, ada.id, bob.id]
    info = await client.conversations_info(channel=fake.general.id, include_num_members=True)
    assert info["channel"]["num_members"] == 3


async def test_faults_come_when_asked_for(fake: FakeSlack, client: AsyncWebClient) -> None:
    fake.fail("chat.postMessage", status=429, retry_after=7)
    with pytest.raises(SlackApiError) as error:
        await client.chat_postMessage(channel=fake.general.id, text="a")
    assert (error.value.response.status_code, error.value.response.headers["Retry-After"]) == (429, "7")
    fake.fail("chat.*", status=503, after=True)
    with pytest.raises(SlackApiError):
        await client.chat_postMessage(channel=fake.general.id, text="b")
    fake.fail("chat.postMessage", error="fatal_error")
    assert await refused(client.chat_postMessage(channel=fake.general.id, text="c")) == "fatal_error"
    gate = fake.hold("chat.postMessage")
    late = asyncio.create_task(client.chat_postMessage(channel=fake.general.id, text="d"))
    await fake.until(lambda: gate.waiting)
    assert [m.text for m in fake.general.messages] == ["b"]
    gate.open()
    await late
    assert [c.error for c in fake.called("chat.postMessage")] == ["ratelimited", "HTTP 503", "fatal_error", None]


async def test_a_stream_grows_stops_and_ends(fake: FakeSlack, client: AsyncWebClient) -> None:
    ada = fake.person("Ada")
    asked = await ada.say(fake.general, "tell")
    more: Json = {"channel": fake.general.id, "thread_ts": asked.ts}
    assert await refused(client.chat_startStream(**more)) == "missing_recipient_user_id"
    fake.violations.clear()
    more |= {"recipient_user_id": ada.id, "recipient_team_id": fake.team_id}
    stream = await client.chat_stream(buffer_size=1, **more)
    await stream.append(markdown_text="a ")
    live = fake.general.messages[-1]
    assert (live.stream, live.text) == ("streaming", "a ")
    about: Json = {"channel": fake.general.id, "ts": live.ts}
    assert await refused(client.chat_update(**about, text="x")) == "streaming_state_conflict"
    await stream.append(markdown_text="b")
    await stream.stop(blocks=[{"type": "actions", "elements": [button("Again", "again")]}])
    assert (live.stream, live.text, live.pieces) == ("stopped", "a b", ["a ", "b"])
    assert live.buttons[0].label == "Again"
    assert await refused(client.chat_appendStream(**about, markdown_text="c")) == "message_not_in_streaming_state"
    second = await client.chat_startStream(
        **more, chunks=[{"type": "task_update", "id": "1", "title": "t", "status": "pending"}]
    )
    await ada.stop(fake.general.messages[-1])
    stopped = {"channel": fake.general.id, "ts": second["ts"]}
    assert await refused(client.chat_appendStream(**stopped, markdown_text="c")) == "stopped_by_user"
    await client.chat_stopStream(**stopped)
    third = await client.chat_startStream(**more, markdown_text="x")
    await fake.advance(301)
    about = {"channel": fake.general.id, "ts": third["ts"]}
    assert await refused(client.chat_stopStream(**about)) == "message_not_in_streaming_state"
    await client.chat_update(**about, text="whole")
    assert fake.general.messages[-1].text == "whole"
    assert await refused(client.chat_startStream(**more, markdown_text="x" * 12_001)) == "msg_too_long"
    fake.violations.clear()


@pytest.mark.parametrize("agent", ["view", "assistant"])
async def test_an_agents_pane_has_status_title_and_prompts(agent: Any) -> None:
    async with FakeSlack(agent=agent) as fake:
        client, ada = AsyncWebClient(fake.bot_token, base_url=fake.api_url), fake.person("Ada")
        thread = await ada.opens_agent(looking_at=fake.general)
        names = [d.payload["event"]["type"] for d in fake.deliveries]
        expected = ["app_home_opened", "app_context_changed"] if agent == "view" else ["assistant_thread_started"]
        assert names == expected
        prompts = [{"title": "Lamp", "message": "What is a lamp?"}]
        about = {"channel_id": ada.dm.id, "thread_ts": thread.ts}
        await client.assistant_threads_setSuggestedPrompts(**about, prompts=prompts)  # type: ignore[arg-type]
        assert thread.prompts == prompts
        said = await thread.say("What is a lamp?")
        about = {"channel_id": ada.dm.id, "thread_ts": said.root}
        await client.assistant_threads_setStatus(**about, status="thinks", loading_messages=["reading"])
        await client.assistant_threads_setTitle(**about, title="Lamps")
        assert (thread.status, thread.title) == ("thinks", "Lamps")
        await client.chat_postMessage(channel=ada.dm.id, thread_ts=said.root, text="A light.")
        assert thread.status == ""


async def test_views_hold_their_triggers_and_limits(fake: FakeSlack, client: AsyncWebClient) -> None:
    ada = fake.person("Ada")
    trigger = fake.web.new_trigger(ada.user)
    opened = await client.views_open(trigger_id=trigger, view=FORM)
    assert await refused(client.views_open(trigger_id=trigger, view=FORM)) == "exchanged_trigger_id"
    late = fake.web.new_trigger(ada.user, ada.modal)
    pushed = await client.views_push(trigger_id=fake.web.new_trigger(ada.user, ada.modal), view=FORM)
    assert pushed["view"]["root_view_id"] == opened["view"]["id"]
    await fake.advance(4)
    assert await refused(client.views_push(trigger_id=late, view=FORM)) == "expired_trigger_id"
    view_id, old = opened["view"]["id"], opened["view"]["hash"]
    await client.views_update(view_id=view_id, hash=old, view=FORM)
    assert await refused(client.views_update(view_id=view_id, hash=old, view=FORM)) == "hash_conflict"
    home = {"type": "home", "blocks": [section("Welcome")]}
    await client.views_publish(user_id=ada.id, view=home)
    await client.views_publish(user_id=ada.id, view=home)
    shown = fake.home(ada)
    assert shown is not None
    assert shown.published == 2
    told = await ada.opens_home()
    assert told is not None
    assert told.payload["event"]["view"]["blocks"][0]["text"]["text"] == "Welcome"
    fake.violations.clear()


async def test_files_go_through_the_upload_url(fake: FakeSlack, client: AsyncWebClient) -> None:
    ada = fake.person("Ada")
    await client.files_upload_v2(
        filename="card.png", content=b"png", channel=ada.dm.id, initial_comment="Look", alt_txt="A card"
    )
    (message,) = ada.dm.messages
    assert (message.text, message.files[0].data, message.files[0].alt) == ("Look", b"png", "A card")
    await client.reactions_add(channel=ada.dm.id, name="eyes", timestamp=message.ts)
    assert message.reactions == [("eyes", fake.bot.id)]
    assert (
        await refused(client.reactions_add(channel=ada.dm.id, name="eyes", timestamp=message.ts)) == "already_reacted"
    )


async def test_a_response_url_lasts_half_an_hour_and_five_uses(fake: FakeSlack) -> None:
    from slack_sdk.webhook.async_client import AsyncWebhookClient

    ada = fake.person("Ada")
    hook = AsyncWebhookClient((await ada.command("/fireside", "x")).response_url)
    assert (await hook.send(text="only you")).body == "ok"
    await hook.send(text="changed", replace_original=True)
    (shown,) = fake.ephemerals(ada)
    assert (shown.text, shown.edits[0].text) == ("changed", "only you")
    await hook.send(text="", delete_original=True)
    assert not fake.ephemerals(ada)
    await hook.send(text="4", response_type="in_channel")
    await hook.send(text="5")
    answer = await hook.send(text="6")
    assert (answer.status_code, answer.body) == (404, "used_url")
    other = AsyncWebhookClient((await ada.command("/fireside", "x")).response_url)
    await fake.advance(1801)
    assert (await other.send(text="late")).body == "expired_url"


async def test_a_manifest_is_checked(fake: FakeSlack) -> None:
    client = AsyncWebClient(fake.config_token, base_url=fake.api_url)
    manifest: Json = {
        "display_information": {"name": "Fireside"},
        "oauth_config": {"scopes": {"bot": ["im:history"]}},
        "settings": {"event_subscriptions": {"bot_events": ["message.im"]}, "socket_mode_enabled": True},
    }
    assert (await client.apps_manifest_validate(manifest=manifest))["ok"]
    manifest["settings"]["event_subscriptions"]["bot_events"].append("app_mention")
    with pytest.raises(SlackApiError) as error:
        await client.apps_manifest_validate(manifest=manifest)
    assert error.value.response["errors"][0]["pointer"].endswith("bot_events/1")


# Limits and mentions


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ([section("x")] * 51, "no more than 50 items"),
        ([section("")], "must be more than 0 characters"),
        ([{"type": "section"}], "text or fields"),
        ([{"type": "section", "fields": [{"type": "plain_text", "text": "x" * 2001}]}], "less than 2001"),
        ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "plain_text"),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], "less than 151"),
        ([{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}], "between 1 and 10"),
        ([{"type": "actions", "elements": [button("x", str(n)) for n in range(26)]}], "between 1 and 25"),
        ([{"type": "actions", "elements": [button("x" * 76, "a")]}], "less than 76"),
        ([{"type": "actions", "elements": [button("x", "a", value="x" * 2001)]}], "less than 2001"),
        ([{"type": "actions", "elements": [button("x", "a"), button("x", "a")]}], "action_id already exists"),
        ([{"type": "actions", "elements": [button("x", "a" * 256)]}], "less than 256"),
        ([{**section("x"), "block_id": "a"}] * 2, "block_id already exists"),
        ([{"type": "markdown", "text": "x" * 7000}] * 2, "together"),
        ([{"type": "image", "image_url": "https://example.org/a.png"}], "alt_text"),
        ([{"type": "image", "image_url": "a.png", "alt_text": "a"}], "valid URL"),
        ([{"type": "actions", "elements": [{"type": "icon_button", "icon": "trash"}]}], "unsupported type in actions"),
        ([{"type": "marquee"}], "unsupported type"),
        ([{**section("x"), "colour": "red"}], "colour"),
    ],
)
def test_block_kit_limits_are_held(blocks: list[Json], problem: str) -> None:
    assert any(problem in told for told in check_blocks(blocks)), check_blocks(blocks)


def test_good_blocks_and_views_pass() -> None:
    half = {"text": {"type": "plain_text", "text": "Good"}, "value": "1"}
    feedback = {"type": "feedback_buttons", "action_id": "rate", "positive_button": half, "negative_button": half}
    bin_ = {"type": "icon_button", "icon": "trash", "text": {"type": "plain_text", "text": "Delete"}, "action_id": "x"}
    menu = {
        "type": "static_select",
        "action_id": "m",
        "placeholder": {"type": "plain_text", "text": "Which?"},
        "options": [{"text": {"type": "plain_text", "text": "One"}, "value": "1"}],
    }
    blocks: list[Json] = [
        {"type": "markdown", "text": "**x**"},
        {"type": "context_actions", "elements": [feedback, bin_]},
        {"type": "divider"},
        {"type": "rich_text", "elements": []},
        {**section("x"), "accessory": menu},
    ]
    assert check_blocks(blocks) == []
    assert check_view(FORM) == []
    assert check_view({**FORM, "title": {"type": "plain_text", "text": "x" * 25}, "private_metadata": "x" * 3001})
    assert check_view({"type": "home", "blocks": blocks[:1]}, home=True)  # no markdown blocks there


@pytest.mark.parametrize(
    ("text", "blocks", "active"),
    [
        ("<!channel> &lt;!here&gt; @here", [], [("channel", "text")]),
        ("<@U1> <#C1|general> <https://a.org|a>", [], [("user", "text"), ("room", "text"), ("link", "text")]),
        ("see https://a.org.", [], [("url", "text")]),
        ("`https://a.org` `<!here>`", [], [("here", "text")]),
        ("", [section("<!everyone>")], [("everyone", "mrkdwn")]),
        ("", [{"type": "section", "text": {"type": "mrkdwn", "text": "http://a.org", "verbatim": True}}], []),
        ("", [{"type": "header", "text": {"type": "plain_text", "text": "<!here> https://a.org"}}], []),
        ("", [{"type": "markdown", "text": "[a](https://a.org) <@U1> https://b.org"}], ["link", "user", "url"]),
        ("", [{"type": "markdown", "text": r"`<!here>` \<!here> &lt;!here&gt; \[a](b)"}], []),
        ("", [{"type": "markdown", "text": "```\n<!here> https://a.org\n```"}], []),
        ("", [{"type": "context", "elements": [{"type": "mrkdwn", "text": "<@U1>"}]}], [("user", "mrkdwn")]),
    ],
)
async def test_mentions_in_tells_what_a_reader_sees_active(text: str, blocks: list[Json], active: list[Any]) -> None:
    fake = FakeSlack()
    message = Message("1.1", fake.general, fake.bot, text, blocks)
    expected = [a if isinstance(a, tuple) else (a, "markdown") for a in active]
    assert [(a.kind, a.place) for a in mentions_in(message)] == expected
