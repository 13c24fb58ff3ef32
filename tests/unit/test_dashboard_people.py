"""Who may log in: the file of people, sessions, attempts, and under which addresses the dashboard may be asked."""

from __future__ import annotations

import io
import json
import stat

import pytest

from dashboard.sessions import FORM_S, IDLE_S, LONGEST_S, Attempts, Sessions
from drw import cli
from shared.errors import BadInput
from shared.origins import Origins, origin
from shared.people import People

PASSWORD = "countess of lovelace"


@pytest.fixture
def people(tmp_path):
    return People(tmp_path / "home" / "people")


def test_a_person_gets_in_with_the_password_and_with_no_other(people):
    assert people.names() == []
    assert not people.check("ada", PASSWORD)
    assert people.add("ada", PASSWORD)
    assert people.check("ada", PASSWORD)
    assert not people.check("ada", PASSWORD + " ")
    assert not people.check("Ada", PASSWORD)
    mark = people.mark("ada")
    assert not people.add("ada", "another password")
    assert people.mark("ada") != mark
    assert not people.check("ada", PASSWORD)
    assert people.remove("ada")
    assert not people.remove("ada")
    assert people.mark("ada") == ""


def test_a_password_is_the_same_however_it_was_composed(people):
    people.add("ada", "caf\u00e9 au lait")
    assert people.check("ada", "cafe\u0301 au lait")


def test_the_file_is_for_its_owner_alone_and_has_no_password(people):
    people.add("ada", PASSWORD)
    people.add("bob", PASSWORD)
    assert stat.S_IMODE(people.path.stat().st_mode) == 0o600
    text = people.path.read_text()
    assert PASSWORD not in text
    assert people._read().people["ada"].hash != people._read().people["bob"].hash
    assert [each.name for each in people.path.parent.iterdir()] == ["people"]


def test_a_file_that_others_may_read_is_refused_with_what_to_do(people):
    people.add("ada", PASSWORD)
    people.path.chmod(0o640)
    with pytest.raises(BadInput, match="chmod 600"):
        people.check("ada", PASSWORD)


@pytest.mark.parametrize("content", ["", "ada:secret", '{"people": {"ada": 7}}', '{"people": {"ada": {"salt": "zz"}}}'])
def test_a_file_that_is_none_is_said(people, content):
    people.add("ada", PASSWORD)
    people.path.write_text(content)
    with pytest.raises(BadInput, match="is no file of people"):
        people.names()


@pytest.mark.parametrize(
    ("name", "password"), [("", PASSWORD), ("a b", PASSWORD), ("a" * 65, PASSWORD), ("ada", "short")]
)
def test_names_and_passwords_that_cannot_be_used(people, name, password):
    with pytest.raises(BadInput):
        people.add(name, password)
    assert not people.path.exists()


