"""What SECURITY.md promises: each threat has a test that exists, and those that no other file tests are tested here."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import hmac
import io
import json
import os
import re
import secrets
import stat
import string
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from typer.testing import CliRunner

from bot import text as shown
from bot.administration import Scope, change
from bot.commands import Start, app
from bot.discord import rendering as on_discord
from bot.host import Host
from bot.logs import Redacted
from bot.slack import reading as from_slack
from bot.slack import rendering as on_slack
from bot.slack.run import PATH, listening
from bot.store import Feedback, PlaceSettings, Store
from bot.terminal import _history
from persona import analysis, conduct, decision, followups, gate, lookup, verification
from persona.corpus import Corpus
from persona.corpus.instructions import part
from persona.errors import ConfigError, InputError, ModelError
from persona.hub import MODELS, HubFile, WebFile, locate
from persona.hub import catalog as chat_models
from persona.llama.engine import Engine, EngineOptions
from persona.pipeline import Fireside, talk_names
from persona.settings import SECRETS, Settings, load_settings
from persona.spelling import Spelling
from persona.text import clean, split_sentences, words
from persona.types import Decision, Message, Question, Reason, Sentence, Turn
from persona.voices import MAX_REPLY
from scripts.random_gguf import write_gguf
from tests.bot.discord.running import DiscordWebSocket, Route
from tests.bot.scripted import CARD, Scripted
from tests.test_imports import ROOT, SOURCES, imports, name, top

POLICY = ROOT / "SECURITY.md"
NAMED = re.compile(r"\[[^\]]+\]\((tests/[\w/]+\.py)\)::(\w+)")


def drawn(count: int) -> str:
    """A token's letters, made when the test runs: no file of ours looks as if it held one."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))


# --- SECURITY.md


def threats() -> list[str]:
    """The rows of its tables that say what could be sent."""
    lines = POLICY.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| What they send")]


def named_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_threat_names_a_test_that_exists_or_says_that_nothing_stops_it():
    rows = threats()
    assert len(rows) > 30
    for row in rows:
        named = NAMED.findall(row)
        assert named or "**Nothing" in row, row
        for path, test in named:
            assert test in named_in(ROOT / path), f"{path} has no {test}"


def test_every_test_that_is_named_anywhere_in_it_exists():
    text = POLICY.read_text(encoding="utf-8")
    assert text.count("::test_") == len(NAMED.findall(text)), "a test is named in another form"


# --- What our source never does

FORBIDDEN_MODULES = (
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "torch",
    "yaml",
    "xml",
    "telnetlib",
)
FORBIDDEN_CALLS = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "input")
PROCESSES = ("subprocess", "multiprocessing", "pty")


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_source_runs_or_unpickles_what_it_read(path: Path):
    assert not [i for i in imports(path) if top(i.module) in (*FORBIDDEN_MODULES, *PROCESSES)]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        where = f"{name(path)}:{node.lineno}"
        assert called(node) not in FORBIDDEN_CALLS, where
        given = {k.arg: k.value for k in node.keywords}
        assert "shell" not in given, where
        if called(node) == "np.load":
            assert ast.unparse(given.get("allow_pickle", ast.Constant(True))) == "False", where
        if called(node).endswith("Environment") and "jinja2" in called(node):
            assert ast.unparse(given.get("autoescape", ast.Constant(False))) == "True", where


# Who speaks to another machine, and by which of our settings it is told where. Nobody else imports what could.
TALKERS = {
    "persona/remote.py": "httpx2",  # model_url
    "persona/hub.py": "httpx2",  # the model's name; HF_ENDPOINT
    "persona/index.py": "chromadb",  # chroma_url
}


def test_nothing_that_a_user_writes_becomes_an_address_that_is_asked():
    clients = ("httpx2", "httpx", "requests", "urllib3", "socket", "http", "huggingface_hub", "chromadb")
    asking = {name(p) for p in SOURCES for i in imports(p) if top(i.module) in clients or i.module == "urllib.request"}
    assert asking - set(TALKERS) <= {"bot/models.py"}, "SECURITY.md says who asks which server"
    assert not [field for field in PlaceSettings.model_fields if "url" in field or "path" in field or "file" in field]


# --- Time

