"""The agenda: nothing that is noted while it is read gets lost."""

from shared.bus.agenda import Agenda


def anywhere(selector, lapsed=False):
    return True


def test_a_survey_that_is_asked_for_while_one_is_made_is_another_one():
    agenda = Agenda()
    assert agenda.take_survey(1.0)
    agenda.survey_by(0.0)  # the feed broke meanwhile
    agenda.survey_by(60.0)  # the survey is over
    assert agenda.next_s(anywhere) == 0.0
    assert agenda.take_survey(1.0)
    assert not agenda.take_survey(1.0)


def test_messages_are_fetched_at_their_time_and_as_long_as_there_is_room():
    agenda = Agenda()
    for name, at_s in (("a", 1.0), ("b", 5.0), ("c", 2.0)):
        agenda.fetch(name, "work.EU", 0.0, priority=5, in_s=at_s)
    agenda.fetch("d", "work.NA", 0.0, priority=5, in_s=1.0)
    left = [1]

    def one(selector, lapsed):
        if selector != "work.EU":
            return False
        left[0] -= 1
        return left[0] >= 0

    assert agenda.take_ids(3.0, one) == ["a"]
    assert agenda.take_ids(3.0, lambda selector, lapsed: selector == "work.EU") == ["c"]
    assert agenda.take_ids(3.0, anywhere) == ["d"]
    assert agenda.take_ids(9.0, anywhere) == ["b"]


def test_the_earlier_of_two_times_counts():
    agenda = Agenda()
    agenda.fetch("a", "work.EU", 0.0, priority=5, in_s=9.0)
    agenda.fetch("a", "work.EU", 0.0, priority=5, in_s=2.0)
    agenda.fetch("a", "work.EU", 0.0, priority=5, in_s=5.0)
    assert agenda.take_ids(2.0, anywhere) == ["a"]


def test_what_there_is_no_note_left_for_is_found_by_a_survey_in_time():
    agenda = Agenda()
    agenda.take_survey(0.0)
    agenda.survey_by(60.0)
    for number in range(500):
        agenda.fetch(str(number), "work.EU", 0.0, priority=5, in_s=9.0)
    agenda.fetch("one more", "work.EU", 0.0, priority=5, in_s=7.0)
    agenda.fetch("elsewhere", "work.NA", 0.0, priority=5, in_s=8.0)
    assert agenda.next_s(anywhere) == 7.0
    assert agenda.take_ids(8.0, anywhere) == ["elsewhere"]
    agenda.fetch("7", "work.EU", 0.0, priority=5, in_s=0.5)
    assert agenda.take_ids(8.0, anywhere) == ["7"]
    assert len(agenda.take_ids(9.0, anywhere)) == 499


def test_new_messages_are_fetched_where_there_is_room_for_all_of_them():
    agenda = Agenda()
    agenda.fetch_new("a", "work.EU", 0.0)
    agenda.fetch_new("b", "work.EU", 0.0)
    assert agenda.take_ids(0.0, anywhere) == ["a", "b"]
    assert agenda.take_selectors(anywhere) == []


def test_of_new_messages_that_do_not_all_find_room_the_index_says_whose_turn_it_is():
    agenda, left = Agenda(), [2]
    for name in "abc":
        agenda.fetch_new(name, "work.EU", 0.0)

    def two(selector, lapsed):
        left[0] -= 1
        return left[0] >= 0

    agenda.take_survey(0.0)
    assert agenda.take_ids(0.0, two) == []
    assert agenda.take_selectors(anywhere) == ["work.EU"]
    assert agenda.next_s(anywhere) == 1.0, "one of them may be delayed: the survey tells"
    agenda.look_through("work.EU")
    agenda.fetch_new("d", "work.EU", 0.0)
    assert agenda.take_ids(0.0, anywhere) == [], "what is looked through anyhow need not be fetched"
    assert agenda.take_selectors(anywhere) == ["work.EU"]


def test_a_flood_of_new_messages_is_one_selector_to_look_through():
    agenda = Agenda()
    for number in range(501):
        agenda.fetch_new(str(number), "work.EU", 0.0)
    assert agenda.take_selectors(anywhere) == ["work.EU"]


def test_selectors_go_round():
    agenda = Agenda()
    for selector in ("a", "b", "c"):
        agenda.look_through(selector)
    assert agenda.take_selectors(lambda selector: selector != "b") == ["a", "c"]
    agenda.look_through("a")
    assert agenda.take_selectors(anywhere) == ["b", "a"]


def test_what_has_no_room_is_not_waited_for():
    agenda = Agenda()
    agenda.take_survey(0.0)
    agenda.survey_by(60.0)
    agenda.fetch("a", "full", 0.0, priority=5, in_s=1.0)
    agenda.look_through("full")
    assert agenda.next_s(lambda selector, lapsed: selector != "full") == 60.0


def test_what_lapsed_is_told_apart():
    agenda = Agenda()
    agenda.fetch("a", "work.EU", 0.0, priority=5, in_s=1.0, lapsed=True)
    agenda.fetch("b", "work.EU", 0.0, priority=5, in_s=1.0)
    assert agenda.take_ids(1.0, lambda selector, lapsed: not lapsed) == ["b"]
    assert agenda.next_s(lambda selector, lapsed: not lapsed) == 0.0  # the survey
    assert agenda.take_ids(1.0, anywhere) == ["a"]


def test_what_is_due_waits_for_what_is_ready_and_more_urgent():
    agenda = Agenda()
    for name, priority in {"later": 7, "urgent": 0, "equal": 5}.items():
        agenda.fetch(name, "work.EU", 0.0, priority=priority)
    agenda.fetch("lapsed", "work.EU", 0.0, priority=9, lapsed=True)
    assert agenda.due(0.0) == {"work.EU": 0}
    assert agenda.take_ids(0.0, anywhere, ready={"work.EU": 5}) == ["urgent", "equal", "lapsed"]
    assert agenda.take_ids(0.0, anywhere, ready={"work.NA": 5}) == ["later"]
