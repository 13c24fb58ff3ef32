"""Under which addresses the dashboard, and a cache's web server, may be asked. Pure.

A page of somebody else can have its own name point at this machine (DNS rebinding), and then read everything as if it
were ours. Such a page always comes with a name; what nobody else can own is an address in figures, ``localhost``, and
this machine's name. Any other has to be given, with ``--origin`` or in ``DRW_DASHBOARD_ORIGIN`` and
``DRW_CACHE_ORIGIN``.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_PORTS: Final = {"http": 80, "https": 443}
_SAME: Final = frozenset({"same-origin", "none"})


def origin(text: str) -> str:
    """Return an address such as ``https://drw.example.org`` as browsers name it; raise BadInput for anything else."""
    parts = _split(text.rstrip("/"))
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or parts.path or parts.query or parts.username:
        raise BadInput(f"{shown(text)} is no address: write it like https://drw.example.org")
    return f"{parts.scheme}://{_authority(parts)}"


class Origins:
    """The addresses at which browsers may see a web server of ours."""

    def __init__(self, given: Iterable[str] = (), *, hosts: Iterable[str] = ()) -> None:
        """Take the addresses, and the names of hosts, that were given besides this machine's own."""
        self._given = frozenset(origin(each) for each in given)
        named = {"localhost", socket.gethostname(), *hosts, *(str(urlsplit(each).hostname) for each in self._given)}
        self._hosts = {each.lower() for each in named}

    def serves(self, host: str) -> bool:
        """Tell whether a request's ``Host`` is a name of ours."""
        parts = _split(f"//{host}")
        if parts is None or not parts.hostname or parts.username is not None or parts.path:
            return False
        return parts.hostname in self._hosts or _is_figures(parts.hostname)

    def is_own(self, host: str, sent_from: str, fetch_site: str) -> bool:
        """Tell whether a request that changes something comes from a page of ours.

        ``sent_from`` is its header ``Origin``, ``fetch_site`` its ``Sec-Fetch-Site``; without either it does not. A
        page next door, at another port of the same machine, is "same-site" and is not ours.
        """
        if fetch_site and fetch_site not in _SAME:
            return False
        if not sent_from:
            return fetch_site == "same-origin"
        if sent_from in self._given:
            return True
        parts, asked = _split(sent_from), _split(f"http://{host}")
        return bool(parts and asked and parts.scheme == "http" and _authority(parts) == _authority(asked))

    def is_secure(self, host: str) -> bool:
        """Tell whether browsers see a host by HTTPS, by way of a proxy."""
        asked = _split(f"https://{host}")
        return asked is not None and f"https://{_authority(asked)}" in self._given


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _authority(parts: SplitResult) -> str:
    """Return host and port, the port only where it is not the scheme's own."""
    host = parts.hostname or ""
    shown_host = f"[{host}]" if ":" in host else host
    return shown_host if parts.port in {None, _PORTS[parts.scheme]} else f"{shown_host}:{parts.port}"


def _is_figures(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
