"""The message to a cache replicator, with as many files as there are."""

from shared.bus import envelope
from shared.messages import CachedFile, FileEntry

NAME = "2015.1.00657.S_2018_07_19T07_10_03.781"


def announced(count):
    files = tuple(FileEntry(f"{NAME}/{number:06}-{'x' * 100}.fits", 1, "0" * 64) for number in range(count))
    return CachedFile(fileType="productsdir", cachedAt="EU", name=NAME, files=files).body()


def test_files_that_are_too_many_for_a_message_are_left_out_of_it():
    few, many = announced(3), announced(60_000)
    assert len(few["files"]) == 3
    assert many == {name: value for name, value in few.items() if name != "files"}
    assert envelope.fits(many)
