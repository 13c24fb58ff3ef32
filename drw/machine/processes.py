"""What runs when drw runs: the table of its processes, a pure function of the settings.

These are the commands of the section *Processes* of the requirement, one terminal each; the launcher and the demo start
them from here and nowhere else.
"""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.settings import Settings

COUCHLET: Final = "couchlet"
REVIEWER: Final = "aqua-qa2"
NOTIFIER: Final = "notifier"
"""Runs only where there is a web address to tell, ``DRW_WEBHOOK_URL``."""

READY: Final = r"[ \"]ready\b"
"""What the log of an actor says when it serves: ``INFO ready: …``, or ``"text": "ready: …"``."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A program that is to run.

    ``log`` is its log file, and ``ready`` the regular expression that its log matches once it serves. A program that
    does not write that file itself (``writes_log``) gets its output sent there. What has a lower ``layer`` is ended
    later: the database is under the actors. ``address`` is what to open in a browser; it listens on ``port``, which the
    setting ``port_setting`` changes. One that ``prompts`` asks a person at its terminal, who may quit it.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    ready: str = READY
    writes_log: bool = True
    layer: int = 1
    address: str = ""
    port: int = 0
    port_setting: str = ""
    prompts: bool = False


def scripts_dir() -> Path:
    """Return the directory of our console scripts: that of the Python that runs this, in its virtual environment."""
    return Path(sys.executable).parent


def actors(settings: Settings, *, prompt: bool = False, log_format: str = "text") -> tuple[Process, ...]:
    """Return every actor and the dashboard; with ``prompt``, aqua-qa2 asks at its terminal instead of only listening.

    xtss comes first, because most others ask it something soon.
    """
    eu_cache, jao_cache = str(settings.eu_cache_dir()), str(settings.jao_cache_dir())
    eu_port, jao_port, port = settings.eu_port, settings.jao_port, settings.dashboard_port
    eu_args = ("-e", "EU", "-lc", eu_cache, "-p", str(eu_port))
    jao_args = ("-e", "JAO", "-lc", jao_cache, "-euc", eu_cache, "-p", str(jao_port))
    commands: Sequence[tuple[str, tuple[str, ...], int, str]] = (
        ("xtss", ("xtss", "--strict"), 0, ""),
        ("replicated-cache-EU", ("replicated-cache", *eu_args), eu_port, "DRW_EU_PORT"),
        ("replicated-cache-JAO", ("replicated-cache", *jao_args), jao_port, "DRW_JAO_PORT"),
        ("pipeline-driver-EU", ("pipeline-driver", "EU", eu_cache), 0, ""),
        (REVIEWER, (REVIEWER,) if prompt else (REVIEWER, "--listen"), 0, ""),
        ("product-ingestor", ("product-ingestor", jao_cache), 0, ""),
        ("data-tracker", ("data-tracker",), 0, ""),
        ("dashboard", ("dashboard", "--port", str(port)), port, "DRW_DASHBOARD_PORT"),
        *([(NOTIFIER, (NOTIFIER,), 0, "")] if settings.webhook_url else []),
    )
    return tuple(
        Process(
            name=name,
            argv=_logged(argv, settings.logs_dir() / f"{name}.log", log_format),
            log=settings.logs_dir() / f"{name}.log",
            address=f"http://localhost:{at}/" if at else "",
            port=at,
            port_setting=setting,
            prompts=prompt and name == REVIEWER,
        )
        for name, argv, at, setting in commands
    )


def couchlet(settings: Settings) -> Process:
    """Return the stand-in for CouchDB at ``DRW_COUCHDB_URL``; BadInput where it could not serve that address."""
    parts = urlsplit(settings.couchdb_url)
    host = parts.hostname or ""
    if parts.scheme != "http" or parts.path or not is_loopback(host):
        raise BadInput(
            f"no CouchDB answers at DRW_COUCHDB_URL, {settings.couchdb_url}: start it, or correct the address; "
            "couchlet is started in its place only at an address like http://127.0.0.1:5984"
        )
    listen = ("--host", "127.0.0.1" if host == "localhost" else host, "--port", str(parts.port or 80))
    return Process(
        name=COUCHLET,
        argv=(str(scripts_dir() / COUCHLET), *listen, "--data", str(settings.home / COUCHLET)),
        log=settings.logs_dir() / f"{COUCHLET}.log",
        ready="couchlet listening on ",
        writes_log=False,
        layer=0,
        address=f"{settings.couchdb_url}/",
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine, as seen by itself only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _logged(argv: tuple[str, ...], log: Path, log_format: str) -> tuple[str, ...]:
    program, *arguments = argv
    return (str(scripts_dir() / program), *arguments, "--log-file", str(log), "--log-format", log_format)
