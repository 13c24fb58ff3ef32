"""``drw doctor``: looks at the environment that drw runs in, and says of each thing that is wrong what to do."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import textwrap
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from drw import columns, crew, drain, overview, setup
from drw.columns import counted, listed, say
from drw.machine import database, ports
from drw.registry import DATABASE_AWAY, FAILURE, OK
from shared import actor, dbcon, news, status
from shared.bus import pauses, queue
from shared.cache import MARKER
from shared.errors import DatabaseError, DatabaseMissing, DrwError, Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from drw.registry import Commands, Context
    from shared.dbcon import DbConnection
    from shared.settings import Settings

_INDENT: Final = 7
_OLDEST: Final = (3, 0)
_INDEX_LOOKS: Final = 3
_INDEX_PAUSE_S: Final = 1.0
_SHARED_BITS: Final = stat.S_IRWXG | stat.S_IRWXO
Stands = Literal["ok", "note", "wrong"]
"""``note``: it works, and somebody should know."""


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it stands, what was found there, and what to do about it."""

    subject: str
    stands: Stands
    fact: str
    remedy: str = ""


def register(commands: Commands) -> None:
    """Make the command known."""
    commands.add(
        "doctor",
        _doctor,
        help="look at the environment, with a remedy for all that is wrong",
        description="Look at CouchDB, its databases and indexes, clocks, disks, programs and ports.",
        example="drw doctor",
        needs_database=False,
    )


def _doctor(context: Context) -> int:
    server, reached = _server(context)
    found = [*server, *_machine(context, answers=reached == OK)]
    wrong = [each for each in found if each.stands == "wrong"]
    status_ = reached or (FAILURE if wrong else OK)
    if context.args.json:
        return context.print_json(found, status_)
    styles = {"ok": "", "note": "yellow", "wrong": "red"}
    for each in found:
        for line in sentence(each, columns.width_of(context.console)):
            say(context.console, line, style=styles[each.stands])
    say(context.console, f"{counted(len(wrong), 'thing')} wrong" if wrong else "nothing is wrong")
    return status_


def sentence(found: Finding, width: int | None) -> list[str]:
    """Return a finding as lines no wider than the terminal: how it stands, what was found, what to do. Pure."""
    text = ": ".join(filter(None, [found.subject, found.fact, found.remedy]))
    line = f"{found.stands:{_INDENT}}{text}"
    if width is None:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=" " * _INDENT, break_long_words=False, break_on_hyphens=False)


# The server


def _server(context: Context) -> tuple[list[Finding], int]:
    """Return what is found of CouchDB and what is in it, and the exit status where no CouchDB answers, else 0."""
    settings, connection = context.settings, context.connection
    try:
        if not database.answers(settings):
            return [_away(settings)], DATABASE_AWAY
    except DrwError as error:
        return [Finding("CouchDB", "wrong", str(error))], actor.status_of(error)
    found: list[Finding] = []
    try:
        found.append(version(connection.welcome(), settings.couchdb_url))
        connection.check_credentials()
        found.append(_rights(connection))
        found += _databases(connection)
        found.append(_indexes(connection))
        found += [_cluster(connection), _pauses(connection), *_crew(context)]
        found.append(clocks(connection.clock.now(), datetime.now(UTC), settings.clock_spare_s))
    except DatabaseMissing:
        pass  # which is among what was found, with its remedy
    except DatabaseError as error:
        found.append(Finding("CouchDB", "wrong", str(error)))
    return found, OK


def _away(settings: Settings) -> Finding:
    return Finding(
        "CouchDB",
        "wrong",
        f"none answers at {settings.couchdb_url}",
        "start it, or ./launch-all.sh, which starts couchlet in its place, or correct DRW_COUCHDB_URL",
    )


def version(welcome: dict[str, object], url: str) -> Finding:
    """Judge what a server says of itself. Pure."""
    text = str(welcome.get("version", ""))
    vendor = welcome.get("vendor")
    name = str(vendor.get("name", "")) if isinstance(vendor, dict) else ""
    fact = f"{name} {text} at {url}".strip()
    parts = [int(each) for each in text.split(".")[:2] if each.isdecimal()]
    if len(parts) < 2:  # noqa: PLR2004 (major and minor)
        return Finding("CouchDB", "note", f"{fact}: a version that nobody knows")
    if tuple(parts) < _OLDEST:
        return Finding("CouchDB", "wrong", fact, "partial indexes need CouchDB 3.0 or newer: update it")
    return Finding("CouchDB", "ok", fact)


