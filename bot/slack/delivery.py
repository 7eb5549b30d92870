"""How a reply gets to Slack: progress while it is made, its final form, and what happens where Slack refuses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.host import Update, Waiting, Writing
from bot.slack import rendering
from bot.slack.reading import Event, blocks_of
from bot.slack.rendering import Rendered, mark_of, marked

log = logging.getLogger("fireside.slack")
T = TypeVar("T")
Client = Any  # slack_sdk's AsyncWebClient, whose types are partly unknown
TRIES = 4
URL_TRIES = 3  # that a response URL has: there is another way
PATIENT = 8  # tries that a reply has: a minute and a half where Slack names no time
LONGEST_WAIT = 30.0  # seconds that a refused request is waited for
STREAM_PIECE = 5_000  # characters, which making them neutral may double, of the 12,000 that one call may append
USES = 5  # of a response URL
LOOKING = "is looking through the talks…"  # Slack puts the app's name before it
UNREACHED = (aiohttp.ClientError, OSError, TimeoutError)
FAILURES = (SlackClientError, *UNREACHED)
_PASSING = ("ratelimited", "internal_error", "service_unavailable", "fatal_error")
# What Slack answers where a stream is no more.
_NO_STREAM = ("message_not_in_streaming_state", "message_not_owned_by_app")
_SKEW = 60.0  # seconds that Slack's clock may differ from ours


class _Refusal(NamedTuple):
    """What a response URL answered, as the library has it of other calls."""

    status_code: int
    headers: Mapping[str, str]
    data: dict[str, Any]


class Outlet(Protocol):
    """Where the reply to one event goes."""

    @property
    def private(self) -> bool:
        """Whether one person alone sees it."""
        ...

    async def show(self, update: Update) -> None:
        """Progress, in place of what was shown before; lost where Slack refuses it."""
        ...

    async def finish(self, rendered: Rendered) -> str | None:
        """The final form; the ts of its message, None where it has none that can be known, or could be put nowhere."""
        ...


async def persist(
    call: Callable[[], Awaitable[T]],
    done: Callable[[], Awaitable[T | None]] | None = None,
    *,
    reach: bool = True,
    tries: int = TRIES,
    lost: bool = False,
) -> T:
    """What a call to Slack gives, tried again while Slack has too much to do or (unless not `reach`) the connection breaks.
    `done` looks whether a call whose answer was lost (`lost`: one before this) did its work; as long as it can't look,
    nothing is done again, but for the last time: what comes twice is better than what never comes."""
    wait = 1.0
    for left in reversed(range(tries)):
        try:
            if lost and done is not None and (there := await _looked(done, last=not left)) is not None:
                return there
            lost = False
            return await call()
        except SlackApiError as exc:
            if not left or not _may_pass(exc):
                raise
            # A 429 did nothing; a look that fails leaves open what was open.
            lost = lost or cast("Any", exc).response.status_code != 429
            wait = _retry_after(cast("Any", exc).response.headers, wait)
        except UNREACHED:
            if not left or not reach:
                raise
            lost = True
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        wait *= 2
    raise AssertionError("no tries")


async def _looked(done: Callable[[], Awaitable[T | None]], *, last: bool) -> T | None:
    """What `done` finds; None where it may not look, or there is no time left to."""
    try:
        return await done()
    except (SlackApiError, *UNREACHED) as exc:
        if last or not _may_pass(exc):
            return None
        raise


def answer_of(exc: Exception) -> dict[str, Any]:
    """What Slack answered to a refused call."""
    data = cast("Any", exc).response.data if isinstance(exc, SlackApiError) else None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def error_of(exc: Exception) -> str:
    """Slack's word for what went wrong; else the status, or the kind of the exception."""
    if isinstance(exc, SlackApiError):
        return str(answer_of(exc).get("error") or cast("Any", exc).response.status_code)
    return type(exc).__name__


