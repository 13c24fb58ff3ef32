"""Who may do what: a test for each right."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from couchdb_server import start_couchlet

from couchlet.auth.lockout import Lockout
from couchlet.errors import CouchError

EVA = ("eva", "top-secret")
OTTO = ("otto", "also-secret")


def user(name: str, password: str | None, roles: tuple[str, ...] = ()) -> dict:
    return {"name": name, "password": password, "roles": list(roles), "type": "user"}


@pytest.fixture(scope="module")
def people(server):
    """Two users, one of them with a role."""
    for (name, password), roles in ((EVA, ("ops",)), (OTTO, ())):
        path = f"/_users/org.couchdb.user:{name}"
        assert server.ask("PUT", path, user(name, password, roles)).status in {201, 409}


@pytest.fixture
def shared(server, database, people):
    """A database that eva administrates by her role, and of which otto is a member."""
    security = {"admins": {"names": [], "roles": ["ops"]}, "members": {"names": ["otto"], "roles": []}}
    assert server.ask("PUT", f"{database}/_security", security).status == 200
    server.ask("PUT", f"{database}/doc", {"a": 1})
    return database


def status(server, method, path, body=None, auth=None) -> int:
    return server.ask(method, path, body, auth=auth).status


class TestNobody:
    def test_may_greet_and_ask_for_life_and_ids(self, server):
        assert [status(server, "GET", path) for path in ("/", "/_up", "/_uuids", "/_session")] == [200] * 4

    @pytest.mark.parametrize("path", ["/_all_dbs", "/_dbs_info", "/_active_tasks", "/_membership", "/_node/_local"])
    def test_may_not_see_the_server(self, server, path):
        assert status(server, "GET", path) == 401

    def test_may_not_use_a_new_database(self, server, database):
        assert status(server, "GET", database) == 401
        assert status(server, "PUT", f"{database}/x", {}) == 401
        assert status(server, "GET", f"{database}/_changes") == 401

    def test_may_not_make_or_delete_databases(self, server, database):
        assert status(server, "PUT", "/mine") == 401
        assert status(server, "DELETE", database) == 401

    def test_may_use_a_database_without_members(self, server, database):
        assert server.ask("PUT", f"{database}/_security", {}).status == 200
        assert status(server, "PUT", f"{database}/x", {}) == 201
        assert status(server, "GET", f"{database}/x") == 200
        assert status(server, "PUT", f"{database}/_security", {}) == 500
        assert status(server, "PUT", f"{database}/_design/x", {}) == 401


class TestMember:
    def test_may_read_and_write_documents(self, server, shared):
        assert status(server, "GET", f"{shared}/doc", auth=OTTO) == 200
        assert status(server, "PUT", f"{shared}/new", {}, OTTO) == 201
        assert status(server, "POST", f"{shared}/_find", {"selector": {}}, OTTO) == 200
        assert status(server, "GET", f"{shared}/_security", auth=OTTO) == 200

    @pytest.mark.parametrize(
        ("request_line", "body", "expected"),
        [
            (("PUT", "/_security"), {}, (500, "error")),
            (("PUT", "/_revs_limit"), 10, (500, "badmatch")),
            (("PUT", "/_design/x"), {}, (403, "forbidden")),
            (("PUT", "/_design/x/a.txt"), {}, (403, "forbidden")),
            (("POST", ""), {"_id": "_design/x"}, (403, "forbidden")),
            (("POST", "/_compact"), {}, (401, "unauthorized")),
            (("POST", "/_view_cleanup"), {}, (401, "unauthorized")),
            (("POST", "/_purge"), {}, (401, "unauthorized")),
            (("PUT", "/_purged_infos_limit"), 10, (401, "unauthorized")),
        ],
    )
    def test_may_not_administrate(self, server, shared, request_line, body, expected):
        """The statuses are CouchDB's."""
        method, path = request_line
        answer = server.ask(method, shared + path, body, auth=OTTO)
        assert (answer.status, answer.json()["error"]) == expected

    def test_may_not_make_an_index(self, server, shared):
        answer = server.ask("POST", f"{shared}/_index", {"index": {"fields": ["a"]}}, auth=OTTO)
        assert (answer.status, answer.json()["error"]) == (500, "error_saving_ddoc")

    def test_may_not_write_design_documents_in_bulk(self, server, shared):
        rows = server.ask("POST", f"{shared}/_bulk_docs", {"docs": [{"_id": "_design/x"}, {"_id": "y"}]}, auth=OTTO)
        assert [row.get("error") for row in rows.json()] == ["forbidden", None]

    def test_may_not_see_other_databases(self, server, database, people):
        assert status(server, "GET", database, auth=OTTO) == 403

    def test_readers_are_members_where_there_are_none(self, server, database, people):
        readers = {"readers": {"names": ["eva"]}}
        assert server.ask("PUT", f"{database}/_security", readers).status == 200
        assert status(server, "GET", database, auth=OTTO) == 403
        assert status(server, "GET", database, auth=None) == 401
        assert status(server, "GET", database, auth=EVA) == 200
        assert server.ask("PUT", f"{database}/_security", {**readers, "members": {}}).status == 200
        assert status(server, "GET", database, auth=OTTO) == 200

    @pytest.mark.parametrize(("method", "name"), [("POST", "_purge"), ("GET", "_purged_infos_limit")])
    def test_of_what_is_for_server_administrators_nobody_else_hears(self, server, database, people, method, name):
        assert status(server, method, f"{database}/{name}", auth=OTTO) == 401