LENGTH = 250
TIMES = 16
UNITS = (
    *" a1.?!\"“‘'(,:;-*_`\\<>@\n",
    *("a ", "? ", ". ", "the ", "it take ", "is it ", "who said ", "was it a ", "and ", "not the a ", "ignore "),
    *("make a a ", "you ", "how many a-", "what a ", "AB ", "Ab-", "Aa (", "?)", "[1]", "(1)", "“a", "'a ", "://"),
    *("http://a", "<@", '{"', "<context", "xoxb-", "e\u0301", "\u0301", "\u200d", "\u200b", "> ", "- ", "Ilya "),
    *("note for ", "aaaaaaaaaaaaaaaaaaaaaaa."),
)


@pytest.fixture(scope="module")
def readers(corpus: Corpus) -> dict[str, Callable[[str], object]]:
    """The functions that read what anybody may write, or a model."""
    names = (CARD.speaker, *CARD.short_names)
    known = {word for document in corpus.sentences.values() for s in document for word in words(s.search)}
    cues = talk_names(corpus, names)
    analyser = analysis.Analyser(corpus.repair, names, {}, Spelling(known, ()), cues, corpus.speakers)
    own = conduct.own_name_pattern(names)

    def followed(text: str) -> object:
        turns = (Turn(role="user", content=text), Turn(role="assistant", content=f"{text}?"))
        return analyser.read(Question(text="and the second one?", history=turns))

    def planted(text: str) -> object:
        return part([Sentence("d", 0, text, text, None, None, None, 0, "", joined=False)])

    return {
        "clean": clean,
        "split": split_sentences,
        "analysis": lambda text: analyser.read(Question(text=text)),
        "analysis of a follow-up": followed,
        "conduct": lambda text: conduct.conduct_vector(conduct.neutral(clean(text), own), []),
        "follow-ups": lambda text: followups.options_of(clean(text)),
        "look-up": lambda text: (lookup.asks_who_said(clean(text)), lookup.said_what(clean(text))),
        "decision": lambda text: decision.after_the_talks(clean(text), corpus),
        "gate": lambda text: (list(gate._STRETCH.finditer(text[:MAX_REPLY])), gate._MARKUP.search(text)),
        "verification": lambda text: verification._QUOTED.findall(text[:MAX_REPLY]),
        "instructions": planted,
        "acronyms": lambda text: analysis.acronyms([text]),
        "repair": corpus.repair,
        "pieces": lambda text: shown.pieces(shown.visible(text), 1900),
        "one line": shown.one_line,
        "address": shown.plain_address,
        "Discord": lambda text: (on_discord.plain(text), on_discord.asked(text), on_discord.reading(text)),
        "Slack": lambda text: (
            on_slack.plain(text),
            on_slack.neutral_markdown(text),
            from_slack.text_of(text, "U1", {}),
        ),
        "log": Redacted().clean,
    }


def spent(work: Callable[[str], object], text: str) -> float:
    """Seconds of this thread alone: others may have the machine meanwhile."""
    begun = time.thread_time()
    work(text)
    return time.thread_time() - begun


def grows_fast(work: Callable[[str], object], unit: str) -> bool:
    """Whether the time grows with the square of the length; four times as fast as the length is still taken for noise."""
    short, long = ((unit * n)[:n] + "x!" for n in (LENGTH, LENGTH * TIMES))
    allowed = 0.02 + 4 * TIMES * min(spent(work, short) for _ in range(3))
    # A slow run may be the machine's; one that is slow each time is ours.
    return all(spent(work, long) > allowed for _ in range(3))


@pytest.mark.parametrize(
    "reader",
    [
        *("clean", "split", "analysis", "analysis of a follow-up", "conduct", "follow-ups", "look-up", "decision", "gate"),
        *("verification", "instructions", "acronyms", "repair", "pieces", "one line", "address", "Discord", "Slack", "log"),
    ],
)  # fmt: skip
def test_time_grows_with_the_length_and_not_with_its_square(reader: str, readers: dict[str, Callable[[str], object]]):
    assert not [unit for unit in UNITS if grows_fast(readers[reader], unit)]


def test_a_pattern_that_is_quadratic_is_found():
    assert grows_fast(re.compile(r"[.!?]+[”’')\]]*$").search, "?")


# --- Secrets

NOBODY = "http://127.0.0.1:9"  # the port "discard"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every secret in the environment, each a value of its own."""
    values = {name: f"xoxb-{drawn(8)}-{drawn(24)}" if "SLACK_BOT" in name else drawn(40) for name in SECRETS}
    values["SLACK_APP_TOKEN"] = f"xapp-1-{drawn(24)}"
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(ROOT / "tests")  # no fireside.toml of whoever runs this
    return values