def told(exc: Exception, channel: str) -> str:
    """What to do where Slack refuses a message, in a sentence for the log."""
    error = error_of(exc)
    match error:
        case "is_archived":
            return f"The channel {channel} is archived: unarchive it, or ask elsewhere."
        case "not_in_channel" | "channel_not_found":
            return f"The bot is not in the channel {channel}: invite it there (/invite)."
        case "missing_scope":
            needed = answer_of(exc).get("needed", "?")
            return f"The app lacks the scope {needed}: `fireside doctor slack` says what to click."
        case "restricted_action" | "restricted_action_read_only_channel" | "restricted_action_thread_only_channel":
            return f"The workspace's admins don't let the bot write in {channel}: allow it, or ask elsewhere."
        case "invalid_auth" | "account_inactive" | "token_revoked" | "token_expired" | "not_authed":
            return "Slack refuses the token in SLACK_BOT_TOKEN: copy it anew (OAuth & Permissions) and start the bot again."
        case _:
            return f"Slack refuses to write in {channel} ({error})."


def refused(exc: Exception) -> str:
    """What to tell the person whose command or click Slack refused to serve."""
    match error_of(exc):
        case "expired_trigger_id" | "trigger_expired" | "exchanged_trigger_id" | "invalid_trigger_id":
            return "Slack lets a form open for three seconds only, and that took longer. Please try it again."
        case "not_in_channel" | "channel_not_found":
            return "I am not in this channel. Add me with /invite, then try it again."
        case "is_archived":
            return "This channel is archived, so I can't write in it. Ask me elsewhere."
        case _:
            return "Slack didn't let me do that. Whoever runs me finds the reason in the log."


async def standing(
    client: Client, channel: str, thread: str | None, since: str, ours: Callable[[Event], bool]
) -> str | None:
    """The ts of the first message after another (a ts) that is `ours`, in a thread or else in the channel itself."""
    page = {"channel": channel, "oldest": since, "limit": 200}
    if thread is None:
        found = await client.conversations_history(**page)
    else:
        found = await client.conversations_replies(ts=thread, **page)
    messages = cast("list[Event]", found.get("messages") or [])
    return min((str(m["ts"]) for m in messages if str(m["ts"]) > since and ours(m)), default=None)


