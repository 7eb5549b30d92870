"""What the bots keep: settings of places, feedback, events that were seen, opt-outs. By default in a SQLite file."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Delete,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.batch import sound
from persona.errors import InputError, StoreError
from persona.types import Decision, Reason, Turn

FILE = "fireside.sqlite3"
FORMAT = 1
OWN = (
    "answers",
    "voice",
    "risk",
    "persona",
    "other_bots",
)  # what a channel may set for itself; who may ask is its place's
_PATIENCE = 5.0  # seconds to wait for another process's write
_ALONE = "fireside_alone"  # of a connection's options: one statement, without a transaction around it

Ids = tuple[str, ...]
Sound = Annotated[str, BeforeValidator(sound)]  # half a surrogate pair can't be stored


class PlaceSettings(BaseModel):
    """How the bot behaves in a place or channel; None: as the bot was started. Channels, roles and users are ids; where any
    are allowed, only those are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed_channels: Ids = ()
    blocked_channels: Ids = ()
    allowed_roles: Ids = ()
    blocked_roles: Ids = ()
    blocked_users: Ids = ()
    answers: Literal["mentions", "threads"] = "threads"
    voice: Literal["auto", "quotes", "model"] | None = None
    risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    persona: Annotated[str, Field(min_length=1)] | None = None
    other_bots: bool = False


