"""Consumers of one selector keep out of each other's way, and pass nothing over."""

import pytest
from troubles import asks

from shared.bus import lanes as lanes_of
from shared.bus.lanes import Lanes
from shared.errors import DatabaseAway


@pytest.fixture
def bus(place):
    made = place.bus("consumer")
    made.send_many([made.compose("work.EU", {"n": n}) for n in range(300)])
    return made


def numbers(found):
    return [message.body["n"] for message in found]


def claim(bus, found):
    return bus.queue.claim(found, bus.policy, "token")


def first(bus, count, since=0):
    """Return the first ready messages from a number on."""
    ready = bus.queue.fetch(place.id for place in bus.queue.ready("work.EU", 300))
    return [message for message in ready if message.body["n"] >= since][:count]


def consume(lanes, bus, room=200, selector="work.EU"):
    """Look and claim until nothing is left; return what each look found."""
    seen = []
    for _ in range(60):
        found, is_all = lanes.look(selector, room)
        others = claim(bus, found).others
        lanes.claimed(selector, found, lost=len(others))
        seen.append(numbers(found))
        if is_all:
            return seen
    raise AssertionError(f"there is no end to it: {seen}")


def test_whoever_is_alone_reads_at_the_front_in_order_and_farther_each_time(bus):
    seen = consume(Lanes(bus.queue), bus)
    assert [len(each) for each in seen] == [16, 32, 64, 16, 172]
    assert [n for each in seen for n in each] == list(range(300))


def test_what_was_read_in_the_index_serves_several_looks(place, proxy, bus, monkeypatch):
    monkeypatch.setattr(lanes_of, "_BELIEVED_S", 60.0)
    consumer = place.bus("consumer", through=proxy)
    seen = consume(Lanes(consumer.queue), consumer, room=8)
    assert [n for each in seen for n in each] == list(range(300))
    assert len(proxy.requests(asks("/_find"))) == 2, "one for each time that it reads farther"


def test_what_was_read_is_not_believed_for_long(bus, monkeypatch):
    lanes = Lanes(bus.queue)
    monkeypatch.setattr(lanes_of, "_BELIEVED_S", 0.0)
    claim(bus, lanes.look("work.EU", 4)[0])
    bus.send("work.EU", {"n": "urgent"}, priority=0)
    assert numbers(lanes.look("work.EU", 2)[0]) == ["urgent", 4]


def test_nor_after_a_new_message_was_heard_of(bus, monkeypatch):
    lanes = Lanes(bus.queue)
    monkeypatch.setattr(lanes_of, "_BELIEVED_S", 60.0)
    claim(bus, lanes.look("work.EU", 4)[0])
    bus.send("work.EU", {"n": "urgent"}, priority=0)
    lanes.doubt("work.EU")
    assert numbers(lanes.look("work.EU", 2)[0]) == ["urgent", 4]


def test_what_others_took_since_it_was_read_is_not_reached_for(place, bus, monkeypatch):
    lanes = Lanes(bus.queue)
    monkeypatch.setattr(lanes_of, "_BELIEVED_S", 60.0)
    claim(bus, lanes.look("work.EU", 4)[0])
    claim(place.bus("another"), first(bus, 1, since=5))
    assert numbers(lanes.look("work.EU", 4)[0]) == [4, 6, 7]


def test_nor_what_is_ours_already(bus):
    ours = {message.id for message in first(bus, 3)}
    assert numbers(Lanes(bus.queue, holds=ours.__contains__).look("work.EU", 5)[0]) == [3, 4]


def test_whoever_loses_moves_to_a_lane_of_its_own_and_comes_back_to_the_front(bus):
    lanes = Lanes(bus.queue)
    front, _ = lanes.look("work.EU", 200)
    lanes.claimed("work.EU", front, lost=len(front))
    lane, is_all = lanes.look("work.EU", 20)
    assert not is_all
    assert numbers(lane) != numbers(front)
    assert numbers(lane) == list(range(lane[0].body["n"], lane[0].body["n"] + len(lane)))
    claim(bus, lane)
    handled = {n for each in consume(lanes, bus) for n in each}
    assert handled == set(range(300)) - set(numbers(lane))


def test_whoever_meets_another_moves_on_to_a_new_lane(place, bus, monkeypatch):
    lanes = Lanes(bus.queue)
    claim(bus, lanes.look("work.EU", 16)[0])
    assert numbers(lanes.look("work.EU", 1)[0]) == [16]
    claim(place.bus("another"), first(bus, 10, since=19))
    assert numbers(lanes.look("work.EU", 14)[0]) == [17, 18], "what follows, the other is about to take"
    monkeypatch.setattr(lanes_of, "_between", lambda oldest, newest: newest)
    assert numbers(lanes.look("work.EU", 12)[0]) == [299]