class TestDatabaseAdministrator:
    def test_may_administrate(self, server, shared):
        assert status(server, "PUT", f"{shared}/_revs_limit", 50, EVA) == 200
        assert status(server, "PUT", f"{shared}/_design/x", {"language": "query"}, EVA) == 201
        assert status(server, "POST", f"{shared}/_index", {"index": {"fields": ["a"]}}, EVA) == 200
        assert status(server, "POST", f"{shared}/_compact", {}, EVA) == 202
        security = {"admins": {"roles": ["ops"]}, "members": {"names": ["nobody"]}}
        assert status(server, "PUT", f"{shared}/_security", security, EVA) == 200
        assert status(server, "GET", shared, auth=OTTO) == 403

    def test_may_not_purge_nor_delete_the_database(self, server, shared):
        assert status(server, "POST", f"{shared}/_purge", {}, EVA) == 401
        assert status(server, "DELETE", shared, auth=EVA) == 401
        assert status(server, "PUT", "/evas", auth=EVA) == 401


class TestUsers:
    def test_passwords_are_kept_as_hashes(self, server, people):
        document = server.ask("GET", "/_users/org.couchdb.user:eva").json()
        assert "password" not in document
        assert document["password_scheme"] == "pbkdf2"
        assert document["iterations"] >= 600_000
        assert EVA[1] not in str(document)

    def test_a_wrong_password_is_refused(self, server, people):
        assert status(server, "GET", "/_session", auth=("eva", "wrong")) == 401
        assert status(server, "GET", "/_session", auth=("nobody", "x")) == 401

    @pytest.mark.parametrize("path", ["", "/_design_docs", "/org.couchdb.user:eva", "/_security", "/_purged_infos"])
    def test_only_server_administrators_see_users(self, server, people, path):
        assert status(server, "GET", f"/_users{path}", auth=EVA) == 403
        assert status(server, "GET", f"/_users{path}") == 401
        assert server.ask("GET", f"/_users{path}").status == 200

    @pytest.mark.parametrize("path", ["/_all_docs", "/_changes", "/_all_docs/queries"])
    def test_lists_of_users_are_an_administrators_matter_first(self, server, people, path):
        for auth in (EVA, None):
            answer = server.ask("GET", f"/_users{path}", auth=auth)
            assert (answer.status, answer.json()["reason"]) == (401, "You are not a server admin.")
        assert status(server, "POST", "/_users/_purge", {}, EVA) == 403

    def test_only_server_administrators_search_or_change_users(self, server, people):
        assert status(server, "POST", "/_users/_find", {"selector": {}}, EVA) == 403
        assert status(server, "POST", "/_users/_bulk_get", {"docs": [{"id": "x"}]}, EVA) == 403
        assert status(server, "PUT", "/_users/org.couchdb.user:eva", user("eva", "mine", ("_admin",)), EVA) == 403
        assert status(server, "PUT", "/_users/org.couchdb.user:new", user("new", "x")) == 401

    def test_the_rights_to_users_cannot_be_changed(self, server):
        assert server.ask("PUT", "/_users/_security", {}).status == 403

    def test_a_new_password_replaces_the_old_one(self, server):
        path = "/_users/org.couchdb.user:mia"
        revision = server.ask("PUT", path, user("mia", "old")).json()["rev"]
        assert status(server, "GET", "/_session", auth=("mia", "old")) == 200
        assert server.ask("PUT", path, {**user("mia", "new"), "_rev": revision}).status == 201
        assert status(server, "GET", "/_session", auth=("mia", "old")) == 401
        assert status(server, "GET", "/_session", auth=("mia", "new")) == 200

    def test_a_user_kept_by_another_couchdb_can_log_in(self, server):
        # PBKDF2 with SHA-1 and ten rounds is what CouchDB before 3.4 wrote.
        derived = hashlib.pbkdf2_hmac("sha1", b"old-times", b"salt", 10).hex()
        kept = {"password_scheme": "pbkdf2", "iterations": 10, "salt": "salt", "derived_key": derived}
        document = {"name": "kim", "type": "user", "roles": ["ops"], **kept}
        assert server.ask("PUT", "/_users/org.couchdb.user:kim", document).status == 201
        answer = server.ask("GET", "/_session", auth=("kim", "old-times"))
        assert answer.json()["userCtx"] == {"name": "kim", "roles": ["ops"]}

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({}, "doc.type must be user"),
            ({"name": "bad", "roles": []}, "doc.type must be user"),
            ({"type": "user", "roles": []}, "doc.name is required"),
            ({"name": "bad", "type": "user"}, "doc.roles must exist"),
            ({"name": "bad", "type": "user", "roles": 0}, "doc.roles must exist"),
            ({"name": "bad", "type": "user", "roles": "x"}, "doc.roles must be an array"),
            ({"name": "bad", "type": "user", "roles": [1]}, "doc.roles can only contain strings"),
            ({**user("bad", "x", ("_admin",))}, "No system roles (starting with underscore) in users db."),
            ({**user("other", "x")}, "Doc ID must be of the form org.couchdb.user:name"),
            ({**user("bad", "x"), "name": 5}, "Doc ID must be of the form org.couchdb.user:name"),
            ({**user("bad", "x"), "password": 1}, "Password value of '1' is invalid."),
            ({**user("bad", None), "password_scheme": "pbkdf2"}, "iterations must be a number."),
            (
                {**user("bad", None), "password_scheme": "pbkdf2", "iterations": 5},
                "derived_key must be a string.",
            ),
            (
                {**user("bad", None), "password_sha": "x"},
                "Users with password_sha must have a salt.See /_utils/script/couch.js for example code.",
            ),
        ],
    )
    def test_a_malformed_user_is_forbidden(self, server, body, reason):
        answer = server.ask("PUT", "/_users/org.couchdb.user:bad", body)
        assert (answer.status, answer.json()) == (403, {"error": "forbidden", "reason": reason})

    @pytest.mark.parametrize(
        "others",
        [{"password_scheme": "simple"}, {"password_scheme": 1}, {"iterations": "x", "salt": 1}, {"password_sha": "x"}],
    )
    def test_a_password_replaces_whatever_there_is_of_a_hash(self, server, others):
        path = f"/_users/org.couchdb.user:zoe{len(str(others))}"
        name = path.rpartition(":")[2]
        assert server.ask("PUT", path, {**user(name, "new"), **others}).status == 201
        kept = server.ask("GET", path).json()
        assert kept["password_scheme"] == "pbkdf2"
        assert "password_sha" not in kept
        assert status(server, "GET", "/_session", auth=(name, "new")) == 200

    def test_no_password_is_kept_in_a_deleted_user_either(self, server):
        path = "/_users/org.couchdb.user:lee"
        revision = server.ask("PUT", path, user("lee", "secret")).json()["rev"]
        tombstone = {"_rev": revision, "_deleted": True, "password": "secret"}
        assert server.ask("PUT", path, {**tombstone, "password": 1}).status == 403
        answer = server.ask("PUT", path, tombstone)
        kept = server.ask("GET", f"{path}?rev={answer.json()['rev']}")
        assert kept.json()["password_scheme"] == "pbkdf2"
        assert "password" not in kept.json()

    def test_a_deleted_user_is_nobody(self, server):
        path = "/_users/org.couchdb.user:gone"
        revision = server.ask("PUT", path, user("gone", "pw")).json()["rev"]
        assert status(server, "GET", "/_session", auth=("gone", "pw")) == 200
        assert server.ask("DELETE", f"{path}?rev={revision}").status == 200
        assert status(server, "GET", "/_session", auth=("gone", "pw")) == 401


