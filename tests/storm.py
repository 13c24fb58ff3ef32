"""A storm: many OUSs go through a whole system of real processes while everything that can go wrong does.

What goes wrong, and when, is drawn from a seed: actors are killed, or stopped for longer than a lease, the database is
killed, and the line between the two refuses, hangs, loses answers, stalls its feed, answers 5xx, is slow; a disk is
full. Whoever dies is started again, as a supervisor would. Then the weather clears, and what is left must be right
without a hand laid on it.
"""

from __future__ import annotations

import random
import resource
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import troubles
from aftermath import FINAL, Aftermath
from proxy import Proxy

from actors.aqua_qa2.desk import Desk
from actors.launcher import launch
from shared import lifecycle, names
from shared.actor import Actor
from shared.entities import Entities
from shared.errors import DrwError
from shared.messages import ProcessRequest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


EXECUTIVES = ("EU", "NA")
FLAGS = ("Pass", "Pass", "Pass", "Pass", "Pass", "Semipass", "Fail")
CALM_S = 240.0
LONGER_THAN_A_LEASE_S = 8.0
SMALL_FILE_BYTES = 600


class Crew:
    """The actors, each started again when it is gone."""

    def __init__(self, system, caches: dict[str, Path]) -> None:
        self._system = system
        web = ("-p", "0")
        eu, na, jao = (caches[each] for each in ("EU", "NA", "JAO"))
        driver = ("-mr", "4", "--failure-rate", "0.1")
        self._commands = {
            "xtss": ("xtss", "--strict"),
            "driver EU": ("pipeline-driver", "EU", eu, *driver),
            "driver NA": ("pipeline-driver", "NA", na, *driver),
            "cache EU": ("replicated-cache", "-e", "EU", "-lc", eu, *web),
            "cache NA": ("replicated-cache", "-e", "NA", "-lc", na, *web),
            "cache JAO": ("replicated-cache", "-e", "JAO", "-lc", jao, "-euc", eu, "-nac", na, *web),
            "aqua": ("aqua-qa2", "--listen"),
            "ingestor": ("product-ingestor", jao),
            "tracker": ("data-tracker",),
        }
        self._running = {name: self._start(name) for name in self._commands}
        self._lock = threading.Lock()
        self.restarts: Counter[str] = Counter()

    def _start(self, name: str):
        command = self._commands[name]
        return self._system.start(*command, ready="")

    @property
    def names(self) -> list[str]:
        return list(self._commands)

    def process(self, name: str) -> subprocess.Popen:
        return self._running[name].process

    def mend(self) -> None:
        """Start again whoever is gone."""
        with self._lock:
            for name, running in self._running.items():
                if running.process.poll() is not None:
                    running.process.stdout.close()
                    self.restarts[name] += 1
                    self._running[name] = self._start(name)


class Weather:
    """What goes wrong, drawn from a seed: one trouble every few hundred milliseconds."""

    def __init__(self, crew: Crew, couchlet, proxy: Proxy, seed: int) -> None:
        self._crew = crew
        self._couchlet = couchlet
        self._proxy = proxy
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._resting: list[threading.Thread] = []
        self.log: list[str] = []
        self._troubles: list[tuple[int, Callable[[], None]]] = [
            (6, self._kill_actor),
            (3, self._stop_actor),
            (int(couchlet.is_ours), self._kill_database),
            (1, self._refuse),
            (1, self._stall_feeds),
            (1, self._fill_disk),
            (2, lambda: self._on_the_line("answers lost", troubles.lose_answer)),
            (1, lambda: self._on_the_line("answers halved", troubles.halve_answer)),
            (1, lambda: self._on_the_line("503", troubles.fail(503))),
            (1, lambda: self._on_the_line("slow", troubles.delay(0.4))),
            (1, lambda: self._on_the_line("hanging", troubles.hang)),
        ]

    def blow(self, seconds: float) -> None:
        """Let things go wrong for so long, then clear up."""
        until = time.monotonic() + seconds
        weights = [weight for weight, _ in self._troubles]
        while time.monotonic() < until:
            self._over.wait(self._chance.uniform(0.2, 0.8))
            [(_, trouble)] = self._chance.choices(self._troubles, weights)
            trouble()
            self._crew.mend()
        for each in self._resting:
            each.join()
        self._proxy.release_feeds()

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        thread = threading.Timer(seconds, undo)
        self._resting.append(thread)
        thread.start()

    def _someone(self) -> tuple[str, subprocess.Popen]:
        name = self._chance.choice(self._crew.names)
        return name, self._crew.process(name)

    def _kill_actor(self) -> None:
        name, process = self._someone()
        self.log.append(f"kill {name}")
        process.kill()
        process.wait()

    def _stop_actor(self) -> None:
        name, process = self._someone()
        seconds = self._chance.choice([0.5, 2.0, LONGER_THAN_A_LEASE_S])
        self.log.append(f"stop {name} for {seconds:g} s")
        process.send_signal(signal.SIGSTOP)
        self._later(seconds, lambda: process.send_signal(signal.SIGCONT))

    def _kill_database(self) -> None:
        seconds = self._chance.uniform(0.1, 2.0)
        self.log.append(f"kill the database for {seconds:.1f} s")
        self._couchlet.kill()
        self._over.wait(seconds)
        self._couchlet.start()

    def _refuse(self) -> None:
        seconds = self._chance.uniform(0.2, 3.0)
        self.log.append(f"refuse connections for {seconds:.1f} s")
        self._proxy.refuse()
        self._over.wait(seconds)
        self._proxy.open()

    def _stall_feeds(self) -> None:
        self.log.append("stall the feeds")
        self._proxy.stall_feeds()
        self._later(self._chance.uniform(1.0, 6.0), self._proxy.release_feeds)

    def _fill_disk(self) -> None:
        """Let one of those who write files write no more than a little into each, for a while."""
        name = self._chance.choice([each for each in self._crew.names if each.split()[0] in {"driver", "cache"}])
        pid = self._crew.process(name).pid
        self.log.append(f"a full disk for {name}")
        _limit_files(pid, SMALL_FILE_BYTES)
        self._later(self._chance.uniform(1.0, 5.0), lambda: _limit_files(pid, resource.RLIM_INFINITY))

    def _on_the_line(self, what: str, action: Callable) -> None:
        self.log.append(f"the line: {what}")
        rule = self._proxy.rule(lambda _: True, action, times=self._chance.randrange(1, 12))
        self._later(3.0, rule.lift)


