"""Consumers of one selector keep out of each other's way, and pass nothing over."""

import pytest

from shared.bus.lanes import Lanes


@pytest.fixture
def bus(place):
    made = place.bus("consumer")
    made.send_many([made.compose("work.EU", {"n": n}) for n in range(300)])
    return made


def numbers(found):
    return [message.body["n"] for message in found]


def claim(bus, found):
    return bus.queue.claim(found, bus.policy, "token")


def test_whoever_is_alone_reads_at_the_front_and_reaches_farther_each_time(bus):
    lanes, seen = Lanes(bus.queue), []
    while True:
        found, is_all = lanes.look("work.EU", 200)
        claim(bus, found)
        lanes.claimed("work.EU", found, lost=0)
        seen.append(numbers(found))
        if is_all:
            break
    assert [len(each) for each in seen] == [16, 32, 64, 128, 60]
    assert [n for each in seen for n in each] == list(range(300))


def test_whoever_loses_moves_to_a_lane_of_its_own_and_comes_back_to_the_front(bus):
    lanes = Lanes(bus.queue)
    front, _ = lanes.look("work.EU", 200)
    lanes.claimed("work.EU", front, lost=len(front))
    lane, is_all = lanes.look("work.EU", 200)
    assert not is_all
    assert numbers(lane) != numbers(front)
    assert numbers(lane) == list(range(lane[0].body["n"], lane[0].body["n"] + len(lane)))
    handled = set()
    for _ in range(60):
        found, is_all = lanes.look("work.EU", 200)
        claim(bus, found)
        lanes.claimed("work.EU", found, lost=0)
        handled |= set(numbers(found))
        if is_all:
            break
    assert handled == set(range(300))


def test_whoever_sees_that_another_was_at_the_front_reaches_for_few_at_first(place, bus):
    lanes = Lanes(bus.queue)
    found, _ = lanes.look("work.EU", 200)
    claim(bus, found)
    lanes.claimed("work.EU", found, lost=0)
    claim(place.bus("another"), bus.queue.ready("work.EU", 20))
    assert numbers(lanes.look("work.EU", 200)[0]) == list(range(36, 40))
    assert len(lanes.look("work.EU", 200)[0]) == 32, "nobody else took what comes next: all is as before"


def test_whoever_meets_another_in_its_lane_moves_on_to_a_new_one_without_reaching(place, bus):
    lanes = Lanes(bus.queue)
    front, _ = lanes.look("work.EU", 200)
    lanes.claimed("work.EU", front, lost=len(front))
    lane, _ = lanes.look("work.EU", 200)
    claim(bus, lane)
    behind = [each for each in bus.queue.ready("work.EU", 300) if each.body["n"] > lane[-1].body["n"]]
    claim(place.bus("another"), behind[:5])
    following, _ = lanes.look("work.EU", 200)
    assert not {lane[-1].body["n"] + n for n in range(1, 6)} & set(numbers(following))


def test_whoever_is_in_company_reaches_up_to_a_gap(place, bus):
    lanes = Lanes(bus.queue)
    first, _ = lanes.look("work.EU", 200)
    lanes.claimed("work.EU", first, lost=1)  # so it is not alone
    claim(bus, first)
    another = place.bus("another")
    claim(another, [each for each in bus.queue.ready("work.EU", 300) if 20 <= each.body["n"] < 280])
    assert numbers(lanes.look("work.EU", 200)[0]) == list(range(16, 20))
    alone = Lanes(bus.queue)
    assert len(alone.look("work.EU", 200)[0]) == 16, "whoever is alone minds no gap"


def test_what_is_left_at_last_is_reached_for_however_few(bus):
    lanes = Lanes(bus.queue)
    found, _ = lanes.look("work.EU", 200)
    lanes.claimed("work.EU", found, lost=1)  # so it is not alone
    claim(bus, bus.queue.ready("work.EU", 290))
    few, is_all = lanes.look("work.EU", 200)
    assert (numbers(few), is_all) == ([290, 291, 292, 293], False)
    claim(bus, few)
    rest, is_all = lanes.look("work.EU", 200)
    assert (numbers(rest), is_all) == (list(range(294, 300)), True)


def test_two_that_reach_for_the_same_lose_little_and_leave_nothing(place, bus):
    consumers = [place.bus(f"consumer{number}") for number in range(3)]
    lanes = [Lanes(each.queue) for each in consumers]
    done = set()
    for _ in range(200):
        reached = [each.look("work.EU", 64)[0] for each in lanes]  # all look before any claims
        for consumer, lane, found in zip(consumers, lanes, reached, strict=True):
            if found:
                mine, others = claim(consumer, found)
                lane.claimed("work.EU", found, lost=len(others))
                assert not done & set(numbers(mine))
                done |= set(numbers(mine))
    assert done == set(range(300))
    assert sum(each.queue.conflicts for each in consumers) < 300
