"""Send a message: now, later, urgently, or once only."""

from shared.bus import Bus
from shared.dbcon import DbConnection
from shared.settings import read_settings

settings = read_settings()
bus = Bus(DbConnection(settings), settings, me="example")

message_id = bus.send("greet.EU", {"name": "Ada"})  # stored when this returns
bus.send("greet.EU", {"name": "Grace"}, priority=0)  # before all others
bus.send("greet.EU", {"name": "Emmy"}, delay_s=60, expires_s=3600)  # not before a minute, not after an hour
for _ in range(2):
    bus.send("greet.EU", {"name": "Lise"}, dedup="lise-2026-11-21")  # the second time sends nothing
print(f"sent {message_id}")
