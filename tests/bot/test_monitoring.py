"""Health and metrics: over a real port of this machine, and in the registry."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.host import Asker, Host, Refusal
from bot.limits import Limits
from bot.monitoring import Health, Metrics, Speed, monitored, sample
from bot.store import Store
from persona.errors import ConfigError, InputError, PassageIndexError
from persona.pipeline import Answered
from persona.settings import Settings, load_settings
from persona.types import Question, Reason, Timings, Trace
from tests.bot.replies import reply
from tests.bot.scripted import Scripted
from tests.persona.corpora import assert_sentence

local = pytest.mark.allow_hosts(["127.0.0.1"])
ANN = Asker("discord", "ann", "g1", "c1")
ASKED = "What is said of the lamp?"


def settings(port: int | None = 0) -> Settings:
    return load_settings({"monitor_port": port}, environ={}, places=[])


def host_of(fireside: object, store: Store, **named: Any) -> Host:
    return Host(fireside, store, **named)  # pyright: ignore[reportArgumentType]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await Store.open(tmp_path / "store")
    yield made
    await made.close()


class Got(NamedTuple):
    status: int
    body: str
    type: str


async def get(port: int | None, path: str, method: str = "GET", **headers: str) -> Got:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{port}{path}", headers=headers) as response,
    ):
        return Got(response.status, await response.text(), response.content_type)


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The samples of a scrape: name → labels → value."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found.setdefault(each.name, {})[tuple(sorted(each.labels.items()))] = each.value
    return found


async def ask(host: Host) -> None:
    async for _ in host.answer(Question(text=ASKED, id="m1"), ANN):
        pass


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"fireside_{name}", labels)


async def test_without_a_port_nothing_listens_and_nothing_is_measured(store: Store):
    metrics, health = Metrics(), Health()
    async with monitored(settings(None), metrics, health) as port:
        assert port is None
        assert len(asyncio.all_tasks()) == 1


@local
async def test_it_is_alive_before_it_is_ready_and_says_what_is_lacking(store: Store):
    health = Health()
    async with monitored(settings(), Metrics(), health) as port:
        assert (await get(port, "/healthz")).status == 200
        unready = await get(port, "/readyz")
        assert (unready.status, unready.type) == (503, "application/json")
        assert '"persona": "not opened yet"' in unready.body
        assert '"platform": "not connected yet"' in unready.body
        health.down("persona", "its index is being built")
        assert "being built" in (await get(port, "/readyz")).body
        health.opened(host_of(Scripted(), store))
        health.up("platform")
        assert await get(port, "/readyz") == (200, '{"state": "ready"}', "application/json")
        health.down("platform", "the connection broke")
        lost = await get(port, "/readyz")
        assert (lost.status, "persona" in lost.body, "the connection broke" in lost.body) == (503, False, True)
        assert (await get(port, "/healthz")).status == 200


@local
async def test_a_queue_in_which_nothing_moves_is_no_longer_healthy(store: Store):
    times, scripted, health = [0.0], Scripted(), Health(stuck=300.0)
    scripted.gate.clear()
    host = host_of(scripted, store, clock=lambda: times[-1])
    health.opened(host)
    async with monitored(settings(), Metrics(), health) as port:
        asking = asyncio.create_task(ask(host))
        async with asyncio.timeout(5):
            while not scripted.asked:
                await asyncio.sleep(0)
        times.append(300.0)
        assert (await get(port, "/healthz")).status == 200
        times.append(301.0)
        stuck = await get(port, "/healthz")
        assert stuck.status == 503
        assert "1 being answered and 0 waiting, and nothing moved for 301 s" in stuck.body
        scripted.gate.set()
        await asking
        assert (await get(port, "/healthz")).status == 200


@local
async def test_a_scrape_tells_what_was_asked_and_names_nobody(store: Store):
    metrics, health = Metrics(), Health()
    scripted = Scripted()
    host = host_of(scripted, store, limits=Limits(per_user="1/minute"), observer=metrics)
    async with monitored(settings(), metrics, health) as port:
        assert "fireside_ready 0.0" in (await get(port, "/metrics")).body
        health.opened(host)
        health.up("platform")
        await ask(host)
        await ask(host)
        text = (await get(port, "/metrics")).body
    found = samples(text)
    labels = {"platform": "discord", "decision": "answer", "reason": "supported", "voice": "quotes"}
    assert found["fireside_questions_total"] == {tuple(sorted(labels.items())): 1.0}
    assert found["fireside_refusals_total"] == {(("platform", "discord"), ("why", "too_fast")): 1.0}
    assert found["fireside_queue_running"] == {(): 0.0}
    assert found["fireside_queue_room"] == {(): 256.0}
    assert found["fireside_ready"] == {(): 1.0}
    (build,) = found["fireside_build_info"]
    assert {"persona": "ilya", "corpus": scripted.corpus.fingerprint, "threshold": "0.75"}.items() <= dict(
        build
    ).items()
    assert not {"fireside_model_tokens_total", "fireside_model_tokens_per_second"} & found.keys()
    assert not [word for word in (ASKED, "lamp", '"ann"', '"g1"', '"c1"', '"m1"') if word in text]


@local
async def test_the_speed_of_a_chat_model_in_this_process_is_measured(store: Store):
    scripted, metrics, health = Scripted(pieces=("",)), Metrics(), Health()
    scripted.writer.model.load = lambda: SimpleNamespace(running=2, waiting=1, cells=512, decoded=4096)
    health.opened(host_of(scripted, store))
    async with monitored(settings(), metrics, health) as port:
        found = samples((await get(port, "/metrics")).body)
    assert [found[f"fireside_model_{name}"][()] for name in ("running", "waiting", "cells", "tokens_total")] == [
        2.0,
        1.0,
        512.0,
        4096.0,
    ]
    assert found["fireside_model_tokens_per_second"] == {(): 0.0}


@local
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/healthz", 200),
        ("HEAD", "/readyz", 503),
        ("HEAD", "/metrics", 200),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/healthz/../metrics2", 404),
        ("POST", "/healthz", 404),
        ("DELETE", "/metrics", 404),
    ],
)
async def test_three_paths_are_served_and_nothing_else(method: str, path: str, status: int):
    async with monitored(settings(), Metrics(), Health()) as port:
        got = await get(port, path, method)
        assert (got.status, bool(got.body)) == (status, method != "HEAD")


@local
async def test_a_scrape_speaks_openmetrics_where_it_is_asked_to():
    async with monitored(settings(), Metrics(), Health()) as port:
        got = await get(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert (got.type, got.body[-6:]) == ("application/openmetrics-text", "# EOF\n")
        assert (await get(port, "/metrics")).type == "text/plain"


@local
async def test_a_port_in_use_is_one_sentence_with_the_exit_code_of_a_wrong_setting():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(ConfigError) as caught:
            async with monitored(settings(port), Metrics(), Health()):
                pass
    assert_sentence(caught.value, str(port), "already in use", "FIRESIDE_MONITOR_PORT")
    assert caught.value.exit_code == 2
    assert len(asyncio.all_tasks()) == 1


@local
async def test_it_can_be_started_again_after_it_ended():
    metrics, health = Metrics(), Health()
    for _ in range(2):
        async with monitored(settings(), metrics, health) as port:
            assert (await get(port, "/metrics")).status == 200


def test_each_step_that_a_reply_took_is_measured_in_seconds():
    metrics = Metrics()
    made = reply(Reason.NOT_STATED, timings_ms=Timings(retrieve=20.0, decide=4000.0, verify=0.5))
    metrics.answered(Answered(made, Trace()), "slack", waited=0.2, seconds=4.3)
    assert [value(metrics, "step_seconds_sum", step=s) for s in ("retrieve", "decide", "compose", "verify")] == [
        0.02,
        4.0,
        None,  # nothing was composed
        0.0005,
    ]
    assert value(metrics, "reply_seconds_sum", platform="slack") == 4.3
    assert value(metrics, "queue_seconds_sum", platform="slack") == 0.2


def test_an_outage_is_told_by_name_and_a_mistake_of_ours_as_a_bug():
    metrics = Metrics()
    for error in (PassageIndexError("gone"), KeyError("ann"), ValueError("lamp")):
        metrics.failed("discord", error)
    assert value(metrics, "failures_total", platform="discord", error="PassageIndexError") == 1
    assert value(metrics, "failures_total", platform="discord", error="bug") == 2


@pytest.mark.parametrize(
    "words", [[f"k{'x' * n}" for n in range(31)], [f"user {n}" for n in range(99)], ["Ünique", ""]]
)
def test_what_callers_pass_makes_no_endless_series(words: list[str]):
    metrics = Metrics()
    for word in words:
        metrics.platform_error("discord", word)
        metrics.refused(word, Refusal.FULL)
    for name in ("platform_errors", "refusals"):
        series = [s for f in metrics.registry.collect() if f.name == f"fireside_{name}" for s in f.samples]
        totals = [s for s in series if s.name.endswith("_total")]
        assert len(totals) <= 25
        assert sum(s.value for s in totals) == len(words)


def test_two_metrics_share_nothing():
    first, second = Metrics(), Metrics()
    first.reloaded(True)
    first.reloaded(False)
    assert value(first, "reloads_total", outcome="applied") == value(first, "reloads_total", outcome="refused") == 1
    assert value(second, "reloads_total", outcome="applied") is None


async def test_the_lag_is_by_how_much_a_timer_is_late(store: Store):
    # Each sleep takes what it should, and then this much more.
    late = [0.0, 0.004, 3.0]
    times, metrics, health, speed = [0.0], Metrics(), Health(), Speed()
    decoded = iter([100, 100, 400])
    scripted = Scripted(pieces=("",))
    scripted.writer.model.load = lambda: SimpleNamespace(decoded=next(decoded))
    health.opened(host_of(scripted, store))

    async def sleep(seconds: float) -> None:
        if not late:
            raise InputError("enough")
        times.append(times[-1] + seconds + late.pop(0))

    with pytest.raises(InputError):
        await sample(health, metrics, speed, every=0.25, clock=lambda: times[-1], sleep=sleep)
    assert value(metrics, "event_loop_lag_seconds_sum") == pytest.approx(3.004)
    assert [value(metrics, "event_loop_lag_seconds_bucket", le=le) for le in ("0.001", "0.005", "5.0")] == [1, 2, 3]
    assert speed.per_second == pytest.approx(300 / (0.254 + 3.25))


def test_the_speed_is_that_of_the_last_seconds():
    speed = Speed(window=10.0)
    assert speed.per_second == 0.0
    for at in range(20):
        speed.note(float(at), 10 * at)
    assert speed.per_second == pytest.approx(10.0)
    for at in range(20, 40):
        speed.note(float(at), 190)
    assert speed.per_second == 0.0
    speed.note(40.0, 5)  # another model
    assert speed.per_second == 0.0
