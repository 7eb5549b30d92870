"""How a reply gets to Slack: progress while it is made, its final form, and what happens where Slack refuses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.host import Update, Waiting, Writing
from bot.slack import rendering
from bot.slack.reading import mark, metadata_of
from bot.slack.rendering import Rendered

log = logging.getLogger("fireside.slack")
T = TypeVar("T")
Client = Any  # slack_sdk's AsyncWebClient, whose types are partly unknown
TRIES = 4
LONGEST_WAIT = 30.0  # seconds that a refused request is waited for
STREAM_PIECE = 5_000  # characters, which making them neutral may double, of the 12,000 that one call may append
LOOKING = "looking through the talks…"
STOPPED = "Stopped."
UNREACHED = (aiohttp.ClientError, OSError, TimeoutError)
FAILURES = (SlackClientError, *UNREACHED)
_PASSING = ("ratelimited", "internal_error", "service_unavailable", "fatal_error")
# What Slack answers where a stream is no more.
_NO_STREAM = ("message_not_in_streaming_state", "streaming_state_conflict", "message_not_owned_by_app")


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


async def persist(call: Callable[[], Awaitable[T]], done: Callable[[], Awaitable[T | None]] | None = None) -> T:
    """What a call to Slack gives, tried again while Slack has too much to do or the connection breaks. `done` looks whether
    a call whose answer was lost did its work."""
    wait = 1.0
    for _ in range(TRIES - 1):
        try:
            return await call()
        except SlackApiError as exc:
            if not _may_pass(exc):
                raise
            wait = _retry_after(exc, wait)
        except UNREACHED:
            pass
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        wait *= 2
        with contextlib.suppress(*FAILURES):
            if done is not None and (there := await done()) is not None:
                return there
    return await call()


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

    async def begin(self) -> None:
        """Shows at once that it looks."""
        await self._set_status(LOOKING)

    async def show(self, update: Update) -> None:
        """See Outlet."""
        with contextlib.suppress(*FAILURES):
            if isinstance(update, Writing):
                await self._write(update.text)
            elif isinstance(update, Waiting):
                text = f"number {update.place} in the queue…"
                if not await self._set_status(text):
                    await self._put(rendering.progress(f"You are number {update.place} in the queue."))

    async def finish(self, rendered: Rendered) -> str | None:
        """See Outlet."""
        try:
            await self._end_stream()
            return await self._put(rendered)
        except FAILURES as exc:
            log.warning(told(exc, self._channel))
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

    async def _put(self, rendered: Rendered) -> str | None:
        given: dict[str, Any] = {"channel": self._channel, "text": rendered.text, "blocks": rendered.blocks}
        given["metadata"] = mark(self._asked, self._user)
        if self._shown is not None:
            shown = self._shown
            try:
                await persist(lambda: self._client.chat_update(ts=shown, **given))
                return shown
            except SlackApiError as exc:
                # Somebody deleted it meanwhile, or it can't be edited any more.
                if error_of(exc) not in ("message_not_found", "cant_update_message", "edit_window_closed", *_NO_STREAM):
                    raise
        # Without `client_msg_id` in the published API, a post whose answer was lost is looked for before the next try.
        self._shown = await persist(lambda: self._post(given), self.posted)
        return self._shown

    async def _post(self, given: dict[str, Any]) -> str:
        done = await self._client.chat_postMessage(
            **given, thread_ts=self._thread, unfurl_links=False, unfurl_media=False
        )
        return str(done["ts"])

    async def posted(self) -> str | None:
        """The ts of a reply to this question that stands there already."""
        if self._thread is None:
            page = await self._client.conversations_history(
                channel=self._channel, oldest=self._asked, limit=50, include_all_metadata=True
            )
        else:
            page = await self._client.conversations_replies(
                channel=self._channel, ts=self._thread, oldest=self._asked, limit=50, include_all_metadata=True
            )
        messages = cast("list[dict[str, Any]]", page.get("messages") or [])
        ours = (m for m in messages if m.get("user") == self._me and metadata_of(m).get("asked") == self._asked)
        return next((str(m["ts"]) for m in ours), None)


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
        self._left = 5

    async def show(self, update: Update) -> None:
        """See Outlet. Spares the uses of the URL for the end."""
        if isinstance(update, Waiting) and self._left == 5:
            await self._send(rendering.progress(f"You are number {update.place} in the queue."), private=True)

    async def say(self, text: str) -> None:
        """Any text, to the person alone."""
        await self.finish(rendering.plain(text), private=True)

    async def finish(self, rendered: Rendered, *, private: bool | None = None) -> str | None:
        """See Outlet."""
        private = self.private if private is None else private
        if not await self._send(rendered, private=private):
            return await self._instead(rendered, private=private)
        return None

    async def _send(self, rendered: Rendered, *, private: bool) -> bool:
        if not self._url or not self._left:
            return False
        self._left -= 1
        webhook: Any = AsyncWebhookClient(self._url)
        given: dict[str, Any] = {"text": rendered.text, "blocks": rendered.blocks}
        if self._thread:
            given["thread_ts"] = self._thread
        for wait in (1.0, 2.0, None):
            try:
                answer = await webhook.send(
                    **given,
                    response_type="ephemeral" if private else "in_channel",
                    replace_original=self._replace,
                    unfurl_links=False,
                    unfurl_media=False,
                )
            except UNREACHED:
                answer = None
            if answer is not None and answer.status_code == 200:
                self._replace = False
                return True
            if answer is not None and answer.status_code != 429 and answer.status_code < 500:
                break
            if wait is not None:
                await asyncio.sleep(wait)
        self._left = 0  # used up or expired
        return False

    async def _instead(self, rendered: Rendered, *, private: bool) -> str | None:
        given: dict[str, Any] = {"text": rendered.text, "blocks": rendered.blocks}
        try:
            if not private:
                done = await persist(
                    lambda: self._client.chat_postMessage(channel=self._channel, thread_ts=self._thread, **given)
                )
                return str(done["ts"])
            try:
                await persist(
                    lambda: self._client.chat_postEphemeral(
                        channel=self._channel, user=self._user, thread_ts=self._thread, **given
                    )
                )
            except SlackApiError:
                await persist(lambda: self._client.chat_postMessage(channel=self._user, **given))
        except FAILURES as exc:
            log.warning(told(exc, self._channel))
        return None


def _may_pass(exc: SlackApiError) -> bool:
    status = int(cast("Any", exc).response.status_code)
    return status == 429 or status >= 500 or error_of(exc) in _PASSING


def _retry_after(exc: SlackApiError, otherwise: float) -> float:
    try:
        return float(cast("Any", exc).response.headers["Retry-After"])
    except (KeyError, ValueError, TypeError):
        return otherwise