def _rights(connection: DbConnection) -> Finding:
    user = connection.call("GET", "/_session").get("userCtx", {})
    name, roles = user.get("name"), user.get("roles", [])
    if "_admin" in roles:
        return Finding("rights", "ok", f"{name} is a server administrator")
    return Finding(
        "rights", "note", f"{name} is no server administrator", "'drw setup' and the janitor need one; actors do not"
    )


def _databases(connection: DbConnection) -> Iterator[Finding]:
    missing = []
    for name in setup.DATABASES:
        try:
            connection.database(name).info()
        except DatabaseMissing:
            missing.append(name)
        except Forbidden as error:
            yield Finding(f"database {name}", "wrong", str(error), "give this user the right to it")
    if missing:
        yield Finding("databases", "wrong", f"{listed(missing)} missing", "'drw setup' makes them")
    else:
        yield Finding("databases", "ok", f"all {len(setup.DATABASES)} are there")


def _indexes(connection: DbConnection) -> Finding:
    """Look for the indexes; for what is missing a few times, since a node hears late of what another was just given."""
    for tries_left in reversed(range(_INDEX_LOOKS)):
        missing = _missing_indexes(connection)
        if not missing:
            return Finding("indexes", "ok", "all are there")
        if tries_left:
            time.sleep(_INDEX_PAUSE_S)
    return Finding("indexes", "wrong", f"{listed(missing)} missing", "'drw setup' makes them")


def _missing_indexes(connection: DbConnection) -> list[str]:
    missing: list[str] = []
    for name, wanted in setup.INDEXES.items():
        try:
            there = {index for ddoc, index in connection.indexes(name) if ddoc == dbcon.INDEXES}
        except (DatabaseMissing, Forbidden):
            continue  # said above
        missing += [f"{each} of {name}" for each in wanted if each not in there]
    return missing


def _cluster(connection: DbConnection) -> Finding:
    copies = connection.database(queue.DATABASE).copies()
    fact = f"{counted(copies, 'copy', 'copies')} of each shard of {queue.DATABASE}"
    if copies == 1:
        return Finding("cluster", "ok", fact)
    return Finding(
        "cluster",
        "note",
        f"{fact}: claims are safe but slower",
        f"when all is quiet, delete {queue.DATABASE} and have 'drw setup' make it with one",
    )


def _pauses(connection: DbConnection) -> Finding:
    found = pauses.current(connection.database(queue.DATABASE), connection.clock.now())
    if not found:
        return Finding("pauses", "ok", "no selector is paused")
    named = listed([f"{each.pattern} by {each.by} ({each.reason})" for each in found])
    return Finding("pauses", "note", f"paused: {named}", "'drw resume SELECTOR' lifts one")


def _crew(context: Context) -> Iterator[Finding]:
    """Say of whom there are too many, who is drained, and where there is a web address to tell and nobody tells it."""
    workers = crew.workers(context.connection)
    living = [worker.id for worker in workers if worker.stands == "alive" and worker.kind == crew.XTSS]
    if len(living) > 1:
        yield several_xtss(living, context.connection.database(status.DATABASE).copies())
    if found := drain.in_force(context, workers):
        named = listed([f"{each.actor} by {each.by} ({each.reason})" for each in found])
        yield Finding("drains", "note", f"drained: {named}", "'drw drain ACTOR --end' lets one take work again")

    if context.settings.webhook_url and not crew.listening(news.SELECTOR, workers):
        fact = "DRW_WEBHOOK_URL is set, and no notifier lives"
        yield Finding("notifier", "note", fact, "./launch-all.sh starts one, or: notifier")


def several_xtss(living: Sequence[str], copies: int) -> Finding:
    """Judge that several xtss live: where a database has several copies, only the turns of one keep changes apart."""
    shards = f"each shard of {status.DATABASE} has {counted(copies, 'copy', 'copies')}"
    fact = f"{len(living)} live ({listed(living)}), and {shards}"
    if copies == 1:
        return Finding("xtss", "ok", fact)
    return Finding("xtss", "wrong", fact, "end all but one: changes of one OUS by two of them may be lost on a cluster")


