"""``drw tail``: messages and changes of state as they come, from the ``_changes`` feeds, across outages."""

from __future__ import annotations

import queue as queues
import sys
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from drw import arguments, letters, mail
from drw.columns import say
from drw.registry import OK
from shared import actor, names, status
from shared.bus import envelope, queue
from shared.bus.retry import BackOff
from shared.clock import stamp
from shared.errors import DatabaseError, Refused
from shared.messages import XTSS

if TYPE_CHECKING:
    from drw.registry import Commands, Context
    from shared.answers import Change
    from shared.dbcon import Database, Doc

_HEARTBEAT_S: Final = 5.0


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened: when it was seen (UTC), whether to an OUS or a message, which, and what it is now."""

    at: str
    kind: str
    id: str
    state: str
    what: str = ""
    ous: str = ""
    selector: str = ""


def of_entity(doc: Doc, at: str) -> Event:
    """Return what a status entity's newest change says. Pure."""
    last = (status.entries(doc) or [{}])[-1]
    substate = f" ({doc['substate']})" if doc.get("substate") else ""
    by = f"by {last.get('by', 'somebody')}"
    what = ": ".join(filter(None, [by, str(last.get("note", ""))]))
    uid = str(doc.get("entityId", doc["_id"]))
    return Event(str(last.get("at") or at), "ous", uid, f"{doc.get('state')}{substate}", what, uid)


def of_message(doc: Doc, at: str) -> Event:
    """Return what has become of a message. Pure."""
    letter = letters.letter(doc)
    about = letter.ous or letter.name
    return Event(at, "message", letter.id, letter.state, letter.why(), about, letter.selector)


class Follower:
    """Follows the feed of one database in a thread of its own, from now on, across every outage."""

    def __init__(self, database: Database, events: queues.SimpleQueue[Event | str]) -> None:
        """Take the database, and where to put what is seen: events, and sentences about the line."""
        self._database = database
        self._events = events
        self._thread = threading.Thread(target=self._run, name=f"feed of {database.name}", daemon=True)

    def start(self) -> None:
        """Take the present as the beginning, and follow; raises DatabaseError where even that fails."""
        self._since = self._database.last_seq()
        self._thread.start()

    def _run(self) -> None:
        back_off, tries = BackOff(first_s=0.5, longest_s=5.0, factor=1.5), 0
        while True:
            try:
                for row in self._database.feed(self._since, heartbeat_s=_HEARTBEAT_S):
                    if tries:
                        self._events.put(f"the feed of {self._database.name} is back")
                        tries = 0
                    self._see(row)
            except Refused as error:  # this server does not know the sequence: it is another, or was emptied
                self._events.put(f"the feed of {self._database.name} begins anew: {error}")
                self._since = "now"
            except DatabaseError as error:
                if not tries:
                    self._events.put(str(error))
            tries += 1
            threading.Event().wait(back_off.wait_s(tries))

    def _see(self, row: Change) -> None:
        """Tell of one change, and go on behind it; what goes on is asked for again after an outage."""
        if row.id and not row.deleted:
            doc = self._database.get(row.id)
            at = stamp(self._database.server.clock.now())
            if doc and self._database.name == status.DATABASE and "entityId" in doc:
                self._events.put(of_entity(doc, at))
            elif doc and self._database.name == queue.DATABASE and envelope.is_message_id(row.id):
                self._events.put(of_message(doc, at))
        if row.id:
            self._since = str(row.seq)


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "tail",
        _tail,
        help="messages and changes of state as they come",
        description="Show messages and changes of state as they come, until Ctrl-C; with --json, an object a line.",
        example="drw tail --ous uid://X1/X1/Xb0",
    )
    parser.add_argument("--ous", type=actor.checked(names.uid), help="of this OUS only")
    parser.add_argument("--selector", type=actor.checked(envelope.selector), help="messages of this selector only")
    parser.add_argument("--states", action="store_true", help="changes of state only")
    parser.add_argument(
        "--all", action="store_true", help="the calls of xtss too, of which each change of state has one"
    )
    parser.add_argument("--count", type=actor.checked(arguments.number), metavar="N", help="end after so many")


def _tail(context: Context) -> int:
    mail.hint_at_mistyped(context)
    events: queues.SimpleQueue[Event | str] = queues.SimpleQueue()
    for name in (status.DATABASE, queue.DATABASE):
        Follower(context.connection.database(name), events).start()
    print("following; Ctrl-C ends it", file=sys.stderr, flush=True)
    shown = 0
    while context.args.count is None or shown < context.args.count:
        event = events.get()
        if isinstance(event, str):
            context.hint(event)
        elif _is_wanted(event, context):
            _show(event, context)
            shown += 1
    return OK


def _is_wanted(event: Event, context: Context) -> bool:
    args = context.args
    if event.selector == XTSS and not (args.all or args.selector == XTSS):
        return False
    if args.ous and args.ous != event.ous and not event.ous.startswith(names.weblog_stem(args.ous)):
        return False
    if args.states:
        return event.kind == "ous"
    return args.selector in {None, event.selector}


def _show(event: Event, context: Context) -> None:
    if context.args.json:
        print(msgspec.json.encode(event).decode(), flush=True)
        return
    about = f" about {event.ous}" if event.kind == "message" and event.ous else ""
    what = f": {event.what}" if event.what else ""
    bad = event.state in {envelope.DEAD, "ProcessingProblem"}
    style = "red" if bad else "bold" if event.kind == "ous" else ""
    say(context.console, f"{event.at[11:19]} {event.id} {event.state}{about}{what}", style=style)
    sys.stdout.flush()
