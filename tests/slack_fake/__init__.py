"""A Slack that runs in the test: the Web API, Socket Mode and HTTP events at the wire, in one aiohttp server on 127.0.0.1.

The unmodified slack_bolt and slack_sdk (or a whole bot process) connect, get envelopes, answer. Nothing is patched.

    @pytest.mark.allow_hosts(["127.0.0.1"])
    async def test_answers_a_mention():
        async with FakeSlack() as fake:            # leaving it fails the test if anything stands in `fake.violations`
            ada = fake.person("Ada")
            ...start a bot with fake.bot_token, fake.app_token and AsyncWebClient(base_url=fake.api_url)...
            await fake.connected()                                                  # a socket is open
            asked = await ada.say(fake.general, f"{fake.bot.mention} What is a lamp?")
            reply = await fake.reply_to(asked)     # the bot's next message in that thread; done=lambda m: m.buttons
            assert reply.text == "..." and not mentions_in(reply)
            clicked = await ada.click(reply, "sources")
            await clicked.acknowledged()           # within 3 s, or AssertionError
            assert fake.ephemerals(ada)[-1].text == "..."

HTTP mode: `fake.request_url = "http://127.0.0.1:PORT/slack/events"` before people act (signed with fake.signing_secret).

The world: `fake.general` (public, the bot is in), `fake.bot` (a User), `fake.team_id`, `fake.app_id`. More by person(name,
bot=, admin=, team=), channel(name, private=, members=, bot=), dm(person), group_dm(*people); and `await` invite(channel),
kick(channel), archive(channel), uninstall(). `fake.world` has users, channels, views, files by id.

People:     say(channel, text, thread=, broadcast=, files=) -> Message; edit(message, text); delete(message);
            dm (their conversation with the bot); modal (the view on top of their stack)
            command("/fireside", text, channel=), click(message or view, action_id, choose=, block_id=),
            submit(view, {action_id: value}), close(view), suggest(message or view, action_id, text),
            shortcut(message or None, callback_id), opens_home(), opens_agent(looking_at=) -> AgentThread,
            looks_at(channel, thread), stop(message or thread): each -> Delivery (opens_agent apart). What Slack's client
            does not offer (no such command, button, required field) raises NotOffered.
Delivery:   await d.acknowledged(timeout=) -> d; d.seconds (arrival to ack), d.response (the ack's payload), d.attempts,
            d.failed (what the user is told when nobody answers), d.options, d.errors, d.payload. All: fake.deliveries.
The bot:    channel.messages (without deleted ones; channel.deleted), channel.thread(ts), message.edits (earlier states: at,
            text, blocks), .reactions, .files, .buttons, .tasks, .stream ("streaming", "stopped", "expired", "interrupted"
            or None), .pieces (what each call appended); message.json(); ephemerals(person, channel=None), home(person),
            world.views, status(channel, ts), statuses, titles, prompts, sessions (by (channel id, thread ts or None));
            calls (method, arguments, at, error), called("chat.update"), events("app_mention") (deliveries);
            mentions_in(message) -> what a reader sees active.
            await fake.until(lambda: ...) waits for any of it without sleeping; the bot's own state: call fake.changed().
Violations: what the published API would reject is answered as Slack does, and noted in `fake.violations`: unknown methods
            and arguments, broken limits, acks of unknown envelopes. `assert_clean()`; clear the list when one was meant.
Settings:   FakeSlack(clock=, scopes=, subscriptions=, commands=, shortcuts=, agent="view" | "assistant" | None)
Faults:     fail("chat.update", times=2, status=429, retry_after=1), fail(..., error="channel_not_found"),
            fail(..., status=502, after=True) (done, but the answer is lost), fail("response_url", ...);
            gate = hold("chat.postMessage") then gate.open(); revoke(); expire_streams();
            await disconnect("warning" | "refresh_requested" | "link_disabled"), drop() (no close frame), ping(),
            fake.answers_pings = False; await advance(seconds) turns the clock (trigger_id 3 s, response_url 30 min, retries
            after 3 s, 1 min, 5 min); retry(delivery) sends one again at once.
HTTP:       await fake.post(url, payload, kind="events_api", retry=(1, "http_timeout"), secret=, timestamp=) -> Answer;
            replay(answer) sends the same bytes again; verify_url(url) -> whether the challenge came back.
"""

from tests.slack_fake.deliveries import Answer, Delivery
from tests.slack_fake.fake import FakeSlack
from tests.slack_fake.limits import check_blocks, check_view
from tests.slack_fake.mentions import Active, mentions_in
from tests.slack_fake.people import AgentThread, NotOffered, Person
from tests.slack_fake.web import Call
from tests.slack_fake.world import Channel, File, Message, User, View, World

__all__ = [
    "Active",
    "AgentThread",
    "Answer",
    "Call",
    "Channel",
    "Delivery",
    "FakeSlack",
    "File",
    "Message",
    "NotOffered",
    "Person",
    "User",
    "View",
    "World",
    "check_blocks",
    "check_view",
    "mentions_in",
]
