"""The status entity of an OUS: its shape in ``status-entities``, and how a request changes it.

Pure. xtss alone writes these documents; everybody reads them as :class:`StatusEntity`.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared import lifecycle, names
from shared.errors import BadInput, StateRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOG = logging.getLogger(__name__)
DATABASE: Final = "status-entities"
STATE_INDEX: Final = "state"
INDEXES: Final = {STATE_INDEX: ["state", "substate", "timestamp"]}
SCHEMA: Final = 1
TEXT_LENGTH: Final = 4000
"""The most characters of a note, a name or a substate: an OUS keeps them all, and is sent whole again and again."""

ANSWER_BYTES: Final = 500_000
"""An OUS larger than this, as JSON, leaves its history out of an answer of xtss."""

_CHANGES: Final = "changes"


class HistoryEntry(msgspec.Struct, frozen=True):
    """One change: when (UTC), by whom, to what, by which message, and why in words."""

    at: str
    by: str
    state: str
    substate: str = ""
    cause: str = ""
    note: str = ""


class Reviewer(msgspec.Struct, frozen=True):
    """Who reviews an OUS, and in which process, whose heartbeat in ``actors`` tells whether the review goes on."""

    name: str
    session: str = ""


class StatusEntity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OUS as stored.

    ``timestamp`` is that of the last change, ``run`` that of the pipeline run which is reviewed or delivered (empty
    before there is one), ``history`` has every change ever made.
    """

    id: str = msgspec.field(name="_id")
    rev: str = msgspec.field(name="_rev", default="")
    schema: int = msgspec.field(default_factory=lambda: SCHEMA)
    entity_id: str = msgspec.field(name="entityId")
    prog_id: str = msgspec.field(name="progID")
    recipe: str
    state: str
    substate: str = msgspec.field(default_factory=str)
    executive: str
    timestamp: str
    run: str = ""
    reviewer: Reviewer | None = None
    history: list[HistoryEntry] = msgspec.field(default_factory=list)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a request wants an OUS to become; None leaves a field as it is."""

    state: str | None = None
    substate: str | None = None
    executive: str | None = None
    recipe: str | None = None
    run: str | None = None
    reviewer: Reviewer | None = None

    def __post_init__(self) -> None:
        """Refuse values that no OUS can have."""
        if self.state is not None:
            lifecycle.state(self.state)
        if self.executive is not None:
            names.executive(self.executive)
        if self.recipe is not None:
            names.recipe(self.recipe)
        if self.run is not None:
            names.timestamp(self.run)
        named = (self.reviewer.name, self.reviewer.session) if self.reviewer else ()
        for text in (self.substate or "", *named):
            if len(text) > TEXT_LENGTH:
                raise BadInput(f"{names.shown(text)} has {len(text)} characters: an OUS keeps {TEXT_LENGTH} at most")


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the asker believes of an OUS; empty for anything.

    It is in one of ``states``, about ``run``, not launched again since ``launched``, and reviewed in ``session``.
    """

    states: tuple[str, ...] = ()
    run: str = ""
    launched: str = ""
    session: str = ""

    def contradicted_by(self, entity: StatusEntity) -> str:
        """Return how an OUS differs from that, or nothing."""
        if self.states and entity.state not in self.states:
            return f"is {entity.state}, not {' or '.join(self.states)}"
        if self.run and entity.run != self.run:
            return f"is about run {entity.run or 'none'}, not {self.run}"
        launch = launch_of(entity)
        if self.launched and launch and launch != self.launched:
            return f"was launched again at {launch}, for {entity.executive}"
        if self.session and entity.reviewer and entity.reviewer.session != self.session:
            return f"is being reviewed by {entity.reviewer.name}"
        return ""


def launch_of(entity: StatusEntity) -> str:
    """Return when an OUS became ReadyForProcessing last: the launch that all it has gone through since belongs to."""
    if entity.state == lifecycle.READY_FOR_PROCESSING:
        return entity.timestamp
    moments = (entry.at for entry in reversed(entity.history) if entry.state == lifecycle.READY_FOR_PROCESSING)
    return next(moments, "")


NOTHING_EXPECTED: Final = Expected()


class Signature(msgspec.Struct, frozen=True):
    """What a change is signed with in the history: when, by whom, by which message, why."""

    at: str
    by: str
    cause: str = ""
    note: str = ""


def created(ous_uid: str, prog_id: object, recipe: object, executive: object, signature: Signature) -> StatusEntity:
    """Return a new OUS, ReadyForProcessing."""
    entity = StatusEntity(
        id=names.document_id(ous_uid),
        entity_id=ous_uid,
        prog_id=names.program_id(prog_id),
        recipe=names.recipe(recipe),
        state="",
        executive=names.executive(executive),
        timestamp="",
    )
    return _signed(
        msgspec.structs.replace(entity, state=lifecycle.READY_FOR_PROCESSING, substate=entity.recipe), signature
    )