class InThread:
    """A reply to a message, in its thread. A stream where a chat model writes and Slack allows one, edits where not."""

    def __init__(
        self,
        client: Client,
        *,
        channel: str,
        thread: str | None,
        asked: str,
        user: str,
        team: str,
        me: str,
        shown: str | None = None,
    ) -> None:
        """`thread` is the ts that the reply stands below, None for none; `asked` the ts of the question; `me` the bot's user
        id; `shown` the ts of a message of ours to put it in the place of."""
        self.private = False
        self._client = client
        self._channel, self._thread, self._asked = channel, thread, asked
        self._user, self._team, self._me = user, team, me
        self._shown = shown
        self._streaming = False
        self._may_stream = thread is not None
        self._streamed = ""
        self._status = False
        self.written = ""  # all that was shown of a text in the making
        self.owed = False  # the reply could not be posted, for a reason that passes

    async def begin(self) -> None:
        """Shows at once that it looks."""
        await self._set_status(LOOKING)

    async def show(self, update: Update) -> None:
        """See Outlet."""
        with contextlib.suppress(*FAILURES):
            if isinstance(update, Writing):
                self.written = update.text
                await self._write(update.text)
            elif isinstance(update, Waiting):
                text = f"is busy: you are number {update.place} in the queue…"
                if not await self._set_status(text):
                    await self._put(rendering.progress(f"You are number {update.place} in the queue."))

    async def finish(self, rendered: Rendered) -> str | None:
        """See Outlet."""
        try:
            await self._end_stream()
            posted = await self._put(rendered, PATIENT)
            self.owed = False
            return posted
        except FAILURES as exc:
            log.warning(told(exc, self._channel))
            self.owed = _may_pass(exc)
            return None
        finally:
            if self._status:
                await self._set_status("")

    async def withdraw(self) -> None:
        """Takes back what was shown."""
        with contextlib.suppress(*FAILURES):
            await self._end_stream()
            if self._shown is not None:
                await self._client.chat_delete(channel=self._channel, ts=self._shown)
        if self._status:
            await self._set_status("")

    async def _set_status(self, status: str) -> bool:
        if self._thread is None:
            return False
        with contextlib.suppress(*FAILURES):
            await self._client.assistant_threads_setStatus(
                channel_id=self._channel, thread_ts=self._thread, status=status
            )
            self._status = bool(status)
            return True
        return False

    async def _write(self, text: str) -> None:
        if not self._may_stream:
            await self._put(rendering.writing(text))
            return
        if not text.startswith(self._streamed):  # what was proved can't be taken back from a stream
            return
        # Up to a space: an address that comes in two halves could not be told for one.
        new = text[len(self._streamed) :][:STREAM_PIECE].rpartition(" ")[0]
        if not new.strip():
            return
        chunk = [{"type": "markdown_text", "text": rendering.neutral_markdown(new)}]
        try:
            if self._streaming:
                assert self._shown is not None
                await self._client.chat_appendStream(channel=self._channel, ts=self._shown, chunks=chunk)
            else:
                await self._start(chunk)
            self._streamed += new
        except SlackApiError as exc:
            if _may_pass(exc):
                return
            # No stream here, or no more: the text goes on by edits of a normal message.
            self._may_stream = self._streaming = False
            await self._put(rendering.writing(text))

    async def _start(self, chunk: Sequence[dict[str, Any]]) -> None:
        if self._shown is not None:  # a place in the queue, where a status could not be set
            await self._client.chat_delete(channel=self._channel, ts=self._shown)
            self._shown = None
        assert self._thread is not None
        begun = await self._client.chat_startStream(
            channel=self._channel,
            thread_ts=self._thread,
            recipient_team_id=self._team,
            recipient_user_id=self._user,
            chunks=chunk,
        )
        self._shown = str(begun["ts"])
        self._streaming, self._status = True, False

    async def _end_stream(self) -> None:
        if self._streaming:
            assert self._shown is not None
            self._streaming = False
            with contextlib.suppress(*FAILURES):  # it may have expired, or been stopped by the person
                await self._client.chat_stopStream(channel=self._channel, ts=self._shown)

    async def _put(self, rendered: Rendered, tries: int = TRIES) -> str | None:
        given: dict[str, Any] = {"channel": self._channel, "text": rendered.text}
        given["blocks"] = marked(rendered, self._asked, self._user)
        if self._shown is not None and await self._replaced(self._shown, given, tries):
            return self._shown
        # Without `client_msg_id` in the published API, a post whose answer was lost is looked for before the next try.
        self._shown = await persist(lambda: self._post(given), lambda: self._posted(rendered.text), tries=tries)
        return self._shown

    async def _replaced(self, shown: str, given: Mapping[str, Any], tries: int) -> bool:
        """Whether what stands there gave way to something else."""
        for _ in range(2):
            try:
                await persist(lambda: self._client.chat_update(ts=shown, **given), tries=tries)
                return True
            except SlackApiError as exc:
                error = error_of(exc)
                if error == "streaming_state_conflict":  # a process before this one was killed while it wrote
                    with contextlib.suppress(*FAILURES):
                        await self._client.chat_stopStream(channel=self._channel, ts=shown)
                elif error in ("message_not_found", "cant_update_message", "edit_window_closed", *_NO_STREAM):
                    return False  # somebody deleted it meanwhile, or it can't be edited any more
                else:
                    raise
        return False

    async def _post(self, given: dict[str, Any]) -> str:
        done = await self._client.chat_postMessage(
            **given, thread_ts=self._thread, unfurl_links=False, unfurl_media=False
        )
        return str(done["ts"])

    async def _posted(self, text: str) -> str | None:
        """The ts of a reply to this question that stands there already: one that notes it, or says the same."""

        def is_it(message: Event) -> bool:
            same = mark_of(blocks_of(message))[0] == self._asked or message.get("text") == text
            return same and message.get("user") == self._me

        return await standing(self._client, self._channel, self._thread, self._asked, is_it)


