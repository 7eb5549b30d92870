"""Remote chat models: against llama-cpp-python's own server, and against a scripted one for what that never does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from persona.errors import AwayError, BusyError, ConfigError, DeadlineError, ModelError, TooLongError
from persona.remote import RemoteModel
from persona.types import ChatModel, Message, Sampling
from scripts.random_gguf import write_gguf
from tests.servers import (
    DONE,
    END,
    PATIENCE,
    Answer,
    ChatServer,
    closed_port,
    event,
    llama_server,
    models,
    refusal,
    words,
)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

HELLO = (Message("system", "Be brief."), Message("user", "Hello!"))
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
TOKEN = "sesame-4711"
TOO_LONG = {"error": {"message": "This model's maximum context length is 8 tokens.", "code": "context_length_exceeded"}}

Connect = Callable[..., RemoteModel]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes models that are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(url: str, **given: Any) -> RemoteModel:
            model = RemoteModel(url, **given)
            stack.push_async_callback(model.close)
            return model

        yield make


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama-cpp-python's server, with a small model of random weights."""
    gguf = write_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")
    with llama_server(gguf, "--n_ctx", "256", "--api_key", TOKEN, "--interrupt_requests", "false") as url:
        yield url


def pieces_of(model: ChatModel, sampling: Sampling | None = None, **given: Any) -> AsyncGenerator[str]:
    return model.stream(HELLO, sampling or Sampling(max_tokens=20), **given)


async def text_of(model: ChatModel, sampling: Sampling | None = None, **given: Any) -> str:
    return "".join([piece async for piece in pieces_of(model, sampling, **given)])


# --- llama-cpp-python's server


async def test_llama_writes_in_pieces_and_the_same_for_the_same_seed(llama: str, connect: Connect):
    model = connect(llama, token=TOKEN)
    sampling = Sampling(max_tokens=12, seed=3)
    first = [piece async for piece in pieces_of(model, sampling)]
    assert 1 < len(first) <= 12
    assert await text_of(model, sampling) == "".join(first)
    assert await text_of(model, sampling.model_copy(update={"seed": 4})) != "".join(first)


async def test_llama_stops_before_a_stop_text(llama: str, connect: Connect):
    model = connect(llama, token=TOKEN)
    whole = await text_of(model, Sampling(max_tokens=12, seed=3))
    middle = whole[len(whole) // 2]
    assert await text_of(model, Sampling(max_tokens=12, seed=3, stop=(middle,))) == whole.partition(middle)[0]


async def test_llama_follows_a_schema_in_its_older_form(llama: str, connect: Connect):
    said = await text_of(connect(llama, token=TOKEN), Sampling(max_tokens=200), schema=SCHEMA)
    assert json.loads(said)["answer"] in ("yes", "no")


async def test_llama_answers_the_next_question_after_an_early_close(llama: str, connect: Connect):
    model = connect(llama, token=TOKEN)
    endless = {"type": "array", "items": {"enum": ["yes", "no"]}, "minItems": 200}
    async with aclosing(pieces_of(model, Sampling(max_tokens=200), schema=endless)) as pieces:
        assert await anext(pieces) == "["
    assert await text_of(model, Sampling(max_tokens=5, deadline=PATIENCE))


async def test_llama_answers_many_at_once(llama: str, connect: Connect):
    model = connect(llama, token=TOKEN)
    said = await asyncio.gather(*(text_of(model, Sampling(max_tokens=8, seed=3)) for _ in range(4)))
    assert len(set(said)) == 1
    assert said[0]


async def test_llama_has_no_room_for_a_long_prompt(llama: str, connect: Connect):
    model = connect(llama, token=TOKEN)
    with pytest.raises(TooLongError, match="maximum context length is 256 tokens"):
        await anext(aiter(model.stream([Message("user", "word " * 400)], Sampling())))


async def test_llama_is_named_by_its_file_and_found_with_v1_or_without(llama: str, connect: Connect):
    for url in (llama, llama + "/", llama + "/v1", llama + "/v1/chat/completions"):
        model = connect(url, token=TOKEN)
        assert (await model.check()).endswith("tiny.gguf")
        assert model.name == "tiny.gguf"


@pytest.mark.parametrize(("token", "says"), [(None, "asks for a token"), ("wrong", "refuses the token")])
async def test_llama_without_the_right_token_is_away(llama: str, connect: Connect, token: str | None, says: str):
    model = connect(llama, token=token)
    with pytest.raises(AwayError, match=f"{says} .*MODEL_TOKEN"):
        await model.check()
    with pytest.raises(AwayError, match=says):
        await text_of(model)


# --- What goes out


async def test_a_question_goes_out_as_it_was_asked(connect: Connect):
    sampling = Sampling(max_tokens=9, temperature=0.5, top_k=7, top_p=0.9, min_p=0.1, seed=5, stop=("\n",))
    with ChatServer([words("Hi.")]) as server:
        assert await text_of(connect(server.url, token=TOKEN), sampling, schema=SCHEMA, user="u-123") == "Hi."
    schema = {"name": "reply", "strict": True, "schema": SCHEMA}
    assert server.bodies == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}],
            "response_format": {"type": "json_schema", "json_schema": schema},
            "stream": True,
            **sampling.model_dump(exclude={"deadline", "stop"}),
            "stop": ["\n"],
        }
    ]
    assert server.tokens == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize(
    ("refusals", "gone"),
    [
        (
            [refusal(400, {"error": {"message": "Unrecognized request arguments supplied: min_p, top_k"}})],
            "top_k min_p",
        ),
        ([refusal(422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]})], "seed"),
        ([refusal(400, {"error": {"message": "No.", "param": "temperature"}})] * 2, "temperature"),
    ],
)
async def test_what_a_server_does_not_know_is_left_out_from_then_on(
    connect: Connect, refusals: list[Answer], gone: str
):
    with ChatServer([*refusals[:1], words("Hi."), words("Hi.")]) as server:
        model = connect(server.url)
        assert [await text_of(model), await text_of(model)] == ["Hi.", "Hi."]
    assert [set(server.bodies[0]) - set(body) for body in server.bodies] == [
        set(),
        set(gone.split()),
        set(gone.split()),
    ]


