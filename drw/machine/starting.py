"""How processes are started with given settings: their environment, and in the background or under tmux."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from drw.machine import background, tmux
from shared.errors import CacheError
from shared.settings import PASSWORD_VARIABLE, USER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drw.machine.background import Started
    from drw.machine.processes import Process
    from shared.settings import Settings

    Start = Callable[[Sequence[Process]], Started]

URL_VARIABLE: Final = "DRW_COUCHDB_URL"
WEBLOG_VARIABLE: Final = "DRW_WEBLOG_URL"
_GRACE_SPARE_S: Final = 2.0
"""What ends well within its own grace must have a moment to leave."""


def environment(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for what is started: this one, with what follows from it.

    Folders are made absolute, because the processes start elsewhere; weblogs are where the JAO cache's port is; user
    and password come out of the address, because couchlet looks for them beside it.
    """
    outer = os.environ if environ is None else environ
    folders = {
        "DRW_HOME": settings.home,
        "DRW_EU_CACHE": settings.eu_cache,
        "DRW_JAO_CACHE": settings.jao_cache,
        "DRW_WORK_DIR": settings.work_dir,
        "DRW_LOG_DIR": settings.log_dir,
    }
    made = {**outer, **{name: str(path) for name, path in folders.items() if path}}
    if not outer.get(WEBLOG_VARIABLE):
        made[WEBLOG_VARIABLE] = f"http://localhost:{settings.jao_port}/weblogs"
    if "@" in outer.get(URL_VARIABLE, ""):
        made |= {
            URL_VARIABLE: settings.couchdb_url,
            USER_VARIABLE: settings.user,
            PASSWORD_VARIABLE: settings.password,
        }
    return made


def starter(settings: Settings, environ: Mapping[str, str], *, in_tmux: bool = False) -> Start:
    """Return what starts processes with these settings, in the background or under tmux."""
    way = tmux.start if in_tmux else background.start

    def start(wanted: Sequence[Process]) -> Started:
        return way(
            wanted,
            environ=environ,
            home=settings.home,
            logs=settings.logs_dir(),
            grace_s=settings.grace_s + _GRACE_SPARE_S,
        )

    return start


def refuse_nested_caches(settings: Settings) -> None:
    """Raise CacheError where the two caches are one, or one is within the other."""
    eu, jao = settings.eu_cache_dir().resolve(), settings.jao_cache_dir().resolve()
    if eu.is_relative_to(jao) or jao.is_relative_to(eu):
        how = f"are both {eu}" if eu == jao else f"lie within each other ({eu}, {jao})"
        raise CacheError(f"the EU and the JAO cache {how}: name two folders in DRW_EU_CACHE and DRW_JAO_CACHE")