class TestSessions:
    def cookie(self, server, name, password) -> str:
        answer = server.ask("POST", "/_session", {"name": name, "password": password}, auth=None)
        assert answer.status == 200
        assert "HttpOnly" in answer.headers["set-cookie"]
        return answer.headers["set-cookie"].split(";")[0]

    def test_a_cookie_stands_for_its_user(self, server, people):
        headers = {"Cookie": self.cookie(server, *EVA)}
        context = server.ask("GET", "/_session", headers=headers, auth=None).json()
        assert context["userCtx"] == {"name": "eva", "roles": ["ops"]}
        assert context["info"]["authenticated"] == "cookie"

    def test_the_administrators_cookie_is_the_administrator(self, server):
        headers = {"Cookie": self.cookie(server, server.user, server.password)}
        assert server.ask("GET", "/_all_dbs", headers=headers, auth=None).status == 200

    def test_a_forged_cookie_is_nobody(self, server, people):
        value = self.cookie(server, *EVA)
        # Not the last letter: some of its bits mean nothing.
        changed = value[:-8] + ("A" if value[-8] != "A" else "B") + value[-7:]
        for forged in (changed, "AuthSession="):
            context = server.ask("GET", "/_session", headers={"Cookie": forged}, auth=None).json()
            assert context["userCtx"] == {"name": None, "roles": []}

    @pytest.mark.parametrize("value", ["%%%", "AAAA", "YTpi"])
    def test_what_is_no_cookie_is_refused(self, server, value):
        answer = server.ask("GET", "/_session", headers={"Cookie": f"AuthSession={value}"}, auth=None)
        assert (answer.status, answer.json()["error"]) == (400, "bad_request")

    def test_a_new_password_ends_sessions(self, server):
        path = "/_users/org.couchdb.user:leo"
        revision = server.ask("PUT", path, user("leo", "one")).json()["rev"]
        headers = {"Cookie": self.cookie(server, "leo", "one")}
        server.ask("PUT", path, {**user("leo", "two"), "_rev": revision})
        context = server.ask("GET", "/_session", headers=headers, auth=None).json()
        assert context["userCtx"]["name"] is None

    def test_logging_out_takes_the_cookie_away(self, server):
        answer = server.ask("DELETE", "/_session", auth=None)
        assert answer.headers["set-cookie"].startswith("AuthSession=;")