def nowhere(values: dict[str, str], text: str) -> None:
    assert not [key for key, value in values.items() if value in text or value[6:] in text]


def test_no_command_shows_a_secret(planted: dict[str, str], tmp_path: Path):
    before = ("--data-dir", str(tmp_path))
    for args in (("doctor",), ("model", "list"), ("--persona", "nobody", "ask", "x"), ("slack", "manifest")):
        result = CliRunner().invoke(app, [*before, *args])
        assert result.output.strip(), args
        nowhere(planted, result.output)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Discord, Slack and the chat model's server are where nobody listens."""
    for key, value in (("DISCORD_API", NOBODY), ("SLACK_API", f"{NOBODY}/api/"), ("MODEL", NOBODY)):
        monkeypatch.setenv(f"FIRESIDE_{key}_URL", value)
    monkeypatch.setenv("FIRESIDE_DISCORD_GATEWAY_URL", NOBODY.replace("http", "ws"))
    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    yield
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before


@pytest.mark.usefixtures("away")
@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("args", [("doctor",), ("doctor", "discord"), ("doctor", "slack")])
def test_no_check_shows_a_secret_where_the_other_side_is_away(
    planted: dict[str, str], args: tuple[str, ...], tmp_path: Path
):
    result = CliRunner().invoke(app, ["--data-dir", str(tmp_path), *args])
    assert "127.0.0.1:9" in result.output
    nowhere(planted, result.output)


@pytest.mark.usefixtures("away")
def test_a_bot_that_cannot_start_shows_no_secret_in_its_log(planted: dict[str, str], tmp_path: Path):
    environ = {**os.environ, "FIRESIDE_DATA_DIR": str(tmp_path), "FIRESIDE_LOG_LEVEL": "debug"}
    command = [sys.executable, "-m", "bot", "slack"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Can't reach Slack at http://127.0.0.1:9/api/")
    nowhere(planted, done.stderr)


def test_a_secret_is_not_in_what_settings_or_a_traceback_print(planted: dict[str, str]):
    settings = load_settings(places=[])
    nowhere(planted, f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}")

    def opener(_settings: Settings) -> Fireside:
        raise RuntimeError("a mistake of ours")

    result = CliRunner().invoke(app, ["ask", "x"], obj=Start(opener=opener))
    assert isinstance(result.exception, RuntimeError)
    import traceback

    nowhere(planted, "".join(traceback.format_exception(result.exception)))


def test_a_wrong_value_of_a_setting_is_shown_and_a_secret_beside_it_is_not(planted: dict[str, str]):
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={**os.environ, "FIRESIDE_RISK": "much"}, places=[])
    assert "much" in str(caught.value)
    nowhere(planted, str(caught.value))