async def test_a_schema_is_asked_for_in_each_form_once(connect: Connect):
    no = refusal(400, {"error": {"message": "This response_format type is unavailable now"}})
    with ChatServer([no, no, words("a"), words("b")]) as server:
        model = connect(server.url)
        assert [await text_of(model, schema=SCHEMA), await text_of(model, schema=SCHEMA)] == ["a", "b"]
    forms = [body.get("response_format") for body in server.bodies]
    assert [form and form["type"] for form in forms] == ["json_schema", "json_object", None, None]
    assert forms[1] == {"type": "json_object", "schema": SCHEMA}


async def test_a_limit_goes_by_the_name_that_the_server_wants(connect: Connect):
    no = refusal(400, {"error": {"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead."}})
    with ChatServer([no, words("Hi.")]) as server:
        assert await text_of(connect(server.url)) == "Hi."
    assert server.bodies[1].get("max_completion_tokens") == 20
    assert "max_tokens" not in server.bodies[1]


async def test_a_refusal_that_nothing_helps_against_is_an_error(connect: Connect):
    says = r"refused the request \(400\)\. It says: messages\[0\] is bad\."
    with ChatServer([refusal(400, {"error": "messages[0] is bad"})]) as server, pytest.raises(ModelError, match=says):
        await text_of(connect(server.url))
    assert len(server.bodies) == 1


async def test_nothing_is_kept_of_a_prompt(connect: Connect):
    with ChatServer() as server:
        assert await connect(server.url).keep(HELLO) == 0
    assert server.connections == []


async def test_one_connection_serves_answer_after_answer(connect: Connect):
    with ChatServer([words("a"), words("b")]) as server:
        model = connect(server.url)
        assert [await text_of(model), await text_of(model)] == ["a", "b"]
    assert len(server.connections) == 1


async def test_a_question_that_meets_a_closed_connection_is_sent_again(connect: Connect):
    with ChatServer([words("a"), Answer(ends="drop"), words("b")]) as server:
        model = connect(server.url)
        assert [await text_of(model), await text_of(model)] == ["a", "b"]
    assert server.bodies[1] == server.bodies[2]


# --- What comes in

