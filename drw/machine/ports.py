"""Ports of this machine: which are free, and which setting changes the one that is not."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from shared.errors import BadInput, DrwError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drw.machine.processes import Process


def is_free(port: int) -> bool:
    """Tell whether a server may listen on this port (0: on any)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(wanted: int, *, but: Sequence[int] = ()) -> int:
    """Return the wanted port if nobody listens on it and it is none of ``but``, else some port that is free."""
    if wanted not in but and is_free(wanted):
        return wanted
    for _ in range(len(but) + 1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port not in but:
                return port
    raise DrwError(f"no port is free, neither {wanted} nor any other: end what uses them")


def refuse_taken(processes: Sequence[Process]) -> None:
    """Raise BadInput that names each port which is in use, or given twice, and the setting to change."""
    wrong = []
    users: dict[int, Process] = {}
    for each in processes:
        if not each.port:
            continue
        change = f"set {each.port_setting} to another"
        if other := users.get(each.port):
            wrong.append(f"port {each.port} is given to both {other.name} and {each.name}: {change}")
        elif not is_free(each.port):
            wrong.append(f"port {each.port}, for {each.name}, is in use: end what uses it, or {change}")
        users[each.port] = each
    if wrong:
        raise BadInput("; ".join(wrong))