def changed(
    entity: StatusEntity,
    change: Change,
    signature: Signature,
    *,
    expected: Expected = NOTHING_EXPECTED,
    strict: bool = False,
) -> StatusEntity:
    """Return an OUS after a change, signed in its history; the same one if it makes no difference.

    A change whose message is in the history already was made before and is not made again. Raises StateRefused when
    the OUS is not as ``expected`` or, if ``strict``, when the life cycle has no such move.
    """
    if signature.cause and any(entry.cause == signature.cause for entry in entity.history):
        return entity
    wrong = expected.contradicted_by(entity)
    if wrong:
        raise StateRefused(f"{entity.entity_id} {wrong}: nothing was changed", found=entity.state)
    after = _after(entity, change)
    if strict and not is_legal(entity, after):
        raise StateRefused(
            f"{entity.entity_id} is {entity.state}{_in(entity.substate)} and cannot become "
            f"{after.state}{_in(after.substate)}: from there it goes to "
            f"{' or '.join(lifecycle.followers(entity.state)) or 'nowhere, which is no state of the life cycle'}",
            found=entity.state,
        )
    return entity if after == entity else _signed(after, signature)


def is_legal(before: StatusEntity, after: StatusEntity) -> bool:
    """Tell whether the life cycle has the move between two states of an OUS, substates included."""
    return lifecycle.may_follow(before.state, after.state) and lifecycle.may_have(
        after.state, after.substate, after.recipe
    )


def _after(entity: StatusEntity, change: Change) -> StatusEntity:
    state = change.state or entity.state
    recipe = change.recipe or entity.recipe
    substate = change.substate
    if substate is None:
        moved = state != entity.state or recipe != entity.recipe
        substate = lifecycle.substate_after(entity.state, state, entity.substate, recipe) if moved else entity.substate
        if state == lifecycle.READY_FOR_PROCESSING:
            substate = recipe
    reviewer = (change.reviewer or entity.reviewer) if state == lifecycle.REVIEWING else None
    return msgspec.structs.replace(
        entity,
        state=state,
        substate=substate,
        recipe=recipe,
        executive=change.executive or entity.executive,
        run=change.run or ("" if state == lifecycle.READY_FOR_PROCESSING else entity.run),
        reviewer=reviewer,
    )


def _signed(entity: StatusEntity, signature: Signature) -> StatusEntity:
    by, note = brief(signature.by), brief(signature.note)
    entry = HistoryEntry(signature.at, by, entity.state, entity.substate, signature.cause, note)
    return msgspec.structs.replace(entity, timestamp=signature.at, history=[*entity.history, entry])


def brief(text: str) -> str:
    """Return a text as a history keeps it: what is longer than :data:`TEXT_LENGTH` is cut, and ends with ``…``."""
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"


def answer(entity: StatusEntity) -> dict[str, Any]:
    """Return an OUS as xtss answers with it.

    Of one that is too large for an answer, ``changes`` says how many its history has, which is read in the database.
    """
    doc: dict[str, Any] = msgspec.to_builtins(entity)
    if len(msgspec.json.encode(doc)) <= ANSWER_BYTES:
        return doc
    return doc | {"history": [], _CHANGES: len(entity.history)}


def left_out(doc: dict[str, Any]) -> int:
    """Return how many changes an answer of xtss leaves out of its history: all or none."""
    return int(doc.get(_CHANGES, 0))


def _in(substate: str) -> str:
    return f" ({substate})" if substate else ""


def entries(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a status entity's history that are some, whatever else is wrong with the document."""
    history = doc.get("history")
    return [each for each in history if isinstance(each, dict)] if isinstance(history, list) else []


def readable(docs: Iterable[dict[str, Any]]) -> Iterator[StatusEntity]:
    """Yield the status entities among documents; what is none, or is newer than this program, is said and left out."""
    for doc in docs:
        try:
            yield read(doc)
        except BadInput as error:
            _say_once(str(error))


@lru_cache(maxsize=1000)
def _say_once(sentence: str) -> None:
    """Say what cannot be read; whoever looks for what waits looks again and again, and would say nothing else."""
    _LOG.warning("%s", sentence)


def read(doc: dict[str, Any]) -> StatusEntity:
    """Return a document of ``status-entities``; raise BadInput for what is none, or newer than this program."""
    try:
        entity = msgspec.convert(doc, StatusEntity)
        if entity.schema <= SCHEMA:
            _refuse_names(entity)
    except (msgspec.ValidationError, BadInput) as error:
        raise BadInput(f"document {doc.get('_id')} of {DATABASE} is no status entity: {error}") from error
    if entity.schema > SCHEMA:
        raise BadInput(
            f"document {entity.id} of {DATABASE} has schema {entity.schema}, newer than the {SCHEMA} that this program "
            "knows: update it"
        )
    return entity


def _refuse_names(entity: StatusEntity) -> None:
    """Refuse names that xtss writes to no document: whoever reads an OUS makes others of them, and of files too."""
    names.uid(entity.entity_id)
    names.program_id(entity.prog_id)
    names.executive(entity.executive)
    if entity.run:
        names.timestamp(entity.run)
