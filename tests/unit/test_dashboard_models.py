"""What the dashboard keeps from the feeds: the board, the flow, the post, the events; and what it draws of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import drawing
from dashboard.board import Board, card_of
from dashboard.flow import DAY, HOUR, Flow
from dashboard.post import Post
from dashboard.stream import Stream
from shared import lifecycle


def entity(number=0, state="Processing", at="2026-11-20T10:00:00.000000", history=None, **more):
    return {
        "_id": f"uid___X1_X1_X{number}",
        "entityId": f"uid://X1/X1/X{number}",
        "progID": "2015.1.00657.S",
        "state": state,
        "executive": "EU",
        "recipe": "PipelineCalibration",
        "timestamp": at,
        "history": history if history is not None else [{"at": at, "state": state, "note": ""}],
        **more,
    }


def hour(number, minute=0):
    return f"2026-11-20T{number:02}:{minute:02}:00.000000"


# The board


def test_a_card_knows_since_when_it_is_in_its_state():
    doc = entity(state="Processing", at=hour(12), history=[])
    doc["history"] = [
        {"at": hour(9), "state": "ReadyForProcessing"},
        {"at": hour(10), "state": "Processing", "substate": "one"},
        {"at": hour(11), "state": "Processing", "substate": "two"},
    ]
    assert card_of(doc).since == hour(10)


@pytest.mark.parametrize("doc", [{"_id": "a"}, {"_id": "a", "state": [], "history": "x"}, {"_id": "a", "history": [1]}])
def test_a_strange_entity_has_a_card_all_the_same(doc):
    assert card_of(doc).state == "(no state)"


def test_a_board_tells_moves_and_only_those():
    board = Board()
    assert board.put("a", entity()).card.state == "Processing"
    assert board.put("a", entity()) is None
    assert board.put("a", entity(state="Verified")).card.state == "Verified"
    assert (board.counts()["Processing"], board.counts()["Verified"]) == (0, 1)
    assert board.put("a", None).card is None
    assert len(board) == 0
    assert board.put("a", None) is None


def test_a_state_that_is_unknown_here_has_a_column_of_its_own():
    board = Board()
    board.put("a", entity(state="Archived"))
    assert list(board.counts()) == [*lifecycle.STATES, "Archived"]


def test_who_waits_for_a_launch_needs_a_human_until_it_is_launched():
    board = Board()
    board.put("a", entity(1, state="ReadyForProcessing"))
    assert board.needs()["ReadyForProcessing"] == 1
    (move,) = board.launched(frozenset({"uid://X1/X1/X1"}))
    assert move.card.need == ""
    assert board.needs()["ReadyForProcessing"] == 0
    assert board.launched(frozenset())[0].card.need == "launch it"


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([*lifecycle.STATES, None]), st.integers(0, 23))))
def test_counts_pages_and_needs_agree_however_cards_move(moves):
    board, known = Board(), {}
    for number, state, at in moves:
        doc = entity(number, state=state, at=hour(at)) if state else None
        board.put(f"uid___X1_X1_X{number}", doc)
        known[number] = state
    for state, count in board.counts().items():
        assert count == sum(each == state for each in known.values())
        cards, total = board.page(state, 100)
        assert total == count == len(cards)
        assert [card.since for card in cards] == sorted((card.since for card in cards), reverse=True)
    assert sum(board.needs().values()) == sum(bool(card.need) for card in board.find(lifecycle.STATES))


def test_nobody_changes_a_board_while_it_is_looked_through():
    board, others = Board(), ThreadPoolExecutor(1)

    class Known(set):
        def __contains__(self, doc_id):
            assert not others.submit(board._lock.acquire, blocking=False).result()
            return super().__contains__(doc_id)

    for number in range(3):
        board.put(str(number), entity(number))
    assert [move.id for move in board.keep_only(Known({"0"}))] == ["1", "2"]
    others.shutdown()


def test_search_takes_parts_of_uid_program_and_executive():
    board = Board()
    for number in range(3):
        board.put(f"uid___X1_X1_X{number}", entity(number, state="Delivered"))
    assert board.page("Delivered", 10, "x1/x2 2015 eu")[1] == 1
    assert board.page("Delivered", 10, "x1/x9") == ([], 0)


def test_a_card_whose_launch_was_taken_back_is_not_said_to_be_launched():
    board, note = Board(), [{"at": hour(1), "state": "ReadyForProcessing", "note": "launched: first light"}]
    board.put("a", entity(state="ReadyForProcessing", history=note))
    for launched, shown in ((frozenset({"uid://X1/X1/X0"}), ("launched", "")), (frozenset(), ("", "launch it"))) * 2:
        board.launched(launched)
        ((card,), _) = board.page("ReadyForProcessing", 1)
        assert (card.note, card.need) == shown


@pytest.mark.parametrize("query", ["", "2015"])
def test_a_column_goes_on_behind_a_card_wherever_that_is_by_now(query):
    board = Board()
    for number in range(5):
        board.put(f"uid___X1_X1_X{number}", entity(number, state="Delivered", at=hour(number // 2)))
    whole, total = board.page("Delivered", 10, query)
    assert ([card.id[-1] for card in whole], total) == (["4", "3", "2", "1", "0"], 5)
    last = whole[1]
    assert board.page("Delivered", 2, query, behind=(last.since, last.id)) == (whole[2:4], 5)
    board.put(last.id, entity(3, state="Processing"))
    assert board.page("Delivered", 2, query, behind=(last.since, last.id)) == (whole[2:4], 4)
    assert board.page("Delivered", 2, query, behind=(whole[4].since, whole[4].id)) == ([], 4)


# The flow


def test_the_flow_counts_entries_and_stays_once():
    flow = Flow()
    first = [{"at": hour(1), "state": "Processing"}, {"at": hour(2), "state": "ReadyForReview"}]
    flow.put(entity(history=first))
    flow.put(entity(history=first))
    flow.put(entity(history=[*first, {"at": hour(5), "state": "Reviewing"}]))
    assert flow.entered(HOUR)["2026-11-20T01"] == {"Processing": 1}
    assert flow.entered(DAY) == {"2026-11-20": {"Processing": 1, "ReadyForReview": 1, "Reviewing": 1}}
    stays = {stay.state: stay for stay in flow.stays()}
    assert (stays["ReadyForReview"].count, stays["ReadyForReview"].median_s) == (1, 3 * 3600)
    assert stays["Reviewing"].count == 0
    assert flow.total("Processing") == 1


def test_a_change_of_substate_is_no_new_state():
    flow = Flow()
    flow.put(entity(history=[{"at": hour(1), "state": "Verified"}, {"at": hour(2), "state": "Verified"}]))
    assert flow.total("Verified") == 1


def test_the_flow_passes_over_what_is_no_entry():
    flow = Flow()
    flow.put(entity(history=[{"at": "noon", "state": "Verified"}, {"state": 3}, {"at": hour(1)}, 7]))
    assert flow.entered() == {}


def test_deciles_are_of_all_who_left():
    flow = Flow()
    for number in range(11):
        flow.put(
            entity(number, history=[{"at": hour(0), "state": "Verified"}, {"at": hour(number), "state": "Delivered"}])
        )
    stay = next(each for each in flow.stays() if each.state == "Verified")
    assert (stay.count, stay.median_s, stay.p90_s) == (11, 5 * 3600, 9 * 3600)


NOW = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)


@pytest.mark.parametrize("at", ["20261120T234000", "2026-11-20T23:40", "0001-01-01T00:40:00.000000"])
def test_a_time_in_another_form_counts_in_its_hour(at):
    flow = Flow()
    flow.put(entity(at=at))
    hours, days = (drawing.bars("Processing", flow.entered(unit), NOW, by_day=unit == DAY) for unit in (HOUR, DAY))
    assert (hours.total, days.total) == ((0, 0) if at.startswith("0001") else (1, 1))
    assert hours.last == "2026-11-20 23:00"


def test_a_time_that_is_still_to_come_hides_nothing_of_what_was():
    flow = Flow()
    flow.put(entity(at="2126-11-20T10:00:00.000000"))
    flow.put(entity(1, at=hour(22)))
    chart = drawing.bars("Processing", flow.entered(), NOW, by_day=False)
    assert (chart.total, chart.last) == (1, "2026-11-20 23:00")


# The pictures


def test_hours_in_which_nothing_happened_have_their_place():
    flow = Flow()
    flow.put(entity(history=[{"at": hour(1), "state": "Verified"}]))
    flow.put(entity(1, history=[{"at": hour(5), "state": "Verified"}]))
    chart = drawing.bars("Verified", flow.entered(), NOW, by_day=False)
    assert len(chart.bars) == 2
    assert chart.bars[1].x - chart.bars[0].x == 4 * 12
    assert (chart.total, chart.most, chart.last) == (2, 1, "2026-11-20 23:00")


def test_nothing_is_drawn_of_nothing():
    chart = drawing.bars("Verified", {}, NOW, by_day=True)
    assert (chart.bars, chart.total, chart.last) == ([], 0, "2026-11-20")
    assert all(span.p90 == 0 for span in drawing.stays(Flow().stays()))


def test_one_entry_beside_ten_thousand_can_still_be_seen():
    flow = Flow()
    for number in range(10_000):
        flow.put(entity(number, history=[{"at": hour(1), "state": "Verified"}]))
    flow.put(entity(10_000, history=[{"at": hour(2), "state": "Verified"}]))
    chart = drawing.bars("Verified", flow.entered(), NOW, by_day=False)
    assert [bar.height for bar in chart.bars] == [60, 2]


def test_a_life_is_drawn_to_scale_to_now():
    at = [datetime(2026, 11, 20, each, tzinfo=UTC) for each in (0, 1, 2, 4)]
    changes = [("Processing", at[0]), ("Processing", at[1]), ("ReadyForReview", at[2])]
    found = drawing.stretches(changes, at[3])
    assert [(each.state, each.start, each.length, each.words) for each in found] == [
        ("Processing", 0.0, 50.0, "2 h 0 min"),
        ("ReadyForReview", 50.0, 50.0, "2 h 0 min"),
    ]
    assert drawing.stretches([], at[0]) == []
    (backward,) = drawing.stretches([("Processing", at[3])], at[0])  # a clock that was set
    assert (backward.start, backward.length) == (0.0, 0.0)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3_000))))
def test_a_life_stays_within_its_picture(changes):
    begun = datetime(2026, 11, 20, tzinfo=UTC)
    made = [(state, begun + timedelta(hours=hours)) for state, hours in changes]
    for each in drawing.stretches(made, begun + timedelta(hours=1500)):
        assert 0 <= each.start <= 100
        assert 0 <= each.length <= 100.01 - each.start


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (30, "30 s"), (130, "2 min"), (3700, "1 h 1 min"), (90000, "1 d 1 h")],
)
def test_spans_in_words(seconds, words):
    assert drawing.duration(seconds) == words


# The events


def test_who_was_away_gets_what_was_missed():
    stream = Stream()
    stream.publish("moves", {"n": 1})
    seen = stream.position
    stream.publish("moves", {"n": 2})
    events, position = stream.after(seen)
    assert len(events) == 1
    assert b'data: {"n":2}' in events[0]
    assert position == stream.position
    assert stream.after(position) == ([], position)


@pytest.mark.parametrize("position", ["", "elsewhere-1", "x", "-", "9" * 400])
def test_who_was_elsewhere_begins_anew(position):
    stream = Stream()
    stream.publish("moves", {})
    events, _ = stream.after(position)
    assert b"event: reload" in events[0]


def test_who_was_away_for_too_long_begins_anew():
    stream = Stream(kept=3)
    early = stream.position
    for _ in range(4):
        stream.publish("moves", {})
    assert b"event: reload" in stream.after(early)[0][0]
    assert len(stream.after(f"{early.partition('-')[0]}-1")[0]) == 3
    assert b"event: reload" in stream.after(f"{early.partition('-')[0]}-5")[0][0]


def test_an_event_is_one_however_its_text_breaks():
    stream = Stream()
    begun = stream.position
    stream.publish("moves", {"note": "one\ntwo\r\n\ndata: three"})
    assert stream.after(begun)[0][0].count(b"\n") == 4


# The post


def message(number, state="ready", selector="ingest.JAO", minute=0, **more):
    return {
        "_id": f"{selector}:{number}:abc",
        "selector": selector,
        "state": state,
        "creationTimestamp": hour(10, minute),
        "body": {"ousUID": f"uid://X1/X1/X{number}"},
        **more,
    }


class Now:
    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


@pytest.fixture
def post():
    made = Post(Now())
    made.now = made._now_s
    return made


def put(post, doc):
    post.put(doc["_id"], doc)


def test_messages_are_counted_by_selector_and_state(post):
    for number, state in enumerate(("ready", "ready", "delayed", "claimed", "dead", "consumed")):
        put(post, message(number, state))
    (row,) = post.rows()
    assert row.counts == {"ready": 2, "delayed": 1, "claimed": 1, "dead": 1}
    assert (row.open, row.settled, post.total("dead")) == (4, 1, 1)
    put(post, message(0, "claimed"))
    put(post, message(4, "ready"))
    post.put("ingest.JAO:1:abc", None)
    assert post.rows()[0].counts == {"ready": 1, "delayed": 1, "claimed": 2, "dead": 0}


def test_the_oldest_is_that_of_the_open_ones(post):
    for number in range(5):
        put(post, message(number, minute=number))
    assert post.rows()[0].oldest == hour(10, 0)
    put(post, message(0, "dead", minute=0))
    put(post, message(1, "consumed", minute=1))
    post.put("ingest.JAO:2:abc", None)
    assert post.rows()[0].oldest == hour(10, 3)
    put(post, message(0, "ready", minute=0))
    assert post.rows()[0].oldest == hour(10, 0)


def test_a_lease_that_is_renewed_for_days_takes_no_more_room(post):
    for minute in range(1000):
        put(post, message(0, "claimed", due=hour(11, minute % 60)))
    assert len(post._boxes["ingest.JAO"]._ages) == 1


def test_the_rate_is_of_the_last_five_minutes(post):
    post.now.s += 600
    for number in range(10):
        put(post, message(number, "consumed"))
    assert post.rows()[0].rate == pytest.approx(2.0)
    post.now.s += 290
    assert post.rows()[0].rate == pytest.approx(2.0)
    post.now.s += 20
    assert (post.rows()[0].rate, post.rows()[0].settled) == (0.0, 10)


def test_what_was_acted_on_is_not_shown_as_it_was_and_is_counted_when_the_feed_tells(post):
    put(post, message(0, "dead"))
    put(post, message(1, "dead"))
    known = post.known(["ingest.JAO:0:abc", "ingest.JAO:1:abc", "ingest.JAO:9:abc"])
    assert len(known) == 2
    put(post, message(1, "ready"))  # the feed was quicker
    post.drop(known)
    assert post.rows()[0].counts == {"ready": 1, "delayed": 0, "claimed": 0, "dead": 0}
    put(post, message(0, "consumed"))
    assert post.rows()[0].settled == 1


def test_a_whole_reading_takes_the_place_of_what_was_known(post):
    for number in range(3):
        put(post, message(number))
    kept = post.find({"ready"})[1:]
    post.begin(kept)
    assert post.find() == kept
    assert post.rows()[0].counts["ready"] == 2


def test_pauses_and_indexes_are_no_messages(post):
    post.put("control:pause:cached.*", {"_id": "control:pause:cached.*", "state": "ready"})
    post.put("_design/ready", {"_id": "_design/ready"})
    assert post.rows() == []


def test_messages_are_found_by_selector_state_and_ous(post):
    put(post, message(1, minute=5))
    put(post, message(2, "dead", minute=1))
    put(post, message(3, selector="cached.EU"))
    assert [each.ous[-2:] for each in post.find()] == ["X3", "X2", "X1"]
    assert [each.ous[-2:] for each in post.find({"dead"}, selector="ingest.JAO")] == ["X2"]
    assert post.find(selector="nothing.here") == []
    assert len(post.find(ous="uid://X1/X1/X3")) == 1
    assert post.launched(["cached.EU", "nothing"]) == {"uid://X1/X1/X3"}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ready", "claimed", "dead", "consumed", None]))))
def test_counts_are_true_however_messages_change(changes):
    post, known = Post(Now()), {}
    for number, state in changes:
        doc = message(number, state) if state else None
        post.put(f"ingest.JAO:{number}:abc", doc)
        known[number] = state
    for state in ("ready", "claimed", "dead"):
        assert post.total(state) == sum(each == state for each in known.values()) == len(post.find({state}))


def test_what_is_kept_of_ages_is_bounded_by_what_is_open(post):
    put(post, message(0, "delayed"))
    for number in range(1, 5000):
        put(post, message(number, "ready"))
        put(post, message(number, "consumed"))
    (box,) = post._boxes.values()
    assert len(box._ages) < 1100
    put(post, message(5001, "ready"))
    (row,) = post.rows()
    assert row.oldest == message(0, "delayed")["creationTimestamp"]