def test_the_operator_adds_lists_and_removes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRW_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert cli.main(["people", "add", "ada"]) == 0
    assert cli.main(["people", "list"]) == 0
    assert "ada" in capsys.readouterr().out.splitlines()
    assert People(tmp_path / "people").check("ada", PASSWORD)
    assert cli.main(["people", "remove", "ada"]) == 0
    assert cli.main(["people", "remove", "ada"]) == 2
    assert "there is no 'ada'" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert cli.main(["people", "add", "ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "ada", "added": True}
    assert cli.main(["people", "remove", "ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "ada", "removed": True}
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli.main(["people", "add", "bob"]) == 2
    assert "a password has" in capsys.readouterr().err


# Sessions


class Now:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


def test_a_session_is_found_by_its_cookie_alone_and_ends_by_itself():
    now = Now()
    sessions = Sessions(now)
    cookie = sessions.begin("ada", "mark")
    found = sessions.find(cookie)
    assert (found.name, found.mark) == ("ada", "mark")
    assert found.token not in cookie
    assert sessions.find(cookie + "x") is None
    now.s += IDLE_S
    assert sessions.find(cookie) is found
    now.s += IDLE_S + 1
    assert sessions.find(cookie) is None


def test_a_page_that_fetches_itself_keeps_no_session_alive():
    now = Now()
    sessions = Sessions(now)
    cookie = sessions.begin("ada", "mark")
    for _ in range(3):
        now.s += IDLE_S / 2
        found = sessions.find(cookie, is_use=False)
    assert found is None


def test_no_session_lasts_for_ever():
    now = Now()
    sessions = Sessions(now)
    cookie = sessions.begin("ada", "mark")
    while now.s < LONGEST_S:
        assert sessions.find(cookie)
        now.s += IDLE_S
    now.s += 1
    assert sessions.find(cookie) is None


def test_a_session_can_be_ended():
    sessions = Sessions(Now())
    cookie, other = sessions.begin("ada", ""), sessions.begin("bob", "")
    sessions.end(cookie)
    sessions.end("nothing")
    assert sessions.find(cookie) is None
    assert sessions.find(other).name == "bob"


def test_a_login_form_is_good_for_a_while_and_cannot_be_made_up():
    now = Now()
    sessions = Sessions(now)
    token = sessions.form_token()
    assert sessions.is_form_token(token)
    assert not sessions.is_form_token("9" + token)
    assert not Sessions(now).is_form_token(token)
    for strange in ("", ".", "x.y", "ü.ü", "9.", "\x00"):
        assert not sessions.is_form_token(strange)
    now.s += FORM_S + 1
    assert not sessions.is_form_token(token)


def test_attempts_are_slowed_down_more_and_more_for_whom_they_concern():
    now = Now()
    attempts = Attempts(now, free=3)
    waits = []
    for _ in range(12):
        waits.append(attempts.wait_s("ada", "10.0.0.1"))
        attempts.begin("ada", "10.0.0.1")
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert attempts.wait_s("ada", "10.0.0.2") == attempts.wait_s("bob", "10.0.0.1") == 0
    now.s += 60
    assert attempts.wait_s("ada", "10.0.0.1") == 0
    attempts.passed("ada", "10.0.0.1")
    attempts.begin("ada", "10.0.0.1")
    assert attempts.wait_s("ada", "10.0.0.1") == 0


def test_attempts_take_no_more_room_for_a_longer_name():
    attempts = Attempts(Now(), free=1)
    for name in ("ada", "x" * 1_000_000, "\udcff", "ada', 'b"):
        attempts.begin(name, "10.0.0.1")
        assert attempts.wait_s(name, "10.0.0.1") == 1
    assert attempts.wait_s("ada", "b', '10.0.0.1") == 0
    assert max(len(str(key)) for key in attempts._failed) < 200


# Addresses


@pytest.mark.parametrize(
    ("host", "serves"),
    [
        ("localhost:5000", True),
        ("LOCALHOST", True),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("192.0.2.7:5000", True),
        ("drw.example.org", True),
        ("drw.example.org:8443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:5000", False),
        ("127.0.0.1@evil.example", False),
        ("evil.example@127.0.0.1", False),
        ("", False),
        ("[", False),
        ("localhost/x", False),
        ("localhost:port", False),
    ],
)
def test_names_of_others_are_not_served(host, serves):
    assert Origins(["https://drw.example.org"]).serves(host) is serves


@pytest.mark.parametrize(
    ("host", "sent_from", "fetch_site", "is_own"),
    [
        ("localhost:5000", "http://localhost:5000", "same-origin", True),
        ("localhost:5000", "http://localhost:5000", "", True),
        ("localhost:5000", "", "same-origin", True),
        ("localhost:80", "http://localhost", "", True),
        ("drw.example.org", "https://drw.example.org", "same-origin", True),
        ("localhost:5000", "http://localhost:8001", "same-site", False),
        ("localhost:5000", "http://localhost:8001", "", False),
        ("localhost:5000", "https://localhost:5000", "", False),
        ("localhost:5000", "http://127.0.0.1:5000", "cross-site", False),
        ("localhost:5000", "http://localhost:5000", "cross-site", False),
        ("localhost:5000", "null", "", False),
        ("localhost:5000", "", "", False),
        ("localhost:5000", "", "none", False),
        ("localhost:5000", "http://localhost:5000.evil.example", "", False),
        ("localhost:5000", "http://[", "", False),
    ],
)
def test_only_pages_of_ours_may_change_something(host, sent_from, fetch_site, is_own):
    assert Origins(["https://drw.example.org"]).is_own(host, sent_from, fetch_site) is is_own


def test_cookies_are_for_https_alone_where_browsers_use_it():
    known = Origins(["https://drw.example.org:443/", "http://drw.example.org:8080"])
    assert known.is_secure("drw.example.org")
    assert not known.is_secure("drw.example.org:8080")
    assert not known.is_secure("localhost:5000")


@pytest.mark.parametrize(
    "text", ["", "drw.example.org", "ftp://x", "https://", "https://x/y", "https://a@b", "http://["]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(BadInput, match="write it like https"):
        origin(text)
