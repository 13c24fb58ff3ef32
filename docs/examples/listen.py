"""Listen: a handler gets each message once, unless its process dies or the work fails."""

from shared.bus import Bus, Dead, Delivery, Done, Outcome, Retry, Snooze
from shared.dbcon import DbConnection
from shared.settings import read_settings

settings = read_settings()
bus = Bus(DbConnection(settings), settings, me="greeter")


def greet(delivery: Delivery) -> Outcome:
    """Greet somebody; what is returned says what becomes of the message."""
    name = delivery.body.get("name")
    if not isinstance(name, str):
        return Dead("a greeting needs a name")  # waits for an operator: drw dead list
    if name == "Godot":
        return Snooze("Godot is not here yet", for_s=60)  # spends no attempt
    if name == "Echo":
        return Retry("Echo did not answer")  # again with back-off; after the last attempt it is dead
    print(f"hello {name}", flush=True)
    delivery.send("greeted.EU", {"name": name}, name="greeted")  # sent once, even if this runs twice
    return Done()


bus.listen("greet.*", greet, slots=4, batch=20)  # four at once, twenty claimed ahead
with bus:
    input("Return ends this\n")