def _limit_files(pid: int, most: int) -> None:
    with suppress(ProcessLookupError):  # killed meanwhile
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


class Storm:
    """One storm over a system with so many OUSs."""

    def __init__(self, system, seed: int, *, units: int, seconds: float, calm_s: float = CALM_S) -> None:
        self._system = system
        self._seed = seed
        self._seconds = seconds
        self._calm_s = calm_s
        self._chance = random.Random(seed)
        self._proxy = Proxy(system.couchlet.url)
        temporary = system.home / "tmp"
        temporary.mkdir()
        system.environ |= {"DRW_COUCHDB_URL": self._proxy.url, "TMPDIR": str(temporary)}
        self.caches = {"EU": system.eu, "JAO": system.jao, "NA": system.home / "na-cache"}
        self.caches["NA"].mkdir()
        self.ouss = {f"uid://B{seed:x}/X{number:x}/X1": EXECUTIVES[number % 2] for number in range(units)}
        self._crew = Crew(system, self.caches)
        self._weather = Weather(self._crew, system.couchlet, self._proxy, seed)
        self._operator = Actor("operator", system.settings)  # straight to the database: the storm is not for him
        self._desk = Desk(self._operator, "ada")
        self._entities = Entities(self._operator.connection)
        self._states: dict[str, str] = {}

    @property
    def log(self) -> list[str]:
        """What went wrong, in order."""
        return self._weather.log

    @property
    def processes(self) -> dict[str, int]:
        """Who runs, by name, with which pid."""
        return {name: self._crew.process(name).pid for name in self._crew.names}

    @property
    def restarts(self) -> int:
        """How often an actor had to be started again."""
        return sum(self._crew.restarts.values())

    @property
    def progress(self) -> float:
        """Which share of the OUSs has come to its end."""
        return sum(state in FINAL for state in self._states.values()) / len(self.ouss)

    def run(self) -> list[str]:
        """Let it blow and pass; return everything that is not right afterwards."""
        self.pass_over()
        return self.wrong()

    def wrong(self) -> list[str]:
        """End everything; return what is not right."""
        return Aftermath(self._system, self.caches, self._states).wrong()

    def pass_over(self) -> None:
        """Let it blow, and wait until every OUS has come to its end."""
        operating = threading.Thread(target=self._operate, daemon=True)
        operating.start()
        self._weather.blow(self._seconds)
        deadline = time.monotonic() + self._calm_s
        while operating.is_alive() and time.monotonic() < deadline:
            operating.join(1.0)
            self._crew.mend()

    def close(self) -> None:
        """End what the system does not know of."""
        self._operator.bus.stop()
        self._operator.connection.close()
        self._proxy.close()

    # The people

    def _operate(self) -> None:
        """Launch everything, and review what waits, until every OUS has come to its end."""
        waiting = list(self.ouss)
        while waiting or not self._is_over():
            waiting = [ous for ous in waiting if not self._launch_once(ous)]
            with suppress(DrwError):
                self._review_what_waits()
                self._launch_what_failed()
            time.sleep(0.2)  # people look now and then

    def _launch_once(self, ous: str) -> bool:
        """Launch, unless an earlier try did though it was told that it may not have: people look before they repeat."""
        with suppress(DrwError):
            return self._state(ous) not in {"", lifecycle.READY_FOR_PROCESSING} or self._launch(ous)
        return False

    def _launch(self, ous: str) -> bool:
        request = ProcessRequest(progID="2015.1.00657.S", ousUID=ous, recipe=names.DEFAULT_RECIPE)
        try:
            launch(self._operator, request, self.ouss[ous])
        except DrwError:
            return False
        return True

    def _review_what_waits(self) -> None:
        for entity in self._entities.in_state(lifecycle.READY_FOR_REVIEW):
            with suppress(DrwError):
                taken, report = self._desk.take(entity.entity_id)
                self._desk.give_verdict(taken, report, self._chance.choice(FLAGS), "seen in a storm")

    def _launch_what_failed(self) -> None:
        """Launch again what a reviewer has sent back; of a launch that waits already there is no second."""
        for ous, state in self._states.items():
            if state == lifecycle.READY_FOR_PROCESSING and self._system.entity(ous).history[-1].note.startswith("Fail"):
                self._launch(ous)

    def _is_over(self) -> bool:
        try:
            self._states = {ous: self._state(ous) for ous in self.ouss}
        except DrwError:
            return False
        return set(self._states.values()) <= FINAL

    def _state(self, ous: str) -> str:
        if self._states.get(ous) in FINAL:
            return self._states[ous]
        entity = self._system.entity(ous)
        return entity.state if entity else ""
