"""What every actor's ``main()`` shares: arguments, logging, the wait for the database, signals, heartbeat, the end."""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import socket
import sys
import threading
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from shared import errors, logs, origins, streams
from shared.bus import Bus, drains
from shared.bus.retry import BackOff
from shared.cache import CacheDirectory
from shared.clock import elapsed_s, stamp
from shared.dbcon import DbConnection
from shared.names import shown
from shared.printable import is_utf8
from shared.settings import read_settings
from shared.state import StateClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.dbcon import Doc
    from shared.settings import Settings

ACTORS_DATABASE: Final = "actors"
FAILURE: Final = 1
USAGE_ERROR: Final = 2
DATABASE_AWAY: Final = 3
_LOOK_S: Final = 0.5
_DOING_SHOWN: Final = 3
_INTERRUPTED: Final = 130
_LOG = logging.getLogger("drw")


class WebServer(Protocol):
    """A WSGI server, as waitress makes it."""

    def run(self) -> None:
        """Serve until closed."""

    def close(self) -> None:
        """Stop listening."""


class Actor:
    """A running actor: its settings, its database, its bus, and its sign of life."""

    def __init__(self, kind: str, settings: Settings, *, executive: str = "") -> None:
        """Take what kind of actor this is and, where it matters, at which executive it runs."""
        self.kind = kind
        self.executive = executive
        self.settings = settings
        where = f"{kind}.{executive}" if executive else kind
        self.me = f"{where}@{socket.gethostname()}:{os.getpid()}"
        self.connection = DbConnection(settings)
        self.bus = Bus(self.connection, settings, me=self.me)
        self.state = StateClient(self.bus, deadline_s=settings.rpc_deadline_s)
        self.stopping = threading.Event()
        self._ended = threading.Event()
        self._doing: list[str] = []
        self._parts: dict[str, Callable[[], bool]] = {}
        self._unheard = logs.Trouble(_LOG, "no sign of life can be written")

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Have the signs of life say what goes on (``runs uid://X1/X1/Xb0``), as long as the block lasts."""
        self._doing.append(what)
        try:
            yield
        finally:
            self._doing.remove(what)

    @property
    def doing(self) -> str:
        """What goes on now, the first few things of it."""
        now = list(self._doing)
        more = f" and {len(now) - _DOING_SHOWN} more" if len(now) > _DOING_SHOWN else ""
        return ", ".join(now[:_DOING_SHOWN]) + more

    def part(self, name: str, is_alive: Callable[[], bool]) -> None:
        """Name a part without which the actor is useless, and how to tell that it lives."""
        self._parts[name] = is_alive

    def serve(self, what: str) -> int:
        """Start, say so, and run until a signal comes; return the exit status.

        An actor of which a part has died ends loudly with status 1, for its supervisor to start it again.
        """
        heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._end_drain()
        self.bus.start()
        heartbeat.start()
        self.part("heartbeat", heartbeat.is_alive)
        _LOG.info("ready: %s", what)
        broken = ""
        while not broken and not self.stopping.wait(_LOOK_S):
            dead = (name for name, is_alive in self._parts.items() if not is_alive())
            broken = self.bus.broken() or next(dead, "")
            if self.stopping.is_set():  # told so between the waiting and the looking, they ended
                broken = ""
        self.stopping.set()
        if broken:
            _LOG.critical("%s has died: this actor ends", broken)
        else:
            _LOG.info("stopping")
        self.bus.stop()
        self._ended.set()
        heartbeat.join(self.settings.heartbeat_s)
        return FAILURE if broken else 0

    def serve_http(self, server: WebServer, what: str) -> int:
        """As :meth:`serve`, while a thread of its own runs a web server."""
        thread = threading.Thread(target=server.run, name="web", daemon=True)
        thread.start()
        self.part("web server", thread.is_alive)
        try:
            return self.serve(what)
        finally:
            server.close()

    def close(self) -> None:
        """Stop the bus, if it has not been yet, and close every connection: the last that an actor does."""
        self.bus.stop()
        self.connection.close()

    def _beat(self) -> None:
        since = stamp(self.connection.clock.now())
        while not self._ended.is_set():  # who finishes his work still lives
            self._say_alive(since, ended=False)
            self._ended.wait(self.settings.heartbeat_s)
        self._say_alive(since, ended=True)
        self._end_drain()

    def _end_drain(self) -> None:
        """Take back a drain of this actor: it holds for one process only.

        That is so when it ends, and when it begins: one that was killed may have had the same name, as in a container.
        """
        try:
            drains.end(self.bus.queue.database, self.me)
        except errors.DatabaseError as error:
            _LOG.debug("a drain of this actor may be left: %s", error)

    def _say_alive(self, since: str, *, ended: bool) -> None:
        database = self.connection.database(ACTORS_DATABASE)
        try:
            database.mutate(self.me, lambda doc: self._sign_of_life(doc, since, ended=ended))
        except errors.DatabaseError as error:
            self._unheard.met(error)
        else:
            self._unheard.over()

    def _sign_of_life(self, doc: Doc | None, since: str, *, ended: bool) -> Doc:
        return {
            **({"_rev": doc["_rev"]} if doc else {}),
            "schema": 1,
            "kind": self.kind,
            "executive": self.executive,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": since,
            "at": stamp(self.connection.clock.now()),
            "every": self.settings.heartbeat_s,
            "doing": self.doing,
            "listens": self.bus.listens,
            "ended": ended,
        }


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, and where to read more, with exit status 2."""

    def parse_args(  # type: ignore[override] # (of its overloads we need the plain one)
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        """Parse what was typed, the first that a command does; before it, everything is made ready for being printed.

        What is no text is refused here, for no database, file or terminal could take it.
        """
        streams.prepare()
        words = sys.argv[1:] if args is None else args
        for word in words:
            if not is_utf8(word):
                self.error(f"{shown(word)} is no text in UTF-8: type it at a terminal whose locale is UTF-8")
        return super().parse_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """End with the sentence; the usage is for those who ask for it."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message} ({self.prog} -h tells more)\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process; help that cannot be written is a failure, and said."""
        try:
            sys.stdout.flush()
        except OSError as error:
            status, said = FAILURE, streams.sentence(error)
            message = f"{self.prog}: {said}\n" if said else None
        super().exit(status, message)


def parser(name: str, description: str, example: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every actor has."""
    made = OneLineParser(
        prog=name,
        description=description,
        epilog=f"example:  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_log_options(made)
    return made


def add_log_options(made: argparse.ArgumentParser) -> None:
    """Add the options that :func:`run` needs to a parser."""
    made.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="default INFO")
    made.add_argument("--log-format", default="text", choices=["text", "json"], help="how log lines look, default text")
    made.add_argument("--log-file", type=Path, metavar="FILE", help="log into this file too")


def add_origin_option(made: argparse.ArgumentParser, settings: str) -> None:
    """Add to the parser of a web server under which addresses browsers see it, besides those that settings name."""
    made.add_argument(
        "--origin",
        action="append",
        default=[],
        type=checked(origins.origin),
        help=f"where browsers see it, besides {settings}, if not by this machine's name; such as "
        "https://drw.example.org; may be repeated",
    )


def cache_directory(path: Path) -> CacheDirectory:
    """Open the cache that was named on the command line; raise BadInput where that is no cache for this user.

    A disk that is full now, or does not answer, is a CacheError: whoever starts the actor again may find it mended.
    """
    try:
        return CacheDirectory.open(path)
    except errors.CacheError as error:
        if isinstance(error, errors.NoCache) or isinstance(error.__cause__, PermissionError):
            raise errors.BadInput(str(error)) from error
        raise


def checked(check: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Return an argparse type that refuses with the sentence of our own error."""

    def convert(text: str) -> Any:  # noqa: ANN401 (whatever check returns)
        try:
            return check(text)
        except errors.DrwError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def run(
    kind: str, args: argparse.Namespace, serve: Callable[[Actor], int], *, executive: str = "", log: bool = True
) -> int:
    """Make the actor, wait for its database, and serve; every foreseen failure is one line and an exit status.

    ``log=False`` is for commands that a person waits for: what is less than a warning is kept from the terminal, a
    database that is away is waited for no longer than for an answer to a call, and Ctrl-C ends it wherever it is.
    """
    try:
        logs.set_up(
            kind if not executive else f"{kind}.{executive}",
            level=args.log_level,
            form=args.log_format,
            file=args.log_file,
            quiet=not log,
        )
        actor = Actor(kind, read_settings(), executive=executive)
        with closing(actor), _Signals(actor.stopping) if log else nullcontext():
            limit_s = None if log else actor.settings.rpc_deadline_s
            wait_for_database(
                actor.connection, actor.stopping, ["msgq", "status-entities", ACTORS_DATABASE], limit_s=limit_s
            )
            status = FAILURE if actor.stopping.is_set() else serve(actor)
        sys.stdout.flush()
    except errors.DrwError as error:
        return _fail(kind, str(error), status_of(error))
    except OSError as error:
        return _fail(kind, streams.sentence(error), FAILURE)
    except KeyboardInterrupt:
        return _fail(kind, "interrupted", _INTERRUPTED)
    return status


def status_of(error: errors.DrwError) -> int:
    """Return the exit status of what ends with this error: whose fault it is, and whether to try again."""
    if isinstance(error, errors.BadInput):
        return USAGE_ERROR
    return DATABASE_AWAY if isinstance(error, errors.DatabaseAway) else FAILURE


def wait_for_database(
    connection: DbConnection, stopping: threading.Event, databases: Sequence[str], *, limit_s: float | None = None
) -> None:
    """Return once CouchDB answers, accepts us and has the databases; keep trying while it is away.

    Raises WrongPassword and DatabaseMissing, which waiting does not mend, and DatabaseAway after ``limit_s`` seconds.
    """
    back_off, tries, begun_s = BackOff(first_s=0.5, longest_s=10.0, factor=1.5), 0, elapsed_s()
    while not stopping.is_set():
        try:
            connection.check_credentials()
            for name in databases:
                connection.database(name).info()
        except errors.DatabaseAway as error:
            if limit_s is not None and elapsed_s() - begun_s > limit_s:
                raise errors.DatabaseAway(f"{error}; start it, or correct DRW_COUCHDB_URL") from error
            tries += 1
            stopping.wait(back_off.wait_s(tries))
        else:
            return


class _Signals:
    """Lets SIGTERM and Ctrl-C set an event, a second Ctrl-C end the process at once; puts the old handlers back.

    A handler runs in the middle of whatever the main thread does, so it must take no lock: waiting for an event and
    setting it would meet. It only puts the signal into a SimpleQueue, which may be done there, and a thread does the
    rest.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._before: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._obey, name="signals", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self._stopping.is_set() and number == signal.SIGINT:
            os._exit(_INTERRUPTED)
        self._received.put(number)

    def _obey(self) -> None:
        self._received.get()
        self._stopping.set()


def _fail(kind: str, sentence: str, status: int) -> int:
    streams.complain(kind, sentence)
    return status
