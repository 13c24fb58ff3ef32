"""Send many messages together: a request for each hundred instead of one for each."""

from shared.bus import Bus
from shared.dbcon import DbConnection
from shared.settings import read_settings

settings = read_settings()
bus = Bus(DbConnection(settings), settings, me="example")

messages = [bus.compose("tile.EU", {"row": row, "column": column}) for row in range(10) for column in range(10)]
ids = bus.send_many(messages)
bus.send_many(messages)  # the same messages again: nothing is sent twice
print(f"sent {len(ids)} messages")
