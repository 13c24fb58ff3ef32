"""Types that several threads decode at once, the first time."""

import subprocess
import sys

SCRIPT = """
import sys, threading
from typing import Annotated
import msgspec
from shared import structs

sys.setswitchinterval(1e-5)
for number in range(300):
    rev = Annotated[str, msgspec.Meta(pattern="^[0-9]+-|%d" % number)]
    leaf = msgspec.defstruct("Leaf", [("rev", rev)])
    kind = msgspec.defstruct("Row", [("id", str), ("changes", list[leaf])])
    structs.learn()
    together, found = threading.Barrier(6), []

    def decode():
        together.wait()
        found.append(msgspec.json.decode(b'{"id":"a","changes":[{"rev":"1-b"}]}', type=kind).changes[0].rev)

    threads = [threading.Thread(target=decode) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == ["1-b"] * 6, found
print("done")
"""


def test_threads_that_decode_a_new_type_at_once_end_no_process():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]