WIDE = 'data: {"choices": [{"delta": {"content": "Crème “brûlée” 🍮"}}]}\n\n'.encode()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([event("a"), event("b"), *END], "ab"),
        ([b"".join([event("a"), event("b"), *END])], "ab"),
        ([bytes([byte]) for byte in WIDE + b"".join(END)], "Crème “brûlée” 🍮"),
        ([b"\xef\xbb\xbf" + event("a"), *END], "a"),
        ([(event("a") + b"".join(END)).replace(b"\n", b"\r\n")], "a"),
        ([bytes([byte]) for byte in (event("a") + b"".join(END)).replace(b"\n", b"\r\n")], "a"),
        ([(event("a") + b"".join(END)).replace(b"\n", b"\r")], "a"),
        ([b": ping\n\n", b"id: 7\n\n", b"event: message\nretry: 9\n" + event("a"), *END], "a"),
        ([b'data: {"choices":\ndata:  [{"delta": {"content": "a"}}]}\n\n', *END], "a"),
        ([event("a"), event("b", finish="length")], "ab"),
        ([event("a"), event(finish="stop"), b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n', DONE], "a"),
        ([b'data: {"choices": null}\n\n', event(None), event(""), event("a\u2028b\x0c"), *END], "a\u2028b\x0c"),
        ([b'data: {"choices": [{"index": 1, "delta": {"content": "x"}}]}\n\n', event("a"), *END], "a"),
    ],
)
async def test_events_are_read_by_the_letter(connect: Connect, pieces: list[bytes], text: str):
    with ChatServer([Answer(pieces)]) as server:
        assert await text_of(connect(server.url)) == text


async def test_a_piece_is_there_before_the_answer_is_done_and_closing_hangs_up(connect: Connect):
    with ChatServer([Answer([event("Hi")], ends="hang")]) as server:
        async with aclosing(pieces_of(connect(server.url))) as pieces:
            assert await anext(pieces) == "Hi"
            assert not server.gone.is_set()
        assert server.gone.wait(PATIENCE)


async def test_an_answer_that_is_done_survives_what_happens_after_it(connect: Connect):
    with ChatServer([Answer([event("Hi"), event(finish="stop")], ends="cut")]) as server:
        assert await text_of(connect(server.url)) == "Hi"


CUT = "broke off"


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer([event("Hi")], ends="cut"), AwayError, CUT),
        (Answer([event("Hi")]), AwayError, CUT),
        (Answer([event("Hi"), DONE]), AwayError, "--interrupt_requests false"),
        (Answer([event("Hi"), b"data: {oops\n\n"]), AwayError, "no chat completion: {oops."),
        (Answer([event("Hi"), b'data: {"error": {"message": "out of memory"}}\n\n']), AwayError, "out of memory."),
        (Answer([event("Hi"), b'data: {"error": "gone", "choices": []}\n\n']), AwayError, "gone."),
        (Answer([event("Hi"), b'data: {"error": {"code": 429, "message": "wait"}}\n\n']), BusyError, "wait."),
        (Answer([event("Hi"), b"data: " + json.dumps(TOO_LONG).encode() + b"\n\n"]), TooLongError, "8 tokens."),
        (Answer([event("Hi"), b"data: " + b"x" * 2**20]), AwayError, "limit"),
    ],
)
async def test_what_breaks_in_mid_answer_is_an_error_after_the_words_before_it(
    connect: Connect, answer: Answer, error: type[ModelError], says: str
):
    with ChatServer([answer]) as server:
        pieces = pieces_of(connect(server.url))
        assert await anext(pieces) == "Hi"
        with pytest.raises(error) as caught:
            await anext(pieces)
    assert says in str(caught.value)


async def test_a_server_that_hangs_up_before_a_word_is_asked_why(connect: Connect):
    answers = [Answer(ends="cut"), refusal(400, TOO_LONG)]
    with ChatServer(answers) as server, pytest.raises(TooLongError, match="8 tokens"):
        await text_of(connect(server.url))
    assert (server.bodies[1]["stream"], server.bodies[1]["max_tokens"]) == (False, 1)


async def test_an_answer_that_is_no_stream_is_said_to_be_none(connect: Connect):
    page = Answer([b"<html>"], content_type="text/html")
    with ChatServer([page, page]) as server, pytest.raises(AwayError, match="text/event-stream"):
        await text_of(connect(server.url))


