"""The message bus: messages in CouchDB, claimed by revision, settled after the work. See docs/bus.md.

::

    bus = Bus(DbConnection(settings), settings, me="greeter")
    bus.listen("greet.EU", lambda delivery: print(delivery.body["name"]))
    with bus:
        bus.send("greet.EU", {"name": "Ada"})
        input("Return ends this")
"""

from shared.bus.bus import Bus
from shared.bus.delivery import Delivery
from shared.bus.envelope import Message
from shared.bus.outcomes import Dead, Done, Outcome, Retry, Snooze
from shared.bus.retry import RetryPolicy
from shared.bus.rpc import Executor, ExecutorClient

__all__ = [
    "Bus",
    "Dead",
    "Delivery",
    "Done",
    "Executor",
    "ExecutorClient",
    "Message",
    "Outcome",
    "Retry",
    "RetryPolicy",
    "Snooze",
]