def test_whoever_meets_another_near_the_end_knows_that_it_has_not_seen_all(place, bus):
    another = place.bus("another")
    claim(another, first(bus, 284))
    lanes = Lanes(bus.queue)
    claim(bus, lanes.look("work.EU", 4)[0])
    claim(another, first(bus, 10)[2:])
    found, is_all = lanes.look("work.EU", 16)
    assert (numbers(found), is_all) == ([288, 289], False)
    claim(bus, found)
    assert sorted(n for each in consume(lanes, bus) for n in each) == [298, 299]


def in_a_lane(lanes, bus, monkeypatch):
    """Have a consumer read in a lane of its own, from the hundredth message on."""
    monkeypatch.setattr(lanes_of.random, "randint", lambda low, high: low)
    monkeypatch.setattr(lanes_of, "_between", lambda oldest, newest: first(bus, 1, since=100)[0].creation_timestamp)
    found, _ = lanes.look("work.EU", 16)
    lanes.claimed("work.EU", found, lost=16)
    found, _ = lanes.look("work.EU", 8)
    assert numbers(found) == list(range(100, 108))
    claim(bus, found)


def test_who_reads_in_a_lane_goes_on_where_it_was_when_what_was_read_is_old(bus, monkeypatch):
    lanes = Lanes(bus.queue)
    in_a_lane(lanes, bus, monkeypatch)
    monkeypatch.setattr(lanes_of, "_BELIEVED_S", 0.0)
    for begin in range(108, 148, 8):
        found, _ = lanes.look("work.EU", 8)
        assert numbers(found) == list(range(begin, begin + 8))
        claim(bus, found)


def test_who_reads_in_a_lane_comes_to_what_is_more_urgent(bus, monkeypatch):
    monkeypatch.setattr(lanes_of, "_BELIEVED_S", 0.0)
    lanes = Lanes(bus.queue)
    in_a_lane(lanes, bus, monkeypatch)
    bus.send("work.EU", {"n": "urgent"}, priority=0)
    assert numbers(lanes.look("work.EU", 1)[0]) == ["urgent"]


def test_what_could_not_be_read_is_passed_over_by_nobody(bus, monkeypatch):
    lanes = Lanes(bus.queue)
    claim(bus, lanes.look("work.EU", 4)[0])
    fetch = bus.queue.fetch_readable
    monkeypatch.setattr(bus.queue, "fetch_readable", fail)
    with pytest.raises(DatabaseAway):
        lanes.look("work.EU", 4)
    monkeypatch.setattr(bus.queue, "fetch_readable", fetch)
    assert numbers(lanes.look("work.EU", 4)[0]) == [4, 5, 6, 7]


def fail(_):
    raise DatabaseAway("for a test")


def test_of_what_is_left_at_last_whoever_is_in_company_takes_a_part(bus):
    claim(bus, first(bus, 234))
    lanes = Lanes(bus.queue)
    found, _ = lanes.look("work.EU", 200)
    claim(bus, found)
    lanes.claimed("work.EU", found, lost=1)  # so it is not alone
    few, is_all = lanes.look("work.EU", 200)
    assert (len(few), is_all) == (16, False)
    claim(bus, few)
    rest = [n for each in consume(lanes, bus) for n in each]
    assert sorted([*numbers(few), *rest]) == list(range(250, 300))


def test_what_is_past_its_time_takes_no_room(bus):
    bus.send_many([bus.compose("late.EU", {"n": n}, expires_s=0) for n in range(40)])
    bus.send_many([bus.compose("late.EU", {"n": n}) for n in range(40, 44)])
    seen = consume(Lanes(bus.queue), bus, room=2, selector="late.EU")
    assert [n for each in seen for n in each] == list(range(44))
    assert len(seen) < 6
    assert max(sum(n >= 40 for n in each) for each in seen) == 2


def test_two_that_reach_for_the_same_lose_little_and_leave_nothing(place, bus):
    consumers = [place.bus(f"consumer{number}") for number in range(3)]
    lanes = [Lanes(each.queue) for each in consumers]
    done = set()
    for _ in range(200):
        reached = [each.look("work.EU", 64)[0] for each in lanes]  # all look before any claims
        for consumer, lane, found in zip(consumers, lanes, reached, strict=True):
            if found:
                mine, others, _ = claim(consumer, found)
                lane.claimed("work.EU", found, lost=len(others))
                assert not done & set(numbers(mine))
                done |= set(numbers(mine))
    assert done == set(range(300))
    assert sum(each.queue.conflicts for each in consumers) < 300
