"""A Discord that runs in the test: the gateway (v10) and the REST API at the wire, in one aiohttp server on 127.0.0.1.

The unmodified discord.py (or a whole bot process) logs in, gets READY, heartbeats, resumes, answers. Nothing is patched.

    @pytest.mark.allow_hosts(["127.0.0.1"])
    async def test_answers_a_mention():
        async with FakeDiscord() as fake:          # leaving it fails the test if anything stands in `fake.violations`
            ...start a client with fake.token, Route.BASE = fake.api_url, DEFAULT_GATEWAY = yarl.URL(fake.gateway_url)...
            await fake.ready()                                                  # a client is logged in and has its guilds
            asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
            reply = await fake.reply_to(asked)      # the bot's next message; done=lambda m: m.components waits for a state
            assert reply.content == "..." and not reply.pings

The world: `fake.guild` with the channel `fake.general`, its owner `fake.olga`, the members `fake.alice` and `fake.bob`, and
`fake.bot`. More by `user()`, `new_guild()`, `role()`, `join()`, `channel()`, `dm(user)` before a client connects, and
while it is connected by `await` add_channel, add_role, remove_channel, start_thread, permit, invite_bot, kick_bot.

People:     say (reply_to=, mention_bot=), edit, delete, say_by_webhook, start_thread, archive, close_dms
Commands:   it = await fake.command(user, channel, "ask", {"question": "…"}); "settings show" names a subcommand. What the
            bot has not synced, what its definition does not take or what this user is not offered raises NotOffered
            (`anyway=True`: is sent though this user is not offered it). `age=4`: an interaction that is 4 s old already.
            autocomplete(user, channel, name, options, focused=), context_menu(user, message, name),
            component(user, message, custom_id, values=), modal(interaction, {custom_id: text})
Handles:    await it.acknowledged() → "message" | "deferred" | "deferred_update" | "update" | "choices" | "modal";
            it.acknowledged_after (seconds), it.ephemeral, it.choices, it.modal; await it.reply() → the finished original
            Message; await it.followup(n) → the n-th message after it; it.messages. Ephemeral ones are only in
            it.messages and messages(channel, viewer=user).
The bot:    messages(channel, author=, viewer=), reply.edits (time, content of each state), reply.pings (who was notified),
            reply.labels and button(label) → custom_id, typing, requests (method, path, body, files, status, at),
            commands (synced), pings, rate_limited, identifies, resumes, heartbeats;
            await fake.until(lambda: ...) waits for any of it without sleeping.
Violations: what the published API would reject is answered as Discord does, and noted in `fake.violations`; so is a message
            without `allowed_mentions` (followups do not take it from the client: pass it each time!).
Faults:     fail("POST", "/channels/*/messages", 500, times=1), fail(..., 429, retry_after=0.1, globally=True),
            gate = hold("POST", "/channels/*/messages") then gate.open(); drop(code=None), reconnect(), invalidate(),
            refuse_resume(), ack_heartbeats = False, ask_heartbeat(), advance(seconds) (turns the clock that interactions
            expire by: 3 s to acknowledge, 15 min for the rest), FakeDiscord(privileged=()) (4014),
            FakeDiscord(rate_limits={"POST /channels/*/messages": (5, 5.0)}), a wrong token (401).
            fail(..., 502, after=True): it is done, but the answer is lost. discord.py sends it again: its own nonce keeps a
            channel's message single; a follow-up has none.

discord.py itself waits: `on_ready` comes `guild_ready_timeout` (2 s; an argument of Client) after the last guild, a new
IDENTIFY after a refused RESUME takes 5 s (`before_identify_hook`), a retry after a 5xx 1 s, after a 429 `retry_after`.
"""

from tests.discord_fake.fake import FakeDiscord
from tests.discord_fake.interactions import Interaction, NotOffered
from tests.discord_fake.world import Channel, Guild, Message, Permission, Role, User

__all__ = ["Channel", "FakeDiscord", "Guild", "Interaction", "Message", "NotOffered", "Permission", "Role", "User"]
