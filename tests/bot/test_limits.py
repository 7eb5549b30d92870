from __future__ import annotations

import threading

import pytest

from bot.limits import Limits


class Clock:
    """Seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_user_may_ask_as_often_as_the_limit_says_and_then_has_to_wait(clock: Clock):
    limits = Limits(per_user="2/minute", clock=clock)
    assert [limits.hit("u1", "c1") for _ in range(3)] == [0.0, 0.0, 60.0]
    assert limits.hit("u2", "c1") == 0.0


def test_who_waits_as_long_as_told_may_ask_and_not_before(clock: Clock):
    limits = Limits(per_user="1/minute", clock=clock)
    limits.hit("u1", "c1")
    clock.now += 20
    wait = limits.hit("u1", "c1")
    assert wait == 40.0
    clock.now += wait - 1
    assert limits.hit("u1", "c1") == 1.0
    clock.now += 1
    assert limits.hit("u1", "c1") == 0.0


def test_a_question_that_was_refused_does_not_count(clock: Clock):
    limits = Limits(per_user="9/minute", per_channel="1/minute", overall="2/minute", clock=clock)
    limits.hit("u1", "c1")
    for _ in range(20):
        assert limits.hit("u1", "c1") > 0
    assert limits.hit("u1", "c2") == 0.0


def test_a_channel_and_all_together_have_their_own_limits(clock: Clock):
    limits = Limits(per_channel="2/minute", overall="3/minute", clock=clock)
    assert [limits.hit(f"u{n}", "c1") > 0 for n in range(3)] == [False, False, True]
    assert limits.hit("u4", "c2") == 0.0
    assert limits.hit("u5", "c3") == 60.0


def test_the_longest_of_several_waits_is_told(clock: Clock):
    limits = Limits(per_user="1/hour", overall="1/minute", clock=clock)
    limits.hit("u1", "c1")
    assert limits.hit("u1", "c1") == 3600.0


def test_a_user_and_a_channel_of_one_name_are_two(clock: Clock):
    limits = Limits(per_user="1/minute", per_channel="1/minute", clock=clock)
    limits.hit("7", "8")
    assert limits.hit("8", "7") == 0.0


def test_the_window_moves_so_that_no_burst_fits_across_its_edge(clock: Clock):
    limits = Limits(per_user="2/minute", clock=clock)
    for seconds in (0, 50):
        clock.now = 1000.0 + seconds
        assert limits.hit("u1", "c1") == 0.0
    clock.now = 1061.0
    assert limits.hit("u1", "c1") == 0.0
    assert limits.hit("u1", "c1") == 49.0


def test_those_who_have_gone_are_forgotten_and_no_thread_is_started(clock: Clock):
    limits = Limits(overall="100000/minute", clock=clock)
    before = threading.active_count()
    for number in range(500):
        limits.hit(f"u{number}", f"c{number}")
    clock.now += 61
    limits.hit("u", "c")
    assert limits.remembered == 3
    assert threading.active_count() == before


def test_a_limit_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="often"):
        Limits(per_user="often")
