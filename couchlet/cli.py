"""The command `couchlet`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from couchlet import __version__, streams
from couchlet.auth.credentials import CredentialsError, drw_home, load_credentials
from couchlet.json_text import RECURSION_LIMIT
from couchlet.storage.catalog import DataDirectoryError
from couchlet.web.context import DEFAULT_MAX_REQUEST_BYTES, ServerSettings
from couchlet.web.server import CouchletServer, is_loopback, loopback_hosts

if TYPE_CHECKING:
    from collections.abc import Sequence

_CANNOT_START: Final = 2
_HIGHEST_PORT: Final = 65535
_SWITCH_S: Final = 0.001
_TIDY_S: Final = 10.0


class _Refused(Exception):
    """The server cannot start; the message says why and what to do."""


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port: give a number from 0 (any free one) to {_HIGHEST_PORT}")
    return int(text)


def _byte_count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of bytes: give one above 0")
    return int(text)


def _directory(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text} is no directory: there is no such user") from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong; the usage is for those who ask for it."""
        self.exit(_CANNOT_START, f"{self.prog}: {message} ({self.prog} -h tells more)\n")


class _UtcFormatter(logging.Formatter):
    """The actors' format: ``2026-11-20T23:40:00.123Z couchlet INFO text``."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (logging's name)
        """Return the record's time, UTC, to the millisecond."""
        del datefmt
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="couchlet",
        description="An embedded stand-in for Apache CouchDB 3.5: the same HTTP interface, for one machine.",
        epilog="The administrator is taken from COUCHDB_USER and COUCHDB_PASSWORD, else from $DRW_HOME/credentials "
        "(DRW_HOME is ~/.drw if not set), which is made at the first start. "
        "Example: couchlet --port 5984 --data /var/lib/couchlet",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=5984, help="port to listen on, 0 for any (default %(default)s)")
    parser.add_argument("--data", type=_directory, metavar="DIR", help="data directory (default $DRW_HOME/couchlet)")
    parser.add_argument(
        "--max-request-bytes",
        type=_byte_count,
        default=DEFAULT_MAX_REQUEST_BYTES,
        metavar="N",
        help="largest body taken at once; attachments that come alone are not limited (default %(default)s)",
    )
    parser.add_argument(
        "--auth-lockout",
        choices=("enforce", "off"),
        default="off",
        help="lock an account for five minutes after five wrong passwords from one address (default %(default)s)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="what goes to standard error (default %(default)s; debug has a line for every request)",
    )
    parser.add_argument("--version", action="version", version=f"couchlet {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT; returns the exit code, 2 if it cannot start."""
    streams.prepare()
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_UtcFormatter("%(asctime)s couchlet %(levelname)s %(message)s"))
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    # The writer's thread comes back from a sync to a busy event loop: it should not wait long for its turn.
    sys.setswitchinterval(_SWITCH_S)
    sys.setrecursionlimit(RECURSION_LIMIT)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(options))
    except (_Refused, CredentialsError, DataDirectoryError) as error:
        print(f"couchlet: {error}", file=sys.stderr)
        return _CANNOT_START
    return 0


async def _tidy_memory_until(stop: asyncio.Event) -> None:
    """Give freed memory back to the system now and then, until the server is to stop.

    glibc keeps what was freed in its heaps, one for some threads each, and memory would go on growing for long
    (`malloc_trim(3)`); other C libraries do without.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TIDY_S)
        if trim is not None:
            trim(0)


async def _serve(options: argparse.Namespace) -> None:
    admin, password, source = _credentials(options.host)
    directory = (options.data or drw_home(os.environ) / "couchlet").absolute()
    settings = ServerSettings(
        host=options.host,
        port=options.port,
        max_request_bytes=options.max_request_bytes,
        hosts=loopback_hosts(options.host),
        auth_lockout=options.auth_lockout == "enforce",
    )
    server = CouchletServer(settings=settings, directory=directory, admin=admin, password=password)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        port = await server.start()
    except OSError as error:
        await server.stop()
        raise _Refused(
            f"cannot listen on {options.host} port {options.port}: {error.strerror or error}; "
            "stop what uses it, or choose another with --port"
        ) from error
    logging.getLogger("couchlet").info("administrator %s from %s", admin, source)
    host = f"[{options.host}]" if ":" in options.host else options.host
    streams.say(f"couchlet listening on http://{host}:{port} data {directory}")
    try:
        await _tidy_memory_until(stop)
    finally:
        await server.stop()


def _credentials(host: str) -> tuple[str, str, str]:
    if not is_loopback(host) and not (os.environ.get("COUCHDB_USER") and os.environ.get("COUCHDB_PASSWORD")):
        raise _Refused(
            f"{host} is reachable from other machines: set COUCHDB_USER and COUCHDB_PASSWORD first, "
            "or use --host 127.0.0.1"
        )
    return load_credentials(os.environ)
