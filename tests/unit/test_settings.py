"""Settings: read once, with sentences for what is malformed, and README's table is that of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from shared.errors import BadInput
from shared.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]


def test_defaults_are_those_of_the_design(tmp_path):
    settings = read_settings({"DRW_HOME": str(tmp_path)})
    assert settings.couchdb_url == "http://127.0.0.1:5984"
    assert (settings.lease_s, settings.attempts, settings.poll_max_s) == (60.0, 8, 60.0)
    assert settings.eu_cache_dir() == tmp_path / "eu-cache"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DRW_PACE", "fast", "a number from 0 to 3153600000"),
        ("DRW_LEASE_S", "-1", "a number above 0"),
        ("DRW_POLL_S", "0", "a number above 0"),
        ("DRW_GRACE_S", "nan", "a number from 0 to 3153600000"),
        ("DRW_RETENTION_S", "99999999999", "a number from 0 to 3153600000"),
        ("DRW_ATTEMPTS", "0", "a whole number, 1 or more"),
        ("DRW_EU_PORT", "65536", "a port from 1 to 65535"),
        ("DRW_COUCHDB_URL", "localhost:5984", "an address like"),
        ("DRW_COUCHDB_URL", "http://", "an address like"),
        ("DRW_DASHBOARD_ORIGIN", "drw.example.org", "an address like https://drw.example.org"),
        ("DRW_DASHBOARD_ORIGIN", "https://drw.example.org/drw", "an address like https://drw.example.org"),
        ("DRW_DASHBOARD_ORIGIN", "https://drw.example.org,https://b", "several with spaces between"),
        ("DRW_DASHBOARD_ORIGIN", "https://ada@drw.example.org", "an address like https://drw.example.org"),
        ("DRW_CACHE_ORIGIN", "jao-cache:8001", "an address like https://drw.example.org"),
        ("DRW_WEBHOOK_URL", "example.org", "an address like https://example.org/hook"),
    ],
)
def test_a_bad_value_is_named_with_what_it_must_be(tmp_path, variable, value, says):
    with pytest.raises(BadInput, match=re.escape(says)) as caught:
        read_settings({"DRW_HOME": str(tmp_path), variable: value})
    assert variable in str(caught.value)


def test_the_dashboard_may_have_several_addresses(tmp_path):
    text = "https://drw.example.org/ http://drw.intern:8080"
    settings = read_settings({"DRW_HOME": str(tmp_path), "DRW_DASHBOARD_ORIGIN": text})
    assert settings.dashboard_origin == ("https://drw.example.org", "http://drw.intern:8080")
    assert read_settings({"DRW_HOME": str(tmp_path)}).dashboard_origin == ()


def test_a_password_without_its_user_is_not_passed_over(tmp_path):
    with pytest.raises(BadInput, match="COUCHDB_PASSWORD is set and COUCHDB_USER is not: set both, or neither"):
        read_settings({"DRW_HOME": str(tmp_path), "COUCHDB_PASSWORD": "p"})


def test_credentials_come_from_url_then_environment_then_file(tmp_path):
    (tmp_path / "credentials").write_text("COUCHDB_USER=filed\nCOUCHDB_PASSWORD=p=1\n")
    env = {"DRW_HOME": str(tmp_path)}
    assert (read_settings(env).user, read_settings(env).password) == ("filed", "p=1")
    env |= {"COUCHDB_USER": "env", "COUCHDB_PASSWORD": "two"}
    assert read_settings(env).user == "env"
    env |= {"DRW_COUCHDB_URL": "http://u%40x:p%2Fw@db:5984/"}
    settings = read_settings(env)
    assert (settings.user, settings.password, settings.couchdb_url) == ("u@x", "p/w", "http://db:5984")


def test_no_secret_is_shown(tmp_path):
    settings = read_settings({"DRW_HOME": str(tmp_path), "COUCHDB_USER": "u", "COUCHDB_PASSWORD": "hush"})
    assert "hush" not in repr(settings)
    assert "hush" not in repr(read_settings({"DRW_WEBHOOK_URL": "https://chat.example.org/hush"}))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DRW_COUCHDB_URL", "ftp://u:hush@db"),
        ("DRW_WEBHOOK_URL", "htps://chat.example.org/services/hush"),
        ("DRW_WEBHOOK_URL", "https://chat.example.org:hush/services"),
    ],
)
def test_no_secret_is_shown_of_what_is_mistyped(tmp_path, variable, value):
    with pytest.raises(BadInput, match=f"^{variable} is ") as caught:
        read_settings({"DRW_HOME": str(tmp_path), variable: value})
    assert "hush" not in str(caught.value)


def test_the_table_in_the_readme_is_that_of_the_code():
    rows = dict(re.findall(r"^\| `(DRW_\w+)` \| (.*?) \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    wanted = {
        each.metadata["variable"]: each.metadata["shown_default"] or str(each.default)
        for each in fields(Settings)
        if "variable" in each.metadata
    }
    assert {name: text.strip("`") for name, text in rows.items()} == {
        name: text.strip("`") for name, text in wanted.items()
    }


def test_a_file_of_credentials_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "credentials").write_bytes(b"COUCHDB_USER=\xff\xfe\n")
    with pytest.raises(BadInput, match="no text in UTF-8"):
        read_settings({"DRW_HOME": str(tmp_path)})
