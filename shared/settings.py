"""The settings of every process: ``DRW_…`` environment variables, read once into one frozen :class:`Settings`.

Each field says in its metadata which variable it comes from and what it means; README's table is held against them
by a test. Seconds are floats and end in ``_s``.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from shared.clock import LONGEST_S
from shared.errors import BadInput
from shared.names import shown
from shared.printable import is_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

USER_VARIABLE: Final = "COUCHDB_USER"
PASSWORD_VARIABLE: Final = "COUCHDB_PASSWORD"  # noqa: S105 (the name of a variable)


def _setting(
    variable: str, default: object, meaning: str, *, shown_default: str | None = None, secret: bool = False
) -> Any:  # noqa: ANN401 (as dataclasses.field)
    metadata = {"variable": variable, "meaning": meaning, "shown_default": shown_default, "secret": secret}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set from outside. Paths are absolute; times are in seconds."""

    home: Path = _setting(
        "DRW_HOME", Path("~/.drw"), "where credentials, couchlet's data and the demo live", shown_default="~/.drw"
    )
    couchdb_url: str = _setting("DRW_COUCHDB_URL", "http://127.0.0.1:5984", "the CouchDB to use")
    credentials: Path | None = _setting(
        "DRW_CREDENTIALS",
        None,
        "file with the user and password to use, its owner's only",
        shown_default="`$DRW_HOME/credentials`",
    )
    eu_cache: Path | None = _setting(
        "DRW_EU_CACHE", None, "the EU cache directory, for the scripts", shown_default="`$DRW_HOME/eu-cache`"
    )
    jao_cache: Path | None = _setting(
        "DRW_JAO_CACHE", None, "the JAO cache directory, for the scripts", shown_default="`$DRW_HOME/jao-cache`"
    )
    work_dir: Path | None = _setting(
        "DRW_WORK_DIR", None, "where pipeline runs work and keep their records", shown_default="`$DRW_HOME/work`"
    )
    log_dir: Path | None = _setting(
        "DRW_LOG_DIR", None, "where launch-all.sh keeps one log file an actor", shown_default="`$DRW_HOME/log`"
    )
    weblog_url: str = _setting(
        "DRW_WEBLOG_URL", "http://localhost:8001/weblogs", "where reviewers' browsers find weblogs"
    )
    webhook_url: str = _setting(
        "DRW_WEBHOOK_URL",
        "",
        "web address that is told what happens, by the notifier",
        shown_default="none",
        secret=True,  # whoever knows it may write there
    )
    people_file: Path | None = _setting(
        "DRW_PEOPLE_FILE",
        None,
        "who may log in to the dashboard, made by `drw people`",
        shown_default="`$DRW_HOME/people`",
    )
    eu_port: int = _setting("DRW_EU_PORT", 8000, "port of the EU cache's web server, for the scripts")
    jao_port: int = _setting("DRW_JAO_PORT", 8001, "port of the JAO cache's web server, for the scripts")
    dashboard_port: int = _setting("DRW_DASHBOARD_PORT", 5000, "port of the dashboard")
    dashboard_origin: tuple[str, ...] = _setting(
        "DRW_DASHBOARD_ORIGIN",
        (),
        "where browsers see the dashboard, if behind a proxy; several with spaces between",
        shown_default="none",
    )
    cache_origin: tuple[str, ...] = _setting(
        "DRW_CACHE_ORIGIN",
        (),
        "where browsers see the caches, if not at their machine's name; several with spaces between",
        shown_default="none",
    )
    pace: float = _setting("DRW_PACE", 1.0, "how fast the mock-ups pretend to work: 1 as the seed, 0 no waiting")
    lease_s: float = _setting("DRW_LEASE_S", 60.0, "how long a claim on a message lasts without renewal")
    heartbeat_s: float = _setting("DRW_HEARTBEAT_S", 10.0, "how often an actor says that it lives")
    grace_s: float = _setting("DRW_GRACE_S", 10.0, "how long a stopping actor lets begun work go on")
    retry_s: float = _setting("DRW_RETRY_S", 1.0, "wait before the second attempt at a message; doubled each time")
    retry_max_s: float = _setting("DRW_RETRY_MAX_S", 300.0, "longest wait between two attempts")
    attempts: int = _setting("DRW_ATTEMPTS", 8, "attempts at a message before it is dead")
    poll_s: float = _setting("DRW_POLL_S", 1.0, "shortest wait between two polls of the message queue")
    poll_max_s: float = _setting("DRW_POLL_MAX_S", 60.0, "longest wait between two polls of the message queue")
    rpc_deadline_s: float = _setting("DRW_RPC_DEADLINE_S", 30.0, "how long a call waits for its answer")
    clock_spare_s: float = _setting("DRW_CLOCK_SPARE_S", 5.0, "how far machines' clocks may disagree")
    retention_s: float = _setting("DRW_RETENTION_S", 604800.0, "how long settled messages are kept")
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def credentials_file(self) -> Path:
        """The file of mode 0600 that couchlet makes and every process reads when the environment is silent."""
        return self.home / "credentials"

    @property
    def users_dir(self) -> Path:
        """The folder with a file of mode 0600 for each user of CouchDB that ``drw setup --users`` makes."""
        return self.home / "users"

    def eu_cache_dir(self) -> Path:
        """Return the EU cache directory that the scripts use."""
        return self.eu_cache or self.home / "eu-cache"

    def jao_cache_dir(self) -> Path:
        """Return the JAO cache directory that the scripts use."""
        return self.jao_cache or self.home / "jao-cache"

    def runs_dir(self) -> Path:
        """Return the directory in which pipeline runs work and keep their records."""
        return self.work_dir or self.home / "work"

    def people_path(self) -> Path:
        """Return the file of those who may log in to the dashboard."""
        return self.people_file or self.home / "people"

    def logs_dir(self) -> Path:
        """Return the directory of the actors' log files."""
        return self.log_dir or self.home / "log"