# --- Refusals


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (refusal(401, {"error": f"bad key {TOKEN}"}), AwayError, "refuses the token (401). Set MODEL_TOKEN"),
        (refusal(403, {}), AwayError, "refuses the token (403). Set MODEL_TOKEN"),
        (refusal(404, {"error": {"message": "no such model"}}), ModelError, "'tiny'. It says: no such model. Set"),
        (refusal(400, {"error": {"code": "model_not_found"}}), ModelError, "one that it lists: tiny."),
        (refusal(400, TOO_LONG), TooLongError, "maximum context length is 8 tokens."),
        (refusal(400, {"error": "maximum context; lower max_completion_tokens"}), TooLongError, "lower max_completion"),
        (refusal(413, {}), TooLongError, "don't fit the chat model 'tiny'."),
        (refusal(429, {"error": "slow"}, Retry_After="20"), BusyError, "Ask again in 20 s. It says: slow."),
        (refusal(429, {"message": "slow"}), BusyError, "Ask again later. It says: slow."),
        (refusal(503, {}, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), BusyError, "Ask again later."),
        (refusal(503, {"error": {"message": "Loading model"}}), AwayError, "failed (503). It says: Loading model."),
        (Answer([b"<html>Bad gateway"], 502, "text/html"), AwayError, "failed (502). See its log."),
        (
            Answer([b"boom\x1b[31m\n\xff"], 500, "text/plain"),
            AwayError,
            "It says: boom [31m \N{REPLACEMENT CHARACTER}.",
        ),
        (refusal(418, {"error": f"{TOKEN} " + "a" * 999}), ModelError, "It says: … aaa"),
        (refusal(418, [1, {"msg": "two"}, None]), ModelError, "It says: 1; two; None."),
        (refusal(307, {}, Location="http://10.0.0.1/v1"), AwayError, "http://10.0.0.1/v1. Set FIRESIDE_MODEL_URL"),
    ],
)
async def test_each_refusal_says_what_to_do_and_never_the_token(
    connect: Connect, answer: Answer, error: type[ModelError], says: str
):
    with ChatServer([answer]) as server, pytest.raises(error) as caught:
        await text_of(connect(server.url, token=TOKEN))
    said = str(caught.value)
    assert says in said
    assert TOKEN not in said
    assert len(said) < 500
    assert not isinstance(caught.value, BusyError) or caught.value.position == 0


async def test_a_redirect_takes_no_token_elsewhere(connect: Connect):
    with ChatServer() as other:
        answer = refusal(307, {}, Location=other.url + "/v1/chat/completions")
        with ChatServer([answer]) as server, pytest.raises(AwayError, match="redirects elsewhere"):
            await text_of(connect(server.url, token=TOKEN))
    assert other.connections == []


# --- Away and late


async def test_a_dead_port_is_away(connect: Connect):
    model = connect(f"http://127.0.0.1:{closed_port()}/v1")
    for asked in (model.check(), text_of(model)):
        with pytest.raises(AwayError, match=r"can't be reached: .* Is it running"):
            await asked


async def test_a_server_that_comes_back_with_another_model_is_looked_at_again(connect: Connect):
    with ChatServer([words("a"), Answer([event("Hi")], ends="cut"), words("b")]) as server:
        model = connect(server.url)
        assert (await text_of(model), model.name) == ("a", "tiny")
        server.lists = {"/v1/models": models("bigger")}
        with pytest.raises(AwayError):
            await text_of(model)
        assert (await text_of(model), model.name) == ("b", "bigger")


async def test_a_model_that_is_gone_is_followed_by_the_one_in_its_place(connect: Connect):
    with ChatServer([words("a"), refusal(404, {"error": "no such model"}), words("b")]) as server:
        model = connect(server.url)
        assert await text_of(model) == "a"
        server.lists = {"/v1/models": models("bigger")}
        with pytest.raises(ModelError, match="no chat model 'tiny'"):
            await text_of(model)
        assert await text_of(model) == "b"
    assert [body["model"] for body in server.bodies] == ["tiny", "tiny", "bigger"]


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://" + "a" * 70])
async def test_a_host_that_can_be_none_is_away(connect: Connect, url: str):
    with pytest.raises(AwayError, match="FIRESIDE_MODEL_URL"):
        await connect(url).check()


async def test_a_server_without_tls_is_away_over_https(connect: Connect):
    with ChatServer() as server, pytest.raises(AwayError, match="can't be reached"):
        await connect(server.url.replace("http", "https")).check()