def test_a_stranger_is_not_told_what_is_wrong_with_an_address(server, database):
    for path in ("_local", "_local/x/y", "_design"):
        assert status(server, "GET", f"{database}/{path}", auth=None) == 401
    assert status(server, "GET", f"{database}/_local", auth=True) == 400
    assert status(server, "GET", "/nothing/_local", auth=True) == 404


LOCKED = "Account is temporarily locked due to multiple authentication failures"


class TestLockout:
    def test_five_wrong_passwords_lock_an_account_and_a_session_goes_on(self, server, shared):
        assert server.ask("PUT", "/_users/org.couchdb.user:forgetful", user("forgetful", "right")).status == 201
        login = server.ask("POST", "/_session", {"name": "forgetful", "password": "right"}, auth=None)
        for _ in range(5):
            answer = server.ask("GET", "/", auth=("forgetful", "wrong"))
            assert (answer.status, answer.json()["error"]) == (401, "unauthorized")
        for password in ("right", "wrong"):
            answer = server.ask("GET", "/", auth=("forgetful", password))
            assert (answer.status, answer.json()) == (403, {"error": "forbidden", "reason": LOCKED})
        assert server.ask("POST", "/_session", {"name": "forgetful", "password": "right"}, auth=None).status == 403
        cookie = {"Cookie": login.headers["set-cookie"].split(";")[0]}
        assert server.ask("GET", "/_session", headers=cookie, auth=None).json()["userCtx"]["name"] == "forgetful"
        assert status(server, "GET", "/", auth=OTTO) == 200

    def test_the_name_of_nobody_is_locked_where_sessions_begin_alone(self, server):
        logins = [
            server.ask("POST", "/_session", {"name": "nobody", "password": "x"}, auth=None).status for _ in range(6)
        ]
        assert logins == [401] * 5 + [403]
        assert [status(server, "GET", "/", auth=("stranger", "x")) for _ in range(6)] == [401] * 6
        assert server.ask("PUT", "/_users/org.couchdb.user:nobody", user("nobody", "x")).status == 201
        assert status(server, "GET", "/", auth=("nobody", "x")) == 200

    def test_a_new_password_ends_it(self, server):
        path = "/_users/org.couchdb.user:renewed"
        server.ask("PUT", path, user("renewed", "first"))
        for _ in range(5):
            assert status(server, "GET", "/", auth=("renewed", "wrong")) == 401
        revision = server.ask("GET", path).json()["_rev"]
        assert server.ask("PUT", path, {**user("renewed", "second"), "_rev": revision}).status == 201
        assert status(server, "GET", "/", auth=("renewed", "second")) == 200

    def test_it_ends_five_minutes_after_the_first_failure_and_holds_for_one_address(self):
        now_s = 0.0
        lockout = Lockout(clock=lambda: now_s)
        for now_s in (0.0, 10.0, 20.0, 30.0, 40.0):  # noqa: B007 - the clock reads it
            lockout.check("one", "eva", "salt")
            lockout.count_failure("one", "eva", "salt")
        lockout.check("other", "eva", "salt")
        now_s = 299.0
        with pytest.raises(CouchError, match="temporarily locked"):
            lockout.check("one", "eva", "salt")
        now_s = 300.0
        lockout.check("one", "eva", "salt")

    def test_it_can_be_left_out(self, tmp_path):
        server = start_couchlet(tmp_path, "--auth-lockout", "off")
        try:
            assert [status(server, "GET", "/", auth=("admin", "wrong")) for _ in range(7)] == [401] * 7
            assert status(server, "GET", "/", auth=True) == 200
        finally:
            server.stop()


