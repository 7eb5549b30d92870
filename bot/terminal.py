"""`fireside chat`: a conversation in the terminal, or through a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from rich.console import Console
from rich.text import Text

from bot.batch import sound
from bot.explaining import Command, Line, listed, talks, topics, why
from bot.rendering import Source, numbered, shorten, sources, unlisted, whence
from persona.pipeline import Answered, Fireside
from persona.text import clean
from persona.types import Decision, Question, Turn

REMEMBERED = 10  # turns
QUOTES = 3
_STYLES = {Decision.ANSWER: "", Decision.CLARIFY: "yellow", Decision.ABSTAIN: "cyan", Decision.DECLINE: "magenta"}
_TONES = {"": "", "title": "bold", "quiet": "dim", "cut": "red"}


COMMANDS = (
    Command("/quote", "TOPIC", "what was really said about it, word for word"),
    Command("/why", "", "what stood behind the last reply: passages, features, confidence"),
    Command("/sources", "", "the talks and documents that it answers from"),
    Command("/again", "", "have the chat model write the last answer anew"),
    Command("/reset", "", "forget this conversation"),
    Command("/help", "", "this list"),
    Command("/quit", "", "leave (so does Ctrl-D)"),
)


class Screen(Console):
    """Prints plain text as it is: no markup, no colours where there is no terminal, no line breaks in a pipe."""

    def __init__(self, file: TextIO | None = None) -> None:
        """On `file`; stdout by default."""
        out = file or sys.stdout
        self._wraps = out.isatty()
        # force_terminal: rich would else let FORCE_COLOR put colours into a pipe.
        super().__init__(
            file=out, markup=False, emoji=False, highlight=False, force_terminal=None if self._wraps else False
        )

    def say(self, text: str = "", style: str = "") -> None:
        """One line; a terminal wraps it at words."""
        self.print(Text(text, style), soft_wrap=not self._wraps)
        self.file.flush()

    def write(self, text: str) -> None:
        """A part of a line, at once."""
        self.print(Text(text), soft_wrap=True, end="")
        self.file.flush()

    def on_broken_pipe(self) -> None:
        """Leaves it to the command line, which goes quietly; rich would exit with 1."""
        raise BrokenPipeError


class Chat:
    """One conversation: takes lines, prints replies."""

    def __init__(self, fireside: Fireside, screen: Screen) -> None:
        """Begins with an empty memory."""
        self._fireside = fireside
        self._screen = screen
        self._turns: deque[Turn] = deque(maxlen=REMEMBERED)
        self._last: Answered | None = None
        self._asked: Question | None = None
        self._seed = 0
        self._does: dict[str, Callable[[str], None]] = {
            "/quote": self._quote,
            "/why": self._why,
            "/sources": self._sources,
            "/again": self._again,
            "/reset": self._reset,
            "/help": self._help,
        }

    def greet(self, *, hint: bool = False) -> None:
        """Says what this is."""
        self._screen.say(self._fireside.card.disclosure, "dim")
        if hint:
            self._screen.say("/help lists the commands, Ctrl-D leaves.", "dim")
        self._screen.say()

    def take(self, line: str) -> bool:
        """Acts on a line; False when the conversation is over."""
        text = clean(sound(line))
        if not text:
            return True
        if not text.startswith("/"):
            self._ask(line, text)
            return True
        name, _, rest = text.partition(" ")
        name = name.lower()
        if name == "/quit":
            return False
        if name in self._does:
            self._does[name](rest.strip())
        else:
            close = difflib.get_close_matches(name, [c.name for c in COMMANDS], n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]}?" if close else "/help lists the commands."
            self._screen.say(f"There is no command '{shorten(name, 40)}'. {hint}", "yellow")
        return True

    def _ask(self, line: str, text: str) -> None:
        options = self._last.reply.options if self._last else ()
        question = sound(line).strip()
        if options and text.isdecimal():
            number = int(text[:6])
            if not 1 <= number <= len(options):
                self._screen.say(f"Type a number from 1 to {len(options)}, or ask in your own words.", "yellow")
                return
            question = options[number - 1]
        self._asked = Question(text=question, history=tuple(self._turns))
        self._seed = 0
        self._answer(self._asked)

    def _answer(self, question: Question) -> None:
        streams = self._fireside.writer is not None
        answered = self._fireside.run(self._streamed(question)) if streams else self._fireside.answer(question)
        if answered is None:
            self._screen.say("\nStopped. /again has it written anew.\n", "dim")
            return
        self._turns.append(Turn(role="user", content=question.text))
        self._turns.append(Turn(role="assistant", content=answered.reply.text))
        self._last = answered
        self._show(answered, written=streams)

    async def _streamed(self, question: Question) -> Answered | None:
        """Prints a reply as it is written; None where Ctrl-C stopped it."""
        task = asyncio.create_task(self._stream(question))
        loop = asyncio.get_running_loop()

        def stop(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(task.cancel)

        before = signal.signal(signal.SIGINT, stop)
        try:
            return await task
        except asyncio.CancelledError:
            return None
        finally:
            signal.signal(signal.SIGINT, before)

    async def _stream(self, question: Question) -> Answered | None:
        async with contextlib.aclosing(self._fireside.stream(question, seed=self._seed)) as parts:
            async for part in parts:
                if isinstance(part, Answered):
                    return part
                self._screen.write(part)
        return None

    def _again(self, _rest: str) -> None:
        if self._asked is None:
            self._screen.say("Nothing was asked yet. Ask something first.", "yellow")
            return
        if self._fireside.writer is None:
            self._screen.say("The `quotes` voice answers the same each time. A chat model would write anew.", "yellow")
            return
        self._seed += 1
        self._turns = deque(self._asked.history, maxlen=REMEMBERED)
        self._answer(self._asked)

    def _show(self, answered: Answered, *, written: bool = False) -> None:
        reply = answered.reply
        self._screen.say("" if written else reply.text, _STYLES[reply.decision])
        if unlisted(reply):
            self._screen.say(numbered(reply.options), "yellow")
        if reply.options:
            self._screen.say("Type a number to pick one.", "dim")
        for source in sources(reply):
            self._screen.say(f"  {source.line}", _source_style(source))
        self._screen.say()

    def _quote(self, topic: str) -> None:
        if not topic:
            self._screen.say("Name a topic after it: /quote reliability", "yellow")
            return
        found = self._fireside.lookup.quotes(topic, None, QUOTES)
        if not found:
            self._screen.say("Nothing in the talks is about that. Try other words for it.")
        for citation in found:
            self._screen.say(f"“{citation.quote}”")
            self._screen.say(f"  {whence(citation)}", "green")
        self._screen.say()

    def _why(self, _rest: str) -> None:
        if self._last is None:
            self._screen.say("Nothing was asked yet. Ask something first.", "yellow")
            return
        self._tell(why(self._last, self._fireside.policy.coefficients))

    def _sources(self, _rest: str) -> None:
        self._tell(talks(self._fireside.corpus.catalog))

    def _reset(self, _rest: str) -> None:
        self._turns.clear()
        self._last = self._asked = None
        self._screen.say("Forgotten. Ask anew.\n")

    def _help(self, _rest: str) -> None:
        for line in listed(COMMANDS):
            self._screen.say(line)
        self._screen.say()

    def _tell(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._screen.say(line.text, _TONES[line.tone])
        self._screen.say()


class Words(Completer):
    """Completes the commands, and after /quote the words that the talks use most."""

    def __init__(self, topics: Iterable[str]) -> None:
        """`topics` are what /quote completes."""
        self._topics = sorted(topics)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What may stand at the cursor."""
        del complete_event
        before = document.text_before_cursor
        if before.startswith("/quote "):
            word = before.rpartition(" ")[2].lower()
            yield from (Completion(t, -len(word)) for t in self._topics if word and t.startswith(word))
        elif before.startswith("/") and " " not in before:
            for command in COMMANDS:
                if command.name.startswith(before.lower()):
                    text = f"{command.name} " if command.takes else command.name
                    yield Completion(text, -len(before), display_meta=command.does)


def converse(fireside: Fireside, data_dir: Path) -> None:
    """The whole conversation on stdin and stdout: with line editing on a terminal, plainly otherwise."""
    typed = sys.stdin.isatty() and sys.stdout.isatty()
    chat = Chat(fireside, Screen())
    chat.greet(hint=typed)
    for line in _edited(fireside, data_dir) if typed else piped(sys.stdin.buffer):
        if not chat.take(line):
            return


def piped(lines: Iterable[bytes]) -> Iterator[str]:
    """Lines of a pipe as text; what is no UTF-8 becomes a replacement mark."""
    for line in lines:
        yield line.decode("utf-8", "replace").removeprefix("\ufeff")


def _edited(fireside: Fireside, data_dir: Path) -> Iterator[str]:
    completer = Words(topics(fireside.corpus))
    session: PromptSession[str] = PromptSession(history=_history(data_dir), completer=completer)
    with contextlib.suppress(EOFError):
        while True:
            yield session.prompt("› ")


def _history(data_dir: Path) -> History:
    """What was typed before, from a file; one that can't be written is done without."""
    path = data_dir / "chat_history"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _source_style(source: Source) -> str:
    return "green" if source.citation.verbatim else "blue"
