"""Call: a message whose reply is its settlement."""

from shared.bus import Bus, Executor, ExecutorClient
from shared.dbcon import DbConnection
from shared.errors import DeadlineExceeded, RemoteError
from shared.settings import read_settings

settings = read_settings()
connection = DbConnection(settings)

executor = Bus(connection, settings, me="adder")
Executor(executor, "add", lambda delivery: delivery.body["a"] + delivery.body["b"])

caller = Bus(connection, settings, me="caller")
client = ExecutorClient(caller, "add", deadline_s=10)
with executor, caller:
    print("2 + 3 =", client.call({"a": 2, "b": 3}))
    try:
        client.call({"a": 2})
    except RemoteError as error:
        print(f"refused: {error.kind}")

nobody = ExecutorClient(caller, "subtract", deadline_s=0.5)
try:
    nobody.call({"a": 2, "b": 3})
except DeadlineExceeded as error:
    print(error)  # says whether it may still be executed
