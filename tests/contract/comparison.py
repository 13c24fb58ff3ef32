"""When an answer is like the recorded one.

The same status; for an error the same `error` and `reason`; for the rest the same JSON, the ids of revisions too,
except that sequences (but for their numbers), bookmarks and the facts of one particular server stand for each other:
what a recording calls by one name, the server has to call by one name throughout a scenario, so that later requests can
be translated.
"""

from __future__ import annotations

from typing import Any

SEQUENCES = {"seq", "last_seq", "update_seq", "purge_seq", "bookmark"}
OF_THE_SERVER = {
    "uuid",
    "uuids",
    "git_sha",
    "version",
    "vendor",
    "features",
    "sizes",
    "instance_start_time",
    "cluster",
    "props",
    "pending",
    "execution_stats",
    "warning",
}


class Difference(AssertionError):
    """An answer is not like the recorded one."""


class Names:
    """What the names in a recording are called by the server that is tested."""

    def __init__(self, recorded_credentials: str, credentials: str) -> None:
        self._ours: dict[str, str] = {recorded_credentials: credentials}
        self.admin = ("admin", "admin")

    def learn(self, recorded: str, ours: str) -> None:
        known = self._ours.setdefault(recorded, ours)
        if known != ours:
            raise Difference(f"{recorded} was {known}, and is {ours} now")

    def translate(self, text: str) -> str:
        """A recorded text with the server's names."""
        for recorded in sorted(self._ours, key=len, reverse=True):
            if len(recorded) > 8:
                text = text.replace(recorded, self._ours[recorded])
        return text


def compare(recorded: Any, ours: Any, names: Names, where: str = "body") -> None:
    """Raise Difference unless the two values are alike."""
    if isinstance(recorded, dict):
        if not isinstance(ours, dict) or recorded.keys() != ours.keys():
            raise Difference(f"{where} has other members: {recorded!r} and {ours!r}")
        for name, value in recorded.items():
            _compare_member(name, value, ours[name], names, f"{where}.{name}")
    elif isinstance(recorded, list):
        if not isinstance(ours, list) or len(recorded) != len(ours):
            raise Difference(f"{where} has another length: {recorded!r} and {ours!r}")
        for place, (left, right) in enumerate(zip(recorded, ours, strict=True)):
            compare(left, right, names, f"{where}[{place}]")
    elif recorded != ours or isinstance(recorded, bool) != isinstance(ours, bool):
        raise Difference(f"{where} is {ours!r}, recorded is {recorded!r}")


def _compare_member(name: str, recorded: Any, ours: Any, names: Names, where: str) -> None:
    if name in OF_THE_SERVER:
        return
    if name == "name" and recorded == names.admin[0]:
        recorded = names.admin[1]
    if name in SEQUENCES and isinstance(recorded, str) and recorded != "nil":
        if name != "bookmark" and recorded.partition("-")[0] != ours.partition("-")[0]:
            raise Difference(f"{where} is {ours!r}, recorded is {recorded!r}")
        names.learn(recorded, ours)
        return
    compare(recorded, ours, names, where)
