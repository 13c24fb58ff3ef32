"""What runs where, as kept in ``$DRW_HOME``: small files and two locks, readable by their owner only.

::

    running.json     who runs with which pid, since when, how it fares; written by whoever starts the processes
    windows/         the same of each process under tmux, a file each; written by the keeper in its window
    wanted.json      what is to run and in which environment; written by the launcher, read by the supervisor
    launch.lock      held by a launcher at work, so that two agree
    supervisor.lock  held by the supervisor as long as it lives
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec

from drw.machine import pids
from drw.machine.processes import Process  # noqa: TC001 (msgspec reads the annotations)
from shared.errors import DrwError, ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")
_WINDOWS: Final = "windows"
Phase = Literal["starting", "ready", "waiting", "failed", "gone"]
"""``waiting``: it ended and is started again in a while; ``failed``: it is not; ``gone``: nobody knows why."""


class Row(msgspec.Struct, kw_only=True):
    """A process that was started. ``pid`` and ``born`` are those of its latest start, ``since`` is when that was."""

    process: Process
    phase: Phase = "starting"
    pid: int = 0
    born: str = ""
    since: str = ""
    restarts: int = 0
    ending: str = ""
    """How it last ended, to follow its name: ``exited with status 1``."""
    log_from: int = 0
    """Where in its log file its latest start begins (bytes)."""
    window: str = ""
    """The id of its tmux window, if it has one. Then ``pid`` is that of its keeper in there."""
    child: int = 0
    """The pid of the process itself, if ``pid`` is that of its keeper."""
    child_born: str = ""

    def is_alive(self) -> bool:
        """Tell whether it, or its keeper, runs now, whatever its phase says."""
        return pids.is_alive(self.pid, self.born) or pids.is_alive(self.child, self.child_born)

    def shown_pid(self) -> int:
        """Return the pid of the process itself."""
        return self.child or self.pid


class Window(msgspec.Struct, kw_only=True):
    """How the process in a tmux window fares, as its keeper (pid ``keeper``) has it; otherwise as :class:`Row`."""

    keeper: int
    phase: Phase
    pid: int
    born: str
    since: str
    restarts: int
    ending: str
    log_from: int


class State(msgspec.Struct, kw_only=True):
    """Everything that was started here. ``order`` is the number of the latest :class:`Wanted` that it answers."""

    schema: int = 1
    mode: Literal["background", "tmux"] = "background"
    order: int = 0
    supervisor: int = 0
    supervisor_born: str = ""
    supervisor_since: str = ""
    rows: list[Row] = msgspec.field(default_factory=list)

    def row(self, name: str) -> Row | None:
        """Return the row of the process of this name."""
        return next((row for row in self.rows if row.process.name == name), None)

    def alive(self) -> list[Row]:
        """Return what runs now."""
        return [row for row in self.rows if row.is_alive()]


class Wanted(msgspec.Struct, kw_only=True):
    """What is to run. ``environ`` is for what is started from now on; ``grace_s`` is how long an end may take."""

    schema: int = 1
    order: int = 0
    processes: list[Process] = msgspec.field(default_factory=list)
    environ: dict[str, str] = msgspec.field(default_factory=dict)
    grace_s: float = 10.0


class Home:
    """The folder of those files, made when it is not there."""

    def __init__(self, path: Path) -> None:
        """Take the folder: ``$DRW_HOME``, or the demo's."""
        self.path = path

    def make(self) -> None:
        """Make the folder, for its owner only; DrwError if that is impossible."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DrwError(
                f"the folder {self.path} cannot be made: {error.strerror}; name another in DRW_HOME"
            ) from error

    def state(self) -> State:
        """Return what was started, as its writer left it; empty if nothing was."""
        state = self._read("running.json", State) or State()
        for row in state.rows:
            if row.window:
                self._look_into_window(row)
        return state

    def _look_into_window(self, row: Row) -> None:
        said = self._read(f"{_WINDOWS}/{row.process.name}.json", Window)
        if said and said.keeper == row.pid:
            row.phase, row.since, row.restarts, row.ending = said.phase, said.since, said.restarts, said.ending
            row.log_from, row.child, row.child_born = said.log_from, said.pid, said.born

    def wanted(self) -> Wanted:
        """Return what is to run."""
        return self._read("wanted.json", Wanted) or Wanted()

    def write(self, content: State | Wanted) -> None:
        """Write one of the two, whole or not at all."""
        self._write("running.json" if isinstance(content, State) else "wanted.json", content)

    def write_window(self, name: str, window: Window) -> None:
        """Write how the process ``name`` fares in its window."""
        (self.path / _WINDOWS).mkdir(mode=0o700, exist_ok=True)
        self._write(f"{_WINDOWS}/{name}.json", window)

    def _write(self, name: str, content: State | Wanted | Window) -> None:
        path = self.path / name
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        text = msgspec.json.format(msgspec.json.encode(content, enc_hook=str))
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
        temporary.replace(path)

    def forget(self) -> None:
        """Remove them: nothing runs any more."""
        shutil.rmtree(self.path / _WINDOWS, ignore_errors=True)
        (self.path / "running.json").unlink(missing_ok=True)
        (self.path / "wanted.json").unlink(missing_ok=True)

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Be the only launcher at work here; wait for another one to finish."""
        self.make()
        file = self._open_lock("launch.lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def supervise(self) -> bool:
        """Become the supervisor here until this process has ended; False if there is one already.

        Only the end of the process lets go of the lock: whoever sees it free finds no supervisor any more.
        """
        file = self._open_lock("supervisor.lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        return True

    def is_supervised(self) -> bool:
        """Tell whether a supervisor lives here; nothing is written, so that one may look where one may not write."""
        try:
            file = os.open(self.path / "supervisor.lock", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise DrwError(f"{self.path / 'supervisor.lock'} cannot be read: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def _open_lock(self, name: str) -> int:
        try:
            return os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DrwError(f"{self.path / name} cannot be written: {error.strerror}") from error

    def _read(self, name: str, kind: type[_T]) -> _T | None:
        path = self.path / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=_decode)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DrwError(f"{path} cannot be read: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise ProgramError(
                f"{path} is damaged ({error}): end what still runs by hand, and remove that file"
            ) from error


def now() -> str:
    """Return this moment as the files and tables have it: UTC, seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(home: Path) -> State:
    """Return what runs where, looked at now: what should run, or be started again, and is not, is ``gone``."""
    place = Home(home)
    state = place.state()
    supervised = place.is_supervised()
    for row in state.rows:
        lost = row.phase in {"starting", "ready"} and not row.is_alive()
        forsaken = row.phase == "waiting" and not (supervised or row.is_alive())
        if lost or forsaken:
            row.phase = "gone"
    return state


def _decode(kind: type[Any], value: object) -> Path:
    if kind is not Path:
        raise NotImplementedError(kind)
    return Path(str(value))
