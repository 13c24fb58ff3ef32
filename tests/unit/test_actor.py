"""What an actor says of itself in its signs of life, and whose fault it is when its cache cannot be used."""

from __future__ import annotations

import errno
import os

import pytest

from shared.actor import Actor, cache_directory, status_of
from shared.errors import BadInput, CacheAway, DiskFull, DrwError
from shared.settings import read_settings


def test_an_actor_says_what_it_is_busy_with(tmp_path):
    me = Actor("ingestor", read_settings({"DRW_HOME": str(tmp_path)}))
    assert me.doing == ""
    with me.busy("ingests a"), me.busy("ingests b"):
        assert me.doing == "ingests a, ingests b"
        with me.busy("ingests c"), me.busy("ingests d"), me.busy("ingests a"):
            assert me.doing == "ingests a, ingests b, ingests c and 2 more"
    assert me.doing == ""


@pytest.mark.parametrize(
    ("number", "kind", "status"),
    [
        (errno.ENOSPC, DiskFull, 1),
        (errno.EIO, CacheAway, 1),
        (errno.ESTALE, CacheAway, 1),
        (errno.EACCES, BadInput, 2),
    ],
)
def test_a_disk_in_trouble_is_no_mistake_of_who_named_the_cache(tmp_path, monkeypatch, number, kind, status):
    def fail(*_args, **_more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(DrwError) as caught:
        cache_directory(tmp_path)
    assert (type(caught.value), status_of(caught.value)) == (kind, status)


def test_what_is_no_cache_is_a_mistake(tmp_path):
    (tmp_path / "letters").touch()
    for path in (tmp_path / "none", tmp_path / "letters", tmp_path):
        with pytest.raises(BadInput):
            cache_directory(path)
