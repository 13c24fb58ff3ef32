"""The board: a card for each OUS, kept up to date from the feed of status entities. No I/O."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared import lifecycle
from shared.launching import LAUNCHED
from shared.status import entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.dbcon import Doc

NEEDS: Final = {
    lifecycle.READY_FOR_REVIEW: "review it",
    lifecycle.PROCESSING_PROBLEM: "look at the problem",
    lifecycle.READY_FOR_PROCESSING: "launch it",
}
"""What a human has to do for an OUS in a state; one that is ReadyForProcessing only as long as nobody launched it."""
_NO_STATE: Final = "(no state)"


class Card(msgspec.Struct, frozen=True):
    """What the board shows of an OUS; ``since`` is when it came into its state (UTC), ``need`` what a human must do.

    ``changed`` is when anything of it changed last.
    """

    id: str
    uid: str
    program: str
    executive: str
    state: str
    detail: str
    since: str
    need: str = ""
    note: str = ""
    changed: str = ""
    substate: str = ""

    def matches(self, words: list[str]) -> bool:
        """Tell whether each of these lower-case words is in the UID, the program or the executive."""
        text = f"{self.uid} {self.program} {self.executive}".lower()
        return all(word in text for word in words)


class Move(msgspec.Struct, frozen=True):
    """A card that changed: what it is now, None where it is gone."""

    id: str
    card: Card | None


class Board:
    """All cards, by state, the latest first. Every method may be called from any thread."""

    def __init__(self) -> None:
        """Begin with no card."""
        self._lock = threading.RLock()
        self._cards: dict[str, Card] = {}
        self._order: dict[str, list[tuple[str, str]]] = {}
        self._launched: frozenset[str] = frozenset()
        self._needs = dict.fromkeys(NEEDS, 0)

    def __len__(self) -> int:
        """Return how many OUSs there are."""
        return len(self._cards)

    def put(self, doc_id: str, doc: Doc | None) -> Move | None:
        """Take in a status entity, None for one that is gone; return the move, None where nothing shows of it."""
        with self._lock:
            card = None if doc is None else self._judged(card_of(doc))
            before = self._cards.get(doc_id)
            if card == before:
                return None
            self._replace(doc_id, before, card)
            return Move(doc_id, card)

    def keep_only(self, ids: set[str]) -> list[Move]:
        """Drop every card but these; return the moves."""
        with self._lock:
            gone = [each for each in self._cards if each not in ids]
            return [move for each in gone if (move := self.put(each, None))]

    def launched(self, uids: frozenset[str]) -> list[Move]:
        """Take in which OUSs have an open launch; return the moves of those that need a human now, or no longer."""
        with self._lock:
            changed, self._launched = uids ^ self._launched, uids
            moves = []
            for _, doc_id in list(self._order.get(lifecycle.READY_FOR_PROCESSING, ())):
                before = self._cards[doc_id]
                after = self._judged(before)
                if before.uid in changed and after != before:
                    self._replace(doc_id, before, after)
                    moves.append(Move(doc_id, after))
            return moves

    def counts(self) -> dict[str, int]:
        """Return how many OUSs are in each state, in the order of life, then those in states unknown here."""
        with self._lock:
            known = {state: len(self._order.get(state, ())) for state in lifecycle.STATES}
            return known | {state: len(order) for state, order in self._order.items() if order and state not in known}

    def needs(self) -> dict[str, int]:
        """Return how many OUSs wait for a human, by state."""
        with self._lock:
            return dict(self._needs)

    def columns(self, limit: int, query: str = "", *, need: bool = False) -> list[tuple[str, list[Card], int]]:
        """Return all columns as they are at one moment: the state, its first cards, and how many there are."""
        with self._lock:
            return [(state, *self.page(state, limit, query, need=need)) for state in self.counts()]

    def page(
        self, state: str, limit: int, query: str = "", *, need: bool = False, behind: tuple[str, str] | None = None
    ) -> tuple[list[Card], int]:
        """Return the first cards of a column, or those ``behind`` one (its ``since`` and id), and how many there are.

        The latest change comes first. The card that they are behind may be elsewhere by now.
        """
        words = query.lower().split()
        with self._lock:
            order = self._order.get(state, [])
            if not words and not need:
                end = len(order) if behind is None else bisect_left(order, behind)
                return [self._cards[each] for _, each in reversed(order[max(end - limit, 0) : end])], len(order)
            found = [card for card in self._column(order) if card.matches(words) and (card.need or not need)]
        shown = (card for card in found if behind is None or (card.since, card.id) < behind)
        return list(islice(shown, limit)), len(found)

    def find(self, states: Iterable[str], query: str = "", *, need: bool = False) -> list[Card]:
        """Return all cards in some states that match, state by state, the latest change first."""
        words = query.lower().split()
        with self._lock:
            found = [card for state in states for card in self._column(self._order.get(state, []))]
        return [card for card in found if card.matches(words) and (card.need or not need)]

    def _column(self, order: list[tuple[str, str]]) -> Iterator[Card]:
        return (self._cards[each] for _, each in reversed(order))

    def _judged(self, card: Card) -> Card:
        waits = card.state in NEEDS and not (
            card.state == lifecycle.READY_FOR_PROCESSING and card.uid in self._launched
        )
        note = card.note
        if card.state == lifecycle.READY_FOR_PROCESSING and note in {"", LAUNCHED}:
            note = (
                "" if waits else LAUNCHED
            )  # one whose launch was cancelled is not launched, whatever its history says
        return msgspec.structs.replace(card, need=NEEDS[card.state] if waits else "", note=note)

    def _replace(self, doc_id: str, before: Card | None, after: Card | None) -> None:
        if before is not None:
            order = self._order[before.state]
            del order[bisect_left(order, (before.since, doc_id))]
            if before.need:
                self._needs[before.state] -= 1
            del self._cards[doc_id]
        if after is not None:
            insort(self._order.setdefault(after.state, []), (after.since, doc_id))
            if after.need:
                self._needs[after.state] += 1
            self._cards[doc_id] = after


def card_of(doc: Doc) -> Card:
    """Return the card of a status entity, whatever is wrong with it."""
    state = _text(doc.get("state")) or _NO_STATE
    reviewer = doc.get("reviewer")
    note = ""
    if state == lifecycle.REVIEWING and isinstance(reviewer, dict):
        note = f"reviewed by {_text(reviewer.get('name')) or 'somebody'}"
    elif state in {lifecycle.PROCESSING_PROBLEM, lifecycle.READY_FOR_PROCESSING}:
        note = _text((entries(doc) or [{}])[-1].get("note"))
        note = "" if state == lifecycle.READY_FOR_PROCESSING and note.startswith(LAUNCHED) else note
    return Card(
        id=_text(doc.get("_id")),
        uid=_text(doc.get("entityId")) or _text(doc.get("_id")),
        program=_text(doc.get("progID")),
        executive=_text(doc.get("executive")),
        state=state,
        detail=_text(doc.get("substate")) or _text(doc.get("recipe")),
        since=_since(doc, state),
        note=note,
        changed=_text(doc.get("timestamp")),
        substate=_text(doc.get("substate")),
    )


def _since(doc: Doc, state: str) -> str:
    """Return when an OUS came into its state: the first of the last entries that have it."""
    since = _text(doc.get("timestamp"))
    for entry in reversed(entries(doc)):
        if entry.get("state") != state:
            break
        since = _text(entry.get("at")) or since
    return since


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_events(moves: Iterable[Move], board: Board) -> dict[str, Any]:
    """Return what browsers are told of some moves: the cards, and the counts behind them."""
    return {"moves": list(moves), "counts": board.counts(), "needs": board.needs()}
