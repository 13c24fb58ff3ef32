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
        agenda.fetch(name, "work.EU", at_s)
    agenda.fetch("d", "work.NA", 1.0)
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
    agenda.fetch("a", "work.EU", 9.0)
    agenda.fetch("a", "work.EU", 2.0)
    agenda.fetch("a", "work.EU", 5.0)
    assert agenda.take_ids(2.0, anywhere) == ["a"]


def test_it_refuses_more_than_it_can_keep_but_not_what_it_has():
    agenda = Agenda()
    assert all(agenda.fetch(str(number), "work.EU", 1.0) for number in range(2000))
    assert not agenda.fetch("one more", "work.EU", 1.0)
    assert agenda.fetch("7", "work.EU", 0.5)


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
    agenda.fetch("a", "full", 1.0)
    agenda.look_through("full")
    assert agenda.next_s(lambda selector, lapsed: selector != "full") == 60.0


def test_what_lapsed_is_told_apart():
    agenda = Agenda()
    agenda.fetch("a", "work.EU", 1.0, lapsed=True)
    agenda.fetch("b", "work.EU", 1.0)
    assert agenda.take_ids(1.0, lambda selector, lapsed: not lapsed) == ["b"]
    assert agenda.next_s(lambda selector, lapsed: not lapsed) == 0.0  # the survey
    assert agenda.take_ids(1.0, anywhere) == ["a"]