class TestLoggingIn:
    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [
            ('{"name": "eva", "password": "top-secret"}', "application/json", 200),
            ('{"username": "eva", "password": "top-secret"}', "application/json; charset=utf-8", 200),
            ("username=eva&password=top-secret", "application/x-www-form-urlencoded", 200),
            ('{"name": "eva", "username": "eva", "password": "top-secret"}', "application/json", 200),
            ('{"name": "eva", "username": "otto", "password": "top-secret"}', "application/json", 400),
            ('{"password": "top-secret"}', "application/json", 400),
            ('{"name": 1, "password": "top-secret"}', "application/json", 500),
            ('{"name": "eva", "password": 1}', "application/json", 500),
            ("[]", "application/json", 400),
            ("name=eva&password=top-secret", "text/plain", 415),
            ('{"name": "nobody-here", "password": "x"}', "application/json", 401),
        ],
    )
    def test_forms_of_the_request(self, server, people, body, content_type, status):
        answer = server.ask("POST", "/_session", body, headers={"Content-Type": content_type}, auth=None)
        assert answer.status == status
        if status == 401:
            # A browser forgets the session that it may have had.
            assert "Max-Age=0" in answer.headers["set-cookie"]

    def test_pages_to_go_to_are_on_this_server(self, server, people):
        good = {"name": EVA[0], "password": EVA[1]}
        for page in ("/_utils/", "//evil.example/", "/\\\\evil.example"):
            answer = server.ask("POST", f"/_session?next={page}", good, auth=None)
            assert answer.status == 302
            assert answer.headers["location"].startswith(f"{server.url}/")
        wrong = {"name": "nobody-here", "password": "x"}
        assert server.ask("POST", "/_session?fail=/_utils/", wrong, auth=None).status == 302
        assert server.ask("DELETE", "/_session?next=/_utils/", auth=None).headers["location"].endswith("/_utils/")

    def test_a_session_can_be_demanded(self, server):
        answer = server.ask("GET", "/_session?basic=true", auth=None)
        assert (answer.status, answer.json()["reason"]) == (401, "Please login.")