@pytest.mark.parametrize("answer", [Answer(ends="mute"), Answer([b": ping\n\n"], ends="hang")])
async def test_a_server_that_hangs_is_left_at_the_deadline(connect: Connect, answer: Answer):
    with ChatServer([answer]) as server:
        model = connect(server.url)
        await model.check()
        with pytest.raises(DeadlineError, match=r"'tiny' was not done in 0\.4 s"):
            await text_of(model, Sampling(deadline=0.4))
        assert server.gone.wait(PATIENCE)


async def test_the_deadline_counts_while_the_server_is_looked_for(connect: Connect):
    with ChatServer(lists={"/v1/models": Answer(ends="mute")}) as server, pytest.raises(DeadlineError):
        await text_of(connect(server.url), Sampling(deadline=0.05))


async def test_closing_the_model_ends_what_is_being_written(connect: Connect):
    with ChatServer([Answer([event("Hi")], ends="hang")]) as server:
        model = connect(server.url)
        pieces = pieces_of(model)
        assert await anext(pieces) == "Hi"
        rest = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        await model.close()
        with pytest.raises(ModelError, match="'tiny' was closed before it was done"):
            await rest
        assert server.gone.wait(PATIENCE)
        with pytest.raises(ModelError, match="'tiny' is closed"):
            await text_of(model)


# --- Finding the API and the model


@pytest.mark.parametrize(
    ("path", "found"), [("", "/v1"), ("/", "/v1"), ("/v1", "/v1"), ("/openai", "/openai"), ("/api/v3/", "/api/v3")]
)
async def test_the_api_is_found_with_v1_or_without(connect: Connect, path: str, found: str):
    page = Answer([b"<html>"], content_type="text/html")
    with ChatServer([words("Hi.")], {"/models": page, f"{found}/models": models("tiny")}) as server:
        assert await text_of(connect(server.url + path)) == "Hi."


@pytest.mark.parametrize("answer", [refusal(404, {}), models(), Answer([b"[]"]), Answer([b"<html>"])])
async def test_a_server_with_no_models_says_which_setting_to_look_at(connect: Connect, answer: Answer):
    with ChatServer(lists={"/v1/models": answer}) as server:
        model = connect(server.url)
        for _ in range(2):
            with pytest.raises(ModelError, match=r"[Ss]et FIRESIDE_"):
                await text_of(model)


async def test_the_model_is_the_first_that_the_server_lists_or_the_one_that_is_set(connect: Connect):
    listed = {"/v1/models": models("one", "two:latest")}
    with ChatServer([words("a"), words("b")], listed) as server:
        first, second = connect(server.url), connect(server.url, model="two")
        assert (await first.check(), await second.check()) == ("one", "two")
        assert (await text_of(first), await text_of(second)) == ("a", "b")
    assert [body["model"] for body in server.bodies] == ["one", "two"]
    assert (first.name, second.name) == ("one", "two")


async def test_a_model_that_the_server_lacks_is_named_with_those_that_it_has(connect: Connect):
    listed = {"/v1/models": models(*(f"m{i}" for i in range(10)))}
    says = r"no chat model 'm'.*lists: m0, m1.*, m7 and 2 more\."
    with ChatServer(lists=listed) as server, pytest.raises(ModelError, match=says):
        await connect(server.url, model="m").check()


async def test_questions_at_once_look_for_the_server_once(connect: Connect):
    with ChatServer([words("Hi.")] * 4) as server:
        model = connect(server.url)
        assert await asyncio.gather(*(text_of(model) for _ in range(4))) == ["Hi."] * 4
    assert server.gets == ["/v1/models"]


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://a/v1", "http:///v1", "http://a:b/", "http://a/v1?b", "http://a/#b", "http://[a/"],
)
def test_a_url_that_is_none_is_a_configuration_error(url: str):
    with pytest.raises(ConfigError, match="FIRESIDE_MODEL_URL is '"):
        RemoteModel(url)


def test_a_password_in_the_url_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="holds a user or password") as caught:
        RemoteModel(f"https://me:{TOKEN}@example.com/v1")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["two words", "sésame", "a\nb"])
def test_a_token_that_is_none_is_refused_and_not_shown(token: str):
    with pytest.raises(ConfigError, match="MODEL_TOKEN") as caught:
        RemoteModel("http://127.0.0.1", token=token)
    assert token not in str(caught.value)


def test_white_space_around_a_token_does_no_harm():
    assert RemoteModel("http://127.0.0.1:8000", token=f" {TOKEN}\n").name == "127.0.0.1:8000"