class Feedback(BaseModel):
    """What a user thinks of a reply: the only row that holds text of a conversation. `history` are the turns before the
    question, `text` is the reply's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    platform: str
    place: str
    channel: str
    user: str
    reply_id: str
    good: bool
    comment: Sound = ""
    question: Sound
    history: tuple[Turn, ...] = ()
    text: Sound
    decision: Decision
    reason: Reason
    corpus: str


class Seen(NamedTuple):
    """An event that came in, and the channel to look for it in."""

    event: str
    channel: str


_metadata = MetaData()
_seconds: Float[float] = Float()  # since 1970
_format = Table("format", _metadata, Column("version", Integer, primary_key=True))
_places = Table(
    "place",
    _metadata,
    Column("platform", String, primary_key=True),
    Column("place", String, primary_key=True),
    Column("channel", String, primary_key=True),  # empty: the place's own
    Column("settings", Text, nullable=False),  # JSON of the keys that were set
)
_seen = Table(
    "seen",
    _metadata,
    Column("platform", String, primary_key=True),
    Column("event", String, primary_key=True),
    Column("channel", String, nullable=False),
    Column("at", _seconds, nullable=False, index=True),
    Column("answered", Boolean, nullable=False),
)
_feedback = Table(
    "feedback",
    _metadata,
    Column("id", String, primary_key=True),
    Column("created", _seconds, nullable=False, index=True),
    Column("platform", String, nullable=False),
    Column("place", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("user", String, nullable=False),
    Column("reply_id", String, nullable=False),
    Column("good", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("history", Text, nullable=False),  # JSON
    Column("text", Text, nullable=False),
    Column("decision", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("corpus", String, nullable=False),
    UniqueConstraint("platform", "reply_id", "user"),
)
_opted_out = Table(
    "opted_out",
    _metadata,
    Column("platform", String, primary_key=True),
    Column("user", String, primary_key=True),
)
_contacts = Table(
    "contact",
    _metadata,
    Column("platform", String, primary_key=True),
    Column("channel", String, primary_key=True),
)


class Store:
    """The store; open it with `Store.open`. Safe to use from many tasks, and from several processes. Every method raises
    StoreError, whose sentence says what to do, where the database can't be read or written."""

    def __init__(self, engine: AsyncEngine, where: str) -> None:
        self._engine = engine
        self._at_once = engine.execution_options(**{_ALONE: True})
        self.where = where

    @classmethod
    async def open(cls, where: str | Path) -> Self:
        """The store in a SQLite file (made if it is missing, readable by its owner alone), or at a SQLAlchemy URL with an
        async driver."""
        if isinstance(where, Path) or "://" not in where:
            _make_file(Path(where))
            store = cls(_engine(f"sqlite+aiosqlite:///{where}"), str(where))
        else:
            try:
                shown = make_url(where).render_as_string(hide_password=True)
                store = cls(_engine(where), shown)
            except (ArgumentError, ModuleNotFoundError):
                raise StoreError(
                    "The URL of the store can't be used. Write it as SQLAlchemy has it, with an async driver that is "
                    "installed, or give a path."
                ) from None
        try:
            await store._prepare()
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Lets the database go."""
        await self._engine.dispose()

    async def first_sight(self, platform: str, event: str, channel: str = "") -> bool:
        """Whether this event comes in for the first time; of several that ask at once, one is told True."""
        return await self._insert(_seen, platform=platform, event=event, channel=channel, at=_now(), answered=False)

    async def answered(self, platform: str, event: str) -> None:
        """Notes that all is done about an event."""
        async with self._alone() as connection:
            await connection.execute(
                update(_seen).where(_seen.c.platform == platform, _seen.c.event == event).values(answered=True)
            )

    async def unanswered(self, platform: str) -> list[Seen]:
        """Events that were seen but not done with, oldest first: what a process that was killed left behind."""
        wanted = select(_seen.c.event, _seen.c.channel).where(_seen.c.platform == platform, ~_seen.c.answered)
        async with self._alone() as connection:
            return [Seen(*row) for row in await connection.execute(wanted.order_by(_seen.c.at))]

    async def channels(self, platform: str, since: datetime) -> list[str]:
        """The channels of events that were seen since a time, that of the newest first."""
        wanted = select(_seen.c.channel).where(_seen.c.platform == platform, _seen.c.at >= since.timestamp())
        async with self._alone() as connection:
            found = (await connection.execute(wanted.order_by(_seen.c.at.desc()))).scalars()
            return list(dict.fromkeys(map(str, found)))

    async def place(self, platform: str, place: str, channel: str | None = None) -> PlaceSettings:
        """The settings that hold in a place, or in a channel of it: what the channel sets itself goes first."""
        async with self._alone() as connection:
            return self._settings(await self._layers(connection, platform, place, channel))

    async def save_place(self, platform: str, place: str, channel: str | None, settings: PlaceSettings) -> None:
        """Replaces what a place or channel sets by the keys that were given to `settings`; of a channel those in `OWN`."""
        given = settings.model_dump(mode="json", exclude_unset=True)
        async with self._begin() as connection:
            await self._write(connection, platform, place, channel, given)

    async def change_place(
        self, platform: str, place: str, channel: str | None = None, **changes: Any
    ) -> PlaceSettings:
        """Changes some keys (None: as if it had never been set), and gives the settings that hold then. Two who change
        different keys at once both get their way. InputError if a value can't be, and nothing is changed."""
        async with self._begin() as connection:
            layers = await self._layers(connection, platform, place, channel)
            own = {k: v for k, v in {**layers[-1], **changes}.items() if v is not None}
            try:
                checked = PlaceSettings(**own).model_dump(mode="json", exclude_unset=True)
            except ValidationError as exc:
                first = exc.errors()[0]
                raise InputError(
                    f"'{first['loc'][0]}' can't be {first['input']!r}: {first['msg']}. Choose another value."
                ) from None
            await self._write(connection, platform, place, channel, checked)
            return self._settings(await self._layers(connection, platform, place, channel))

    async def add_feedback(self, feedback: Feedback) -> None:
        """Keeps what a user thinks of a reply, instead of what the same user thought of it before."""
        row = feedback.model_dump(mode="json", exclude={"created", "history"})
        row["created"] = feedback.created.timestamp()
        row["history"] = json.dumps([turn.model_dump() for turn in feedback.history], ensure_ascii=False)
        same = (_feedback.c[key] == row[key] for key in ("platform", "reply_id", "user"))
        async with self._begin() as connection:
            await connection.execute(delete(_feedback).where(*same))
            await connection.execute(insert(_feedback).values(row))

    async def feedback(self, since: datetime | None = None, *, of: tuple[str, str] | None = None) -> list[Feedback]:
        """All feedback, or that from a time on, or that of a user of a platform; oldest first."""
        wanted = select(_feedback).order_by(_feedback.c.created)
        if of is not None:
            wanted = wanted.where(_feedback.c.platform == of[0], _feedback.c.user == of[1])
        if since is not None:
            wanted = wanted.where(_feedback.c.created >= since.timestamp())
        async with self._alone() as connection:
            rows = [dict(row) for row in (await connection.execute(wanted)).mappings()]
        for row in rows:
            row["created"] = datetime.fromtimestamp(row["created"], UTC)
            row["history"] = json.loads(row["history"])
        return [Feedback.model_validate(row) for row in rows]

    async def opt_out(self, platform: str, user: str, out: bool = True) -> None:
        """Notes that nothing of a user may be kept, or (`out` False) that it may again."""
        if out:
            await self._insert(_opted_out, platform=platform, user=user)
        else:
            await self._delete(delete(_opted_out).where(_opted_out.c.platform == platform, _opted_out.c.user == user))

    async def opted_out(self, platform: str, user: str) -> bool:
        """Whether nothing of a user may be kept."""
        wanted = select(_opted_out.c.user).where(_opted_out.c.platform == platform, _opted_out.c.user == user)
        async with self._alone() as connection:
            return (await connection.execute(wanted)).first() is not None

    async def first_contact(self, platform: str, channel: str) -> bool:
        """Whether this is the first time in a channel, where the disclosure is due."""
        return await self._insert(_contacts, platform=platform, channel=channel)

    async def forget(self, platform: str, user: str) -> int:
        """Deletes all that a user wrote; how many rows that were. An opt-out stays: it is the user's wish."""
        return await self._delete(delete(_feedback).where(_feedback.c.platform == platform, _feedback.c.user == user))

    async def purge(self, before: datetime) -> int:
        """Deletes seen events and feedback from before a time; how many rows that were."""
        limit = before.timestamp()
        return await self._delete(
            delete(_seen).where(_seen.c.at < limit), delete(_feedback).where(_feedback.c.created < limit)
        )

    def _begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._failing(self._engine.begin())

    def _alone(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """For one statement: in SQLite that is a transaction of its own, which spares the beginning and the end of one. Each
        is a turn of the library's thread, and those take long beside a thread that computes."""
        return self._failing(self._at_once.begin())

    @asynccontextmanager
    async def _failing(self, opened: AbstractAsyncContextManager[AsyncConnection]) -> AsyncGenerator[AsyncConnection]:
        """Turns the errors of the database into sentences."""
        try:
            async with opened as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as exc:
            raise store_error(exc, self.where) from None

    async def _prepare(self) -> None:
        async with self._begin() as connection:
            await connection.run_sync(_metadata.create_all)
            version = (await connection.execute(select(_format.c.version))).scalar()
            if version not in (None, FORMAT):
                raise StoreError(
                    f"The store '{self.where}' was made by another version of Fireside (format {version}, this one reads "
                    f"{FORMAT}). Run that version, or move the store away to begin a new one."
                )
            # Written at each start: one that can't be written is found now, not with the first message.
            await connection.execute(delete(_format))
            await connection.execute(insert(_format).values(version=FORMAT))

    async def _insert(self, table: Table, **row: Any) -> bool:
        """Whether the row was not there yet."""
        if self._engine.dialect.name == "sqlite":
            async with self._alone() as connection:
                return (await connection.execute(insert(table).prefix_with("OR IGNORE").values(row))).rowcount == 1
        there = select(*table.primary_key).where(*(column == row[column.name] for column in table.primary_key))
        async with self._begin() as connection:
            if (await connection.execute(there)).first() is not None:
                return False
            try:
                await connection.execute(insert(table).values(row))
            except IntegrityError:  # somebody else's came between
                return False
        return True

    async def _delete(self, *statements: Delete) -> int:
        async with self._begin() as connection:
            count = sum([(await connection.execute(statement)).rowcount for statement in statements])
        if count and self._engine.dialect.name == "sqlite":
            # Until a checkpoint the log beside the file still holds the words.
            async with self._failing(self._engine.connect()) as connection:
                raw = await connection.get_raw_connection()
                await cast("Any", raw.driver_connection).execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    async def _layers(
        self, connection: AsyncConnection, platform: str, place: str, channel: str | None
    ) -> list[dict[str, Any]]:
        """What the place sets, and if there is a channel what that sets."""
        found = await connection.execute(
            select(_places.c.channel, _places.c.settings).where(
                _places.c.platform == platform, _places.c.place == place, _places.c.channel.in_(["", channel or ""])
            )
        )
        rows = {str(name): json.loads(text) for name, text in found}
        return [rows.get(name, {}) for name in ("", channel) if name is not None]

    async def _write(
        self, connection: AsyncConnection, platform: str, place: str, channel: str | None, given: dict[str, Any]
    ) -> None:
        own = {key: value for key, value in given.items() if channel is None or key in OWN}
        key = {"platform": platform, "place": place, "channel": channel or ""}
        await connection.execute(delete(_places).where(*(_places.c[name] == value for name, value in key.items())))
        if own:
            await connection.execute(insert(_places).values(**key, settings=json.dumps(own)))

    def _settings(self, layers: list[dict[str, Any]]) -> PlaceSettings:
        merged = {key: value for layer in layers for key, value in layer.items() if value is not None}
        try:
            return PlaceSettings(**merged)
        except ValidationError as exc:
            key = exc.errors()[0]["loc"][0]
            raise StoreError(
                f"The settings of a place in '{self.where}' have a value for '{key}' that this version of Fireside doesn't "
                "know. Set it anew, or run the version that wrote it."
            ) from None


def store_error(error: SQLAlchemyError | sqlite3.Error, where: str) -> StoreError:
    """What to tell a person who runs the bot about an error of the database."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    sentence = _SENTENCES.get(code & 0xFF) if isinstance(code, int) else None
    if sentence is None:
        sentence = f"The store '{{}}' can't be used: {str(cause).splitlines()[0]}. Check that the database is there."
    return StoreError(sentence.format(where))


_LOCKED = "The store '{}' is locked by another program. Close that (a database browser, a second bot), then try again."
_DAMAGED = (
    "The store '{}' is damaged, or is no database. Put a backup in its place, or move it away: the bot then begins a new "
    "one, without the old settings and feedback."
)
_UNWRITABLE = (
    "The store '{}' can't be written. Make the file and its folder writable, or set another FIRESIDE_DATA_DIR."
)
_SENTENCES = {  # by SQLite's primary result code
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: _UNWRITABLE,
    sqlite3.SQLITE_PERM: _UNWRITABLE,
    sqlite3.SQLITE_CANTOPEN: _UNWRITABLE,
    sqlite3.SQLITE_FULL: "The disk with the store '{}' is full. Free space: nothing can be kept until then.",
    sqlite3.SQLITE_IOERR: "The disk with the store '{}' fails or is full. Check it, or set another FIRESIDE_DATA_DIR.",
}


def _make_file(path: Path) -> None:
    """What people write with their feedback is nobody else's business on this machine."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as exc:
        raise StoreError(
            f"Can't make the store '{path}': {exc.strerror}. Choose another folder with --data-dir or FIRESIDE_DATA_DIR."
        ) from None


def _engine(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url)
    # One connection: SQLite has one writer, and a second one would only wait for its lock.
    engine = create_async_engine(
        url, pool_size=1, max_overflow=0, connect_args={"timeout": _PATIENCE, "isolation_level": None}
    )
    event.listen(engine.sync_engine, "connect", _ready)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _ready(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and then finds another process writing fails at once, whatever the timeout.
    if not connection.get_execution_options().get(_ALONE):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _now() -> float:
    return datetime.now(UTC).timestamp()
