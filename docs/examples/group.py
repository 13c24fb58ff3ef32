"""Send to a group: every subscribed service gets its own copy, and its processes share the work."""

from queue import SimpleQueue

from shared.bus import Bus
from shared.dbcon import DbConnection
from shared.settings import read_settings

settings = read_settings()
connection = DbConnection(settings)
heard: SimpleQueue[str] = SimpleQueue()


def service(name: str) -> Bus:
    """Return a process of a service that wants to hear of every observation."""
    bus = Bus(connection, settings, me=f"{name}1")
    bus.subscribe("observed", name, lambda _: heard.put(name))  # durable: what is sent while it is away waits for it
    return bus


with service("weather"), service("schedule"):
    Bus(connection, settings, me="telescope").send("observed", {"target": "M87"})
    for _ in range(2):
        print(heard.get(), "heard of an observation")