def clocks(theirs: datetime, ours: datetime, spare_s: float) -> Finding:
    """Judge how far this machine's clock is from the database's (seconds). Pure."""
    skew_s = (ours - theirs).total_seconds()
    ahead = "ahead of" if skew_s > 0 else "behind"
    if abs(skew_s) > spare_s:
        fact = f"this machine is {abs(skew_s):.1f} s {ahead} the database, more than DRW_CLOCK_SPARE_S, {spare_s:g} s"
        return Finding("clock", "wrong", fact, "have both machines follow NTP, or set DRW_CLOCK_SPARE_S higher")
    return Finding("clock", "ok", "this machine and the database agree")


# This machine


def _machine(context: Context, *, answers: bool) -> Iterator[Finding]:
    settings = context.settings
    yield _credentials(settings)
    yield from (_disk(each) for each in overview.disks(settings))
    yield from (_cache(name, path) for name, path in _caches(settings).items())
    yield from (_program(name, needed) for name, needed in _PROGRAMS.items())
    yield from _ports(context, answers=answers)


_PROGRAMS: Final = {
    "rsync": "caches on other machines are replicated with it",
    "ssh": "rsync reaches other machines with it",
}


def _credentials(settings: Settings) -> Finding:
    path = settings.credentials_file
    if not path.exists():
        return Finding("credentials", "ok", f"no file {path}; they come from the environment, if there are any")
    if path.stat().st_mode & _SHARED_BITS:
        return Finding("credentials", "wrong", f"{path} can be read by others", f"chmod 600 {path}")
    return Finding("credentials", "ok", f"{path} is its owner's only")


def _disk(disk: overview.Disk) -> Finding:
    fact = f"{overview.amount(disk.free)} of {overview.amount(disk.size)} free at {disk.path}"
    if disk.is_low:
        return Finding(f"disk of {disk.what}", "wrong", fact, "make room, or name another folder")
    return Finding(f"disk of {disk.what}", "ok", fact)


def _caches(settings: Settings) -> dict[str, Path]:
    return {"DRW_EU_CACHE": settings.eu_cache_dir(), "DRW_JAO_CACHE": settings.jao_cache_dir()}


def _cache(name: str, path: Path) -> Finding:
    if not path.is_dir():
        return Finding(
            name, "note", f"no folder {path} on this machine", "./launch-all.sh makes it, if it belongs here"
        )
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding(name, "wrong", f"{path} is not writable", "let the user who runs the actors write there")
    used = (path / MARKER).is_dir()
    return Finding(name, "ok", f"{path}{'' if used else ', not used as a cache yet'}")


def _program(name: str, needed: str) -> Finding:
    path = shutil.which(name)
    if path:
        return Finding(name, "ok", path)
    return Finding(name, "note", f"not on the path: {needed}", f"install {name}, unless all caches are on this machine")


def _ports(context: Context, *, answers: bool) -> Iterator[Finding]:
    """Say who listens on the ports that our web servers use: one of ours that lives here is as it should be."""
    settings = context.settings
    ours = {
        ("replicated-cache", "EU"): ("DRW_EU_PORT", settings.eu_port),
        ("replicated-cache", "JAO"): ("DRW_JAO_PORT", settings.jao_port),
        ("dashboard", ""): ("DRW_DASHBOARD_PORT", settings.dashboard_port),
    }
    here = _alive_here(context) if answers else set()
    for (kind, executive), (setting, port) in ours.items():
        name = f"{kind} at {executive}" if executive else kind
        if ports.is_free(port):
            yield Finding(setting, "ok", f"port {port}, for {name}, is free")
        elif (kind, executive) in here:
            yield Finding(setting, "ok", f"port {port} is in use, and {name} lives here")
        else:
            remedy = f"where that is something else, end it, or set {setting} to another"
            fact = f"port {port}, for {name}, is in use, and none gives signs of life here"
            yield Finding(setting, "note", fact, remedy)


def _alive_here(context: Context) -> set[tuple[str, str]]:
    try:
        found = crew.workers(context.connection)
    except DatabaseError:
        return set()  # what is wrong with the database was said
    return {
        (each.kind, each.executive) for each in found if each.stands == "alive" and each.host == socket.gethostname()
    }