_NEVER_ZERO: Final = frozenset({"lease_s", "heartbeat_s", "poll_s", "poll_max_s", "rpc_deadline_s"})
"""With a zero these would keep a process busy with nothing."""


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # there is no such user's home
        raise ValueError from error


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= LONGEST_S:
        raise ValueError
    return value


def _some_seconds(text: str) -> float:
    value = _seconds(text)
    if value == 0:
        raise ValueError
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 < value < 65536:  # noqa: PLR2004 (the range of TCP ports)
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    _ = parts.port
    return text.rstrip("/")


def _webhook(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError
    _ = parts.port
    return text


def _origins(text: str) -> tuple[str, ...]:
    found = tuple(_url(each) for each in text.split())
    for each in found:
        parts = urlsplit(each)
        if parts.path or parts.username is not None:
            raise ValueError
    return found


_ORIGINS: Final = (_origins, "an address like https://drw.example.org, or several with spaces between")
_SINGLE: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "attempts": (_count, "a whole number, 1 or more"),
    "dashboard_origin": _ORIGINS,
    "cache_origin": _ORIGINS,
    "webhook_url": (_webhook, "an address like https://example.org/hook"),
}
"""The settings that are like no other."""


def _parser(name: str) -> tuple[Callable[[str], Any], str]:
    if name.endswith("_port"):
        return _port, "a port from 1 to 65535"
    if name in _SINGLE:
        return _SINGLE[name]
    if name.endswith("_url"):
        return _url, "an address like http://127.0.0.1:5984"
    if name in _NEVER_ZERO:
        return _some_seconds, f"a number above 0, and at most {LONGEST_S:.0f}"
    if name.endswith("_s") or name == "pace":
        return _seconds, f"a number from 0 to {LONGEST_S:.0f}"
    return _path, "a path"


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment into :class:`Settings`; raise BadInput that names the variable of a bad value.

    The user and password of CouchDB come from ``DRW_COUCHDB_URL`` (which is kept without them), else from the file
    ``DRW_CREDENTIALS``, else from ``COUCHDB_USER`` and ``COUCHDB_PASSWORD``, else from ``$DRW_HOME/credentials`` as it
    is now.
    """
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for each in fields(Settings):
        variable = each.metadata.get("variable")
        text = env.get(variable, "") if variable else ""
        if not text:
            continue
        _refuse_other_encodings(each.metadata["variable"], text)
        parse, wanted = _parser(each.name)
        try:
            values[each.name] = parse(text)
        except ValueError as error:
            given = "set to what is not shown here" if each.metadata["secret"] else _without_password(text)
            raise BadInput(f"{variable} is {given}: it must be {wanted}") from error
    values["home"] = values.get("home") or _path(str(Settings.home))
    url, user, password = _split_url(values.get("couchdb_url", Settings.couchdb_url))
    if not user and "credentials" in values:
        user, password = _own_credentials(values["credentials"], env)
    if not user:
        user, password = env.get(USER_VARIABLE, ""), env.get(PASSWORD_VARIABLE, "")
        _refuse_other_encodings(USER_VARIABLE, user)
        _refuse_other_encodings(PASSWORD_VARIABLE, password)
        if password and not user:
            raise BadInput(f"{PASSWORD_VARIABLE} is set and {USER_VARIABLE} is not: set both, or neither")
    if not user:
        user, password = read_credentials(values["home"] / "credentials")
    return Settings(**values | {"couchdb_url": url, "user": user, "password": password})


def _refuse_other_encodings(variable: str, text: str) -> None:
    if not is_utf8(text):
        raise BadInput(f"{variable} is no text in UTF-8: set it again in a shell whose locale is UTF-8")


def read_credentials(path: Path) -> tuple[str, str]:
    """Return user and password from a file of ``COUCHDB_USER=…`` and ``COUCHDB_PASSWORD=…`` lines, empty if none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "", ""
    except OSError as error:
        raise BadInput(f"the credentials in {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"the credentials in {path} are no text in UTF-8") from error
    pairs = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    return pairs.get(USER_VARIABLE, ""), pairs.get(PASSWORD_VARIABLE, "")


def _own_credentials(path: Path, env: Mapping[str, str]) -> tuple[str, str]:
    """Return user and password from the file of ``DRW_CREDENTIALS``, which must have them and be its owner's only.

    What systemd gives a service is the service's only, whatever the mode says: it may be so by an access control list.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadInput(f"DRW_CREDENTIALS is {path}, which cannot be read: {error.strerror}") from error
    given = env.get("CREDENTIALS_DIRECTORY", "")
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not (given and path.is_relative_to(given)):
        raise BadInput(f"DRW_CREDENTIALS is {path}, which others than its owner may use: chmod 600 {path}")
    user, password = read_credentials(path)
    if not user:
        raise BadInput(
            f"DRW_CREDENTIALS is {path}, which names no user: it has lines like {USER_VARIABLE}=drw-xtss and "
            f"{PASSWORD_VARIABLE}=…, as 'drw setup --users' writes them"
        )
    return user, password


def _split_url(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return bare, unquote(parts.username or ""), unquote(parts.password or "")


def _without_password(text: str) -> str:
    return shown(text if "@" not in text else "…@" + text.rpartition("@")[2])
