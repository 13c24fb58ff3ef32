"""What an actor says of itself in its signs of life."""

from __future__ import annotations

from shared.actor import Actor
from shared.settings import read_settings


def test_an_actor_says_what_it_is_busy_with(tmp_path):
    me = Actor("ingestor", read_settings({"DRW_HOME": str(tmp_path)}))
    assert me.doing == ""
    with me.busy("ingests a"), me.busy("ingests b"):
        assert me.doing == "ingests a, ingests b"
        with me.busy("ingests c"), me.busy("ingests d"), me.busy("ingests a"):
            assert me.doing == "ingests a, ingests b, ingests c and 2 more"
    assert me.doing == ""