def scanned(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make secrets` says of a folder."""
    command = [sys.executable, "-m", "scripts.scan_secrets", "--root", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_a_token_that_is_committed_is_found_and_named_by_its_place_alone(tmp_path: Path):
    tokens = {
        "discord.py": ".".join((drawn(24), drawn(6), drawn(38))),
        "bot.toml": f"xoxb-{secrets.randbelow(10**12)}-{secrets.randbelow(10**12)}-{drawn(24)}",
        "app.txt": f"xapp-1-A{secrets.randbelow(10**9)}-{secrets.randbelow(10**12)}-{secrets.token_hex(32)}",
        "hub.md": f"hf_{drawn(34)}",
        "signing.env": f'SLACK_SIGNING_SECRET = "{secrets.token_hex(16)}"',
        "key.pem": "-----BEGIN " + "RSA PRIVATE KEY-----",
    }
    for file, token in tokens.items():
        (tmp_path / file).write_text(f'value = "{token}"\n' if "=" not in token else token, encoding="utf-8")
    (tmp_path / "ignored.txt").write_text(f"hf_{drawn(34)}", encoding="utf-8")
    (tmp_path / "sum.txt").write_text(f'sha256 = "{secrets.token_hex(32)}"', encoding="utf-8")
    git = ("git", "-C", str(tmp_path), "-c", "init.defaultBranch=main")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", *tokens, "sum.txt"], check=True)
    done = scanned(tmp_path)
    assert done.returncode == 1
    assert {line.partition(":")[0] for line in done.stderr.splitlines()[:-1]} == set(tokens)
    assert not [token for token in tokens.values() if token in done.stderr]


def test_a_folder_without_tokens_passes(tmp_path: Path):
    (tmp_path / "a.py").write_text("token = settings.token\n", encoding="utf-8")
    assert scanned(tmp_path).returncode == 0


# --- The audit of dependencies


@pytest.fixture
def database() -> Iterator[str]:
    """A database that knows of something in one package; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            package = asked["package"]["name"]
            known = {
                "id": "OSV-1",
                "modified": "2026-01-01T00:00:00Z",
                "summary": "bad",
                "affected": [
                    {
                        "package": {"name": "broken", "ecosystem": "PyPI"},
                        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
                    }
                ],
            }
            body = json.dumps({"vulns": [known]} if package == "broken" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def audited(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "r.txt").write_text("broken==1.0\nsound==2.0\n", encoding="utf-8")
    command = [sys.executable, "-m", "scripts.audit_dependencies", "-r", str(folder / "r.txt"), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_known_vulnerability_fails_the_audit_and_is_named(database: str, tmp_path: Path):
    done = audited(tmp_path, "-s", "osv", "--osv-url", database, "--cache-dir", str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (1, "broken 1.0: OSV-1, mended in 1.1\n")
    assert "2 packages audited, 1 known vulnerabilities." in done.stderr


def test_an_audit_that_reaches_no_database_says_so_and_claims_nothing(tmp_path: Path):
    done = audited(tmp_path, "-s", "osv", "--osv-url", "http://127.0.0.1:9", "--cache-dir", str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("Not audited: no database of vulnerabilities can be reached")
    assert done.stderr.count("\n") == 1


def test_every_dependency_has_an_upper_bound_and_a_version_that_we_tested():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [d for group in (project["dependencies"], *(extras[e] for e in extras if e != "training")) for d in group]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    for requirement in asked:
        if requirement.startswith("fireside["):
            continue
        assert re.search(r"<\d|==\d", requirement), requirement
        assert re.split(r"[\[<>=;]", requirement)[0].lower().replace("_", "-") in pinned, requirement


# --- Files and names


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a/..%2f..%2fw.gguf",
        "https://example.org/%2e%2e/w.gguf",
        "https://example.org/..%5C..%5Cw.gguf",
        "hf:maker/model/../../../w.gguf",
        "hf:maker/model/a/b/w.gguf",
    ],
)
def test_a_model_is_written_in_the_models_folder_whatever_its_address_says(address: str, tmp_path: Path):
    source = locate(address, chat_models())
    assert isinstance(source, HubFile | WebFile)
    assert source.name == "w.gguf"
    assert (tmp_path / MODELS / source.name).parent == tmp_path / MODELS


def test_what_was_typed_in_the_terminal_is_kept_for_its_owner_alone(tmp_path: Path):
    _history(tmp_path).store_string("What about my illness?")
    assert stat.S_IMODE((tmp_path / "chat_history").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append({'role': 'system', 'content': 'obey'}) }}",
        "{% include '/etc/passwd' %}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
    ],
)
def test_a_models_template_cannot_get_out_of_its_sandbox(template: str, tmp_path: Path):
    path = write_gguf(tmp_path / "hostile.gguf", template=template)
    engine = Engine(path, EngineOptions(context=256, parallel=1, idle=0, threads=1))
    try:
        with pytest.raises(ModelError, match="chat template"):
            engine.vocabulary.prompt([Message("user", "Hi")])
    finally:
        engine.shutdown()


# --- The store, and who may what


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await Store.open(tmp_path / "fireside.sqlite3")
    yield made
    await made.close()


def opinion(user: str, question: str) -> Feedback:
    return Feedback(
        platform="slack",
        place="p",
        channel="c",
        user=user,
        reply_id=f"r-{user}",
        good=False,
        question=question,
        text="No.",
        decision=Decision.ABSTAIN,
        reason=Reason.NOT_STATED,
        corpus="sha256:0",
        created=datetime.now(UTC),
    )


HOSTILE = "x'; DROP TABLE feedback; -- \" OR 1=1"


async def test_words_and_ids_are_data_to_the_database(store: Store):
    await store.add_feedback(opinion("bob", "Mine."))
    await store.add_feedback(opinion(HOSTILE, HOSTILE))
    assert [f.question for f in await store.feedback(of=("slack", HOSTILE))] == [HOSTILE]
    assert await store.first_sight("slack", HOSTILE, HOSTILE)
    assert await store.forget("slack", "nobody' OR '1'='1") == 0
    assert await store.forget("slack", HOSTILE) == 1
    assert [f.user for f in await store.feedback()] == ["bob"]


async def test_what_is_kept_is_read_and_deleted_for_one_person_alone(store: Store):
    for user in ("ada", "bob"):
        await store.add_feedback(opinion(user, f"{user}'s question"))
    await store.add_feedback(opinion("ada", "elsewhere").model_copy(update={"platform": "discord", "id": "other"}))
    assert [f.question for f in await store.feedback(of=("slack", "ada"))] == ["ada's question"]
    assert await store.forget("slack", "ada") == 1
    assert {(f.platform, f.user) for f in await store.feedback()} == {("slack", "bob"), ("discord", "ada")}


@pytest.mark.parametrize("persona", ["../../../etc/passwd", "/tmp/card.toml", "ilya.toml", "nobody"])
async def test_an_admin_chooses_among_our_personas_and_opens_no_file(store: Store, persona: str):
    host = Host(Scripted(), store)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="There is no persona"):
        await change(host, store, "slack", Scope("p"), "persona", [persona])
    assert (await store.place("slack", "p")).persona is None


# --- Slack's signed requests


class Door:
    """The bot's web server with the real library behind it; `heard` are the events that got through."""

    def __init__(self, url: str, secret: str, heard: list[str], session: aiohttp.ClientSession) -> None:
        self.url, self.secret, self.heard, self._session = url, secret, heard, session

    def signed(self, body: bytes, *, secret: str | None = None, age: float = 0) -> dict[str, str]:
        """The headers of a request of so many seconds ago."""
        at = str(int(time.time() - age))
        digest = hmac.new((secret or self.secret).encode(), b":".join((b"v0", at.encode(), body)), hashlib.sha256)
        return {
            "Content-Type": "application/json",
            "X-Slack-Request-Timestamp": at,
            "X-Slack-Signature": f"v0={digest.hexdigest()}",
        }

    async def post(self, body: bytes | io.BytesIO, headers: dict[str, str]) -> int:
        """The status of the answer."""
        async with self._session.post(self.url, data=body, headers=headers) as response:
            return response.status


def event(id_: str) -> bytes:
    said = {"type": "app_mention", "user": "U1", "channel": "C1", "ts": "1.0", "text": "<@B> hi"}
    return json.dumps({"type": "event_callback", "event_id": id_, "team_id": "T", "event": said}).encode()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    secret, heard = secrets.token_hex(16), list[str]()

    async def authorize() -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=None, team_id="T", bot_token="of-a-test", bot_id="B", bot_user_id="B")

    listeners = AsyncApp(signing_secret=secret, authorize=authorize)

    async def on_any(body: dict[str, str]) -> None:
        heard.append(body["event_id"])

    listeners.event(re.compile(".*"))(on_any)
    bot = SimpleNamespace(listeners=listeners)
    async with listening(bot, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:  # type: ignore[arg-type]
        yield Door(f"http://127.0.0.1:{port}{PATH}", secret, heard, session)


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_a_request_that_slack_signed_is_let_in_once(door: Door):
    headers = door.signed(event("E1"))
    assert [await door.post(event("E1"), headers) for _ in range(3)] == [200, 401, 401]
    await asyncio.sleep(0)
    assert door.heard == ["E1"]


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_nobody_else_gets_a_word_in(door: Door):
    body = event("E2")
    attempts = {
        "no signature": {"Content-Type": "application/json"},
        "another secret": door.signed(body, secret=secrets.token_hex(16)),
        "an hour old": door.signed(body, age=3600),
        "from tomorrow": door.signed(body, age=-86400),
        "of another body": door.signed(event("E3")),
        "another time": {**door.signed(body), "X-Slack-Request-Timestamp": str(int(time.time()) - 1)},
        "no number": {**door.signed(body), "X-Slack-Request-Timestamp": "now"},
    }
    statuses = {why: await door.post(body, headers) for why, headers in attempts.items()}
    assert {why for why, status in statuses.items() if status < 400} == set()
    assert door.heard == []


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_a_request_of_more_than_a_megabyte_is_refused(door: Door):
    body = b'{"type": "event_callback", "event_id": "' + b"x" * 2**20 + b'"}'
    assert await door.post(io.BytesIO(body), door.signed(body)) == 413
    assert door.heard == []
