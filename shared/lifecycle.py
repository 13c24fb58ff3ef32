"""The life cycle of an ObsUnitSet: its states, and which may follow which.

Pure. States and moves are the seed's; the figure is in docs/life-cycle.md::

    ReadyForProcessing -> Processing -> ReadyForReview -> Reviewing -> Verified -> DeliveryInProgress -> Delivered
"""

from __future__ import annotations

from typing import Final

from shared.errors import BadInput
from shared.names import shown

READY_FOR_PROCESSING: Final = "ReadyForProcessing"
PROCESSING: Final = "Processing"
PROCESSING_PROBLEM: Final = "ProcessingProblem"
READY_FOR_REVIEW: Final = "ReadyForReview"
REVIEWING: Final = "Reviewing"
VERIFIED: Final = "Verified"
DELIVERY_IN_PROGRESS: Final = "DeliveryInProgress"
DELIVERED: Final = "Delivered"

STATES: Final = (
    READY_FOR_PROCESSING,
    PROCESSING,
    PROCESSING_PROBLEM,
    READY_FOR_REVIEW,
    REVIEWING,
    VERIFIED,
    DELIVERY_IN_PROGRESS,
    DELIVERED,
)
"""Every state, in the order of life."""

INGESTION_TRIGGERED: Final = "IngestionTriggered"
ANALYZING_PRODUCTS: Final = "AnalyzingProducts"
INGESTING_PRODUCTS: Final = "IngestingProducts"
PRODUCTS_INGESTED: Final = "ProductsIngested"
INGESTION_STEPS: Final = (INGESTION_TRIGGERED, ANALYZING_PRODUCTS, INGESTING_PRODUCTS, PRODUCTS_INGESTED)
"""The substates that the product ingestor goes through, in order."""

LAUNCHABLE: Final = ("", READY_FOR_PROCESSING, PROCESSING_PROBLEM, DELIVERED)
"""The states from which an OUS may be launched; the empty one is that of an OUS that does not exist yet."""

_FOLLOWERS: Final[dict[str, frozenset[str]]] = {
    "": frozenset({READY_FOR_PROCESSING}),
    READY_FOR_PROCESSING: frozenset({PROCESSING}),
    PROCESSING: frozenset({PROCESSING_PROBLEM, READY_FOR_REVIEW}),
    PROCESSING_PROBLEM: frozenset({READY_FOR_PROCESSING}),
    READY_FOR_REVIEW: frozenset({REVIEWING}),
    REVIEWING: frozenset({READY_FOR_REVIEW, READY_FOR_PROCESSING, VERIFIED}),
    VERIFIED: frozenset({DELIVERY_IN_PROGRESS}),
    DELIVERY_IN_PROGRESS: frozenset({DELIVERED}),
    DELIVERED: frozenset({READY_FOR_PROCESSING}),
}


def state(text: object) -> str:
    """Return ``text`` if it is a state of the life cycle; raise BadInput otherwise."""
    if isinstance(text, str) and text in STATES:
        return text
    raise BadInput(f"{shown(text)} is not a state of the life cycle: it is one of {', '.join(STATES)}")


def may_follow(before: str, after: str) -> bool:
    """Tell whether the life cycle has a move from ``before`` (empty for a new OUS) to ``after``.

    Staying where one is always is one. A state that the life cycle does not have leads nowhere, but by force.
    """
    return before == after or after in _FOLLOWERS.get(before, frozenset())


def followers(before: str) -> tuple[str, ...]:
    """Return the states that may follow ``before``, in the order of life."""
    return tuple(each for each in STATES if each in _FOLLOWERS.get(before, frozenset()))


def substate_after(before: str, after: str, substate: str, recipe: str) -> str:
    """Return the substate that an OUS has when it moves from ``before`` to ``after``.

    It is the recipe while ReadyForProcessing and Processing, the ingestor's progress while Verified and
    DeliveryInProgress, and empty otherwise.
    """
    if after in {READY_FOR_PROCESSING, PROCESSING}:
        return recipe
    if (before, after) == (VERIFIED, DELIVERY_IN_PROGRESS) or before == after:
        return substate
    return ""


def may_have(state_: str, substate: str, recipe: str) -> bool:
    """Tell whether an OUS in ``state_`` may have this substate."""
    if state_ in {READY_FOR_PROCESSING, PROCESSING}:
        return substate == recipe
    if state_ in {VERIFIED, DELIVERY_IN_PROGRESS}:
        return substate in {"", *INGESTION_STEPS}
    return substate == ""