class TestWhoAsks:
    """Rights come before everything else, and some ways to say who one is are ways to say nothing."""

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/_nosuch"),
            ("GET", "/_config"),
            ("GET", "/_stats/x"),
            ("PUT", "/_nosuch"),
            ("POST", "/_membership"),
            ("POST", "/_all_dbs"),
            ("GET", "/_replicate"),
            ("DELETE", "/_node/_local"),
        ],
    )
    def test_what_is_the_servers_own_is_the_administrators(self, server, people, method, path):
        answer = server.ask(method, path, auth=None)
        assert (answer.status, answer.json()["error"]) == (401, "unauthorized")
        assert status(server, method, path, auth=EVA) in ({401} if path != "/_replicate" else {405})

    @pytest.mark.parametrize("path", ["/_up", "/_uuids", "/_session", "/_utils/"])
    def test_some_of_it_is_for_all(self, server, path):
        assert status(server, "GET", path) == 200

    @pytest.mark.parametrize("credentials", [b"_:_", b"eva", b""])
    def test_credentials_that_name_nobody_are_none(self, server, credentials):
        headers = {"Authorization": "Basic " + base64.b64encode(credentials).decode()}
        answer = server.ask("GET", "/_session", headers=headers, auth=None)
        assert (answer.status, answer.json()["userCtx"]["name"]) == (200, None)

    @pytest.mark.parametrize(
        "security",
        [
            "x",
            [],
            1,
            {"admins": "x"},
            {"admins": {"names": "x"}},
            {"members": {"names": [22]}},
            {"readers": {"roles": 1}},
        ],
    )
    def test_what_is_no_security_object_finds_no_majority(self, server, database, security):
        answer = server.ask("PUT", f"{database}/_security", json.dumps(security))
        assert (answer.status, answer.json()) == (500, {"error": "error", "reason": "no_majority"})
        assert server.ask("PUT", f"{database}/_security", "{").status == 400

    @pytest.mark.parametrize("name", ["_security", "_revs_limit"])
    def test_methods_are_named_in_couchdbs_order(self, server, database, name):
        answer = server.ask("DELETE", f"{database}/{name}")
        assert (answer.status, answer.headers["allow"]) == (405, "PUT,GET")
        assert answer.json()["reason"] == "Only PUT,GET allowed"

    def test_the_users_have_their_design_document(self, server):
        design = server.ask("GET", "/_users/_design/_auth").json()
        assert design["language"] == "javascript"
        assert "doc.type must be user" in design["validate_doc_update"]
        rows = server.ask("GET", "/_users/_design_docs").json()["rows"]
        assert [row["id"] for row in rows] == ["_design/_auth"]

    def test_one_role_of_the_system_may_be_given(self, server):
        assert server.ask("PUT", "/_users/org.couchdb.user:m", user("m", "x", ("_metrics",))).status == 201
        assert server.ask("PUT", "/_users/org.couchdb.user:_m", user("_m", "x")).status == 403

    def test_a_password_may_be_null(self, server):
        made = {"name": "null", "type": "user", "roles": [], "password": None}
        assert server.ask("PUT", "/_users/org.couchdb.user:null", made).status == 201
        assert server.ask("GET", "/_users/org.couchdb.user:null").json()["password"] is None


def test_a_password_that_was_changed_under_the_same_salt_is_no_longer_taken(server):
    path = "/_users/org.couchdb.user:ida"
    server.ask("PUT", path, user("ida", "before"))
    assert status(server, "GET", "/_session", auth=("ida", "before")) == 200
    stored = server.ask("GET", path).json()
    changed = stored | {"password": "after", "preserve_salt": True}
    assert server.ask("PUT", path, changed).status == 201
    assert server.ask("GET", path).json()["salt"] == stored["salt"]
    assert status(server, "GET", "/_session", auth=("ida", "before")) == 401
    assert status(server, "GET", "/_session", auth=("ida", "after")) == 200
