"""The hook of test_killed.py: counts the effects of this process, and kills it just before or just after one of them.

An effect is what outlasts a process: a write to CouchDB, a file or folder made, renamed or removed, a program started.
Signs of life and renewed leases are no steps of any work, and come when they come: they are not counted.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3

if TYPE_CHECKING:
    from collections.abc import Callable

_READS = ("_find", "_all_docs", "_bulk_get", "_session", "_changes", "_index")
_WRITING = os.O_CREAT | os.O_WRONLY | os.O_RDWR


class Hook:
    """Notes every effect in ``journal``, a line each, and strikes at the one with the number ``at`` (0: never)."""

    def __init__(self, home: Path, journal: int, at: int, when: str) -> None:
        self._home = str(home)
        self._journal = journal
        self._at = at
        self._when = when
        self._count = 0
        self._lock = threading.Lock()

    def install(self) -> None:
        """Stand around everything that has an effect, in this process."""
        for name in ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "symlink", "link"):
            self._wrap(os, name, self._path_effect)
        self._wrap(os, "open", lambda path, flags, *_, **__: flags & _WRITING and self._path_effect(path))
        for module in (io, __import__("builtins")):
            self._wrap(module, "open", self._open_effect)
        self._wrap(subprocess.Popen, "__init__", lambda _, argv, *__, **___: f"start {Path(argv[0]).name}")
        self._wrap(urllib3.HTTPConnectionPool, "urlopen", self._http_effect)

    def _wrap(self, owner: Any, name: str, effect_of: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def around(*args: Any, **kwargs: Any) -> Any:
            what = effect_of(*args, **kwargs)
            if not what:
                return original(*args, **kwargs)
            number = self._note(f"{name} {what}")
            result = original(*args, **kwargs)
            if number == self._at and self._when == "after":
                self._die()
            return result

        setattr(owner, name, around)

    def _note(self, what: str) -> int:
        with self._lock:
            self._count += 1
            number = self._count
            dies = number == self._at and self._when == "before"
            os.write(self._journal, f"{what}\n".encode())
        if dies:
            self._die()
        return number

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _path_effect(self, path: object, *_: object, **options: object) -> str:
        """Return what to note of an effect on a path; nothing outside the home (``dir_fd`` is only used within)."""
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        return text if text.startswith(self._home) or options.get("dir_fd") is not None else ""

    def _open_effect(self, path: object, mode: str = "r", *_: object, **__: object) -> str:
        return self._path_effect(path) if set(mode) & set("wax+") else ""

    def _http_effect(self, _: object, method: str, url: str, body: object = None, **__: object) -> str:
        path = urlsplit(url).path
        if method == "GET" or path.endswith(_READS) or path.startswith("/actors/"):
            return ""
        ops = _ops(body)
        return "" if ops == {"renew"} else f"{method} {path} {' '.join(sorted(ops))}"


def _ops(body: object) -> set[str]:
    """Return which transitions of messages a request writes."""
    if not isinstance(body, bytes) or body[:1] != b"{":
        return set()
    content = json.loads(body)
    return {doc["last"]["op"] for doc in content.get("docs", [content]) if isinstance(doc, dict) and "last" in doc}
