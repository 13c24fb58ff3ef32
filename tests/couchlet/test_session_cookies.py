"""Session cookies: how they are set, when they are renewed, and where a login may lead."""

from __future__ import annotations

import hashlib
import re
import time

import pytest

from couchlet.auth.authenticator import Authenticator
from couchlet.auth.lockout import Lockout
from couchlet.auth.sessions import cookie_header, make_cookie

LOGIN = {"name": "admin", "password": "secret"}


def test_a_login_says_when_its_cookie_ends(server):
    header = server.ask("POST", "/_session", LOGIN, auth=None).headers["set-cookie"]
    date = r"[A-Z][a-z]{2}, \d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d GMT"
    assert re.fullmatch(rf"AuthSession=\S+; Version=1; Expires={date}; Max-Age=600; Path=/; HttpOnly;.*", header)
    assert "Expires=Thu, 01-Jan-1970 00:10:00 GMT" in cookie_header("x", 0)


def test_a_fresh_cookie_is_not_renewed(server):
    cookie = server.ask("POST", "/_session", LOGIN, auth=None).headers["set-cookie"].split(";")[0]
    for path in ("/_session", "/_all_dbs", "/none"):
        assert "set-cookie" not in server.ask("GET", path, headers={"Cookie": cookie}, auth=None).headers


@pytest.mark.parametrize(("age_s", "is_old"), [(0, False), (50, False), (70, True), (590, True)])
def test_a_cookie_is_renewed_when_a_tenth_of_its_life_is_over(age_s, is_old):
    authenticator = Authenticator(
        admin="admin", password="secret", secret="s", look_up=lambda _: None, lockout=Lockout(enforced=False)
    )
    salt = hashlib.sha256(b"secret").hexdigest()
    user = authenticator.from_cookie(make_cookie("s", salt, "admin", time.time() - age_s))
    assert user is not None
    assert (user.name, user.has_old_cookie) == ("admin", is_old)


@pytest.mark.parametrize("page", ["http://evil/", "x", "", "javascript:alert(1)"])
def test_a_login_leads_to_a_path_only(server, page):
    wrong = {**LOGIN, "password": "wrong", "name": f"nobody-{len(page)}"}
    for answer in (
        server.ask("POST", f"/_session?next={page}", LOGIN, auth=None),
        server.ask("POST", f"/_session?fail={page}", wrong, auth=None),
        server.ask("DELETE", f"/_session?next={page}", auth=None),
    ):
        assert (answer.status, answer.json()["reason"]) == (400, "path must begin with a /.")
        assert "location" not in answer.headers