class ToPerson:
    """A reply to a command, click or shortcut by its response URL, which serves 30 minutes and five times. Past that it
    comes as a normal message: in the channel, or to the person alone where it was meant for them alone."""

    def __init__(
        self,
        client: Client,
        response_url: str,
        *,
        channel: str,
        user: str,
        private: bool = True,
        thread: str | None = None,
        replace: bool = False,
    ) -> None:
        """`replace`: the message that was clicked gives way to the first thing that is shown."""
        self.private = private
        self._client, self._url = client, response_url
        self._channel, self._user, self._thread = channel, user, thread
        self._replace = replace
        self._left = USES
        self._begun = f"{time.time() - _SKEW:.6f}"
        self._key = f"{user}-{time.time_ns()}"  # what its message is known by
        self.owed = False  # see InThread
        self._lost = False  # whether the URL may have done its work without saying so

    async def show(self, update: Update) -> None:
        """See Outlet. Spares the uses of the URL for the end."""
        if self._left == USES and not self._replace:
            text = (
                f"You are number {update.place} in the queue."
                if isinstance(update, Waiting)
                else "I am looking through the talks…"
            )
            await self._send(rendering.progress(text), private=True)

    async def say(self, text: str) -> None:
        """Any text, to the person alone."""
        await self.finish(rendering.plain(text), private=True)

    async def finish(self, rendered: Rendered, *, private: bool | None = None) -> str | None:
        """See Outlet."""
        private = self.private if private is None else private
        self.owed = False
        if not await self._send(rendered, private=private):
            return await self._instead(rendered, private=private)
        return None

    async def _send(self, rendered: Rendered, *, private: bool) -> bool:
        if not self._url or not self._left:
            return False
        self._left -= 1
        webhook: Any = AsyncWebhookClient(self._url)
        given = self._message(rendered) | {
            "response_type": "ephemeral" if private else "in_channel",
            "replace_original": self._replace,
        }

        async def send() -> bool:
            answer = await webhook.send_dict(given)
            if answer.status_code != 200:
                raise SlackApiError("response_url", _Refusal(answer.status_code, answer.headers, {}))
            return True

        async def done() -> bool | None:
            return True if await self._posted() is not None else None

        try:
            await persist(send, None if private else done, tries=URL_TRIES)
        except FAILURES as exc:
            self._left = 0  # used up or expired
            self._lost = _may_pass(exc)
            return False
        self._replace = False
        return True

    async def _instead(self, rendered: Rendered, *, private: bool) -> str | None:
        given = self._message(rendered)
        thread = given.pop("thread_ts", None)
        try:
            if not private:
                return await persist(lambda: self._post(given, thread), self._posted, tries=PATIENT, lost=self._lost)
            if self._channel == self._user or not await self._whisper(given, thread):
                await persist(lambda: self._client.chat_postMessage(channel=self._user, **given), tries=PATIENT)
        except FAILURES as exc:
            log.warning(told(exc, self._channel))
            self.owed = _may_pass(exc)
        return None

    async def _post(self, given: Mapping[str, Any], thread: str | None) -> str:
        done = await self._client.chat_postMessage(channel=self._channel, thread_ts=thread, **given)
        return str(done["ts"])

    async def _whisper(self, given: Mapping[str, Any], thread: str | None) -> bool:
        """Whether the person could be told where they are."""
        shown = {key: given[key] for key in ("text", "blocks")}
        whisper = self._client.chat_postEphemeral
        try:
            await persist(lambda: whisper(channel=self._channel, user=self._user, thread_ts=thread, **shown))
        except SlackApiError:
            return False
        return True

    def _message(self, rendered: Rendered) -> dict[str, Any]:
        blocks = marked(rendered, self._key, self._user)
        given: dict[str, Any] = {"text": rendered.text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}
        return {**given, "thread_ts": self._thread} if self._thread else given

    async def _posted(self) -> str | None:
        """The ts of a message for all to see whose answer was lost; None where it is not there."""
        return await standing(
            self._client, self._channel, self._thread, self._begun, lambda m: mark_of(blocks_of(m))[0] == self._key
        )


def _may_pass(exc: Exception) -> bool:
    """Whether the same call may do later."""
    if not isinstance(exc, SlackApiError):
        return isinstance(exc, UNREACHED)
    status = int(cast("Any", exc).response.status_code)
    return status == 429 or status >= 500 or error_of(exc) in _PASSING


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    try:
        return float(headers["Retry-After"])
    except (KeyError, ValueError, TypeError):
        return otherwise
