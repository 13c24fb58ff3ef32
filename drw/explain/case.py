"""One OUS with what is known of it, and how an answer about it is made. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drw import ages
from shared import lifecycle

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from drw.crew import Post, Worker
    from drw.letters import Letter
    from shared.bus.pauses import Pause
    from shared.cancels import Cancellation
    from shared.proofs import Unproved
    from shared.status import StatusEntity

NOTHING: Final = "nothing"
ITSELF: Final = "by itself"
PERSON: Final = "a person"
"""Who moves an OUS on: nobody, because it is delivered; the system, without anybody's help; or a person."""

_LONG_AGO_S: Final = 1e9
_WITH_PROGRESS: Final = frozenset({lifecycle.VERIFIED, lifecycle.DELIVERY_IN_PROGRESS})


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one OUS and of what may move it on.

    ``letters`` are its messages, open and dead; ``workers`` every actor by its signs of life. ``has_report`` is about
    the run that is reviewed; ``in_cache`` tells whether the JAO cache has its products and its weblog, None where that
    cache is not on this machine. ``missing`` is what the archive or the records lack of the run, ``products`` how many
    they have, ``unproved`` what was wrong when its files were read back. ``cancelled`` is what was cancelled of it,
    ``drained`` the actors that take nothing new. ``spare_s`` is how far clocks may disagree (seconds).
    """

    uid: str
    now: datetime
    entity: StatusEntity | None
    letters: Sequence[Letter] = ()
    workers: Sequence[Worker] = ()
    pauses: Sequence[Pause] = ()
    has_report: bool = True
    in_cache: bool | None = None
    missing: str = ""
    products: int = 0
    unproved: Unproved | None = None
    cancelled: Cancellation | None = None
    drained: Collection[str] = ()
    spare_s: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an OUS waits for, and what to do. ``place`` names where it stands, ``moved_by`` who moves it on."""

    uid: str
    state: str
    place: str
    waits_for: str
    do: str
    moved_by: str

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return f"{self.uid} is {self.state}: {self.waits_for}; {self.do}."


@dataclass(frozen=True)
class Case:
    """One OUS with its facts, and how answers about it are made."""

    facts: Facts
    entity: StatusEntity

    def answer(self, place: str, waits_for: str, do: str, moved_by: str) -> Answer:
        """Return an answer about this OUS."""
        state = self.entity.state + (f" ({self.entity.substate})" if self.entity.state in _WITH_PROGRESS else "")
        state = state.replace(" ()", "")
        return Answer(uid=self.facts.uid, state=state, place=place, waits_for=waits_for, do=do, moved_by=moved_by)

    def letter(self, selector: str, name: str = "") -> Letter | None:
        """Return the message at a selector, if need be about one name: an open one before a dead one, the newest."""
        found = [each for each in self.facts.letters if each.selector == selector and name in {"", each.name}]
        return max(found, key=lambda each: (each.is_open, each.sent), default=None)

    def anybody(self, post: Post) -> list[Worker]:
        """Return the actors that live and do the work of a post, those too that are drained."""
        return [each for each in self.facts.workers if each.holds(post)]

    def takers(self, post: Post) -> list[Worker]:
        """Return those of them that take something new."""
        return [each for each in self.anybody(post) if each.id not in self.facts.drained]

    def is_cancelled(self, letter: Letter) -> bool:
        """Tell whether a message is a launch that was taken back."""
        return self.facts.cancelled is not None and letter.id in self.facts.cancelled.messages

    def age(self, text: str) -> str:
        """Return how long ago a stored moment was."""
        return ages.since(text, self.facts.now)

    def left_s(self, text: str) -> float:
        """Return in how many seconds a stored moment comes; long ago for what is none."""
        passed_s = ages.passed_s(text, self.facts.now)
        return -_LONG_AGO_S if passed_s is None else -passed_s

    def note(self) -> str:
        """Return what the newest change of its history says."""
        return self.entity.history[-1].note if self.entity.history else ""
