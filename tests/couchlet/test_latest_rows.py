"""The rows of the latest changes that feeds share."""

from couchlet.storage.latest import MOST, LatestRows


def row(id_, seq):
    return id_, seq, f"{id_} at {seq}".encode()


def test_a_document_is_shown_by_its_last_change():
    latest = LatestRows()
    latest.restart(10, 0)
    latest.extend([row("a", 11), row("b", 12)], 12)
    latest.extend([row("a", 14)], 15)
    assert latest.after(10) == [(12, b"b at 12"), (14, b"a at 14")]
    assert latest.after(12) == [(14, b"a at 14")]
    assert latest.after(14) == []
    assert (latest.since, latest.until) == (10, 15)


def test_it_says_how_far_back_it_goes():
    latest = LatestRows()
    latest.restart(0, 0)
    latest.extend([row(f"d{number}", number) for number in range(1, MOST + 11)], MOST + 10)
    assert latest.since == 10
    assert len(latest.after(latest.since)) == MOST


def test_a_purge_forgets_all():
    latest = LatestRows()
    latest.extend([row("a", 1)], 1)
    latest.restart(5, 3)
    assert (latest.after(0), latest.since, latest.until, latest.purge_seq) == ([], 5, 5, 3)
