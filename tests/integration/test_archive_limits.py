"""What the archive does not take is a clear error, and not tried for ever; what it takes late is not sent again."""

import hashlib
import threading
from dataclasses import replace

import pytest
import troubles
from proxy import Answer

from shared import ngas
from shared.dbcon import DbConnection
from shared.errors import ArchiveError


def test_a_file_that_is_too_large_for_the_archive_is_named_with_the_remedy(place, proxy, tmp_path):
    path = tmp_path / "product-0.data"
    path.write_bytes(b"x" * 300_000)
    proxy.rule(troubles.asks("/product-0.data", "PUT"), troubles.fail(413))
    connection = DbConnection(replace(place.settings, couchdb_url=proxy.url))
    archive = ngas.Archive(connection.database(ngas.DATABASE), connection.clock)
    with pytest.raises(ArchiveError, match=r"product-0\.data, of 300000 bytes: .* 413.*max_attachment_size"):
        archive.put(path, path.name, size=300_000, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    connection.close()


def test_a_description_that_a_late_copy_refuses_and_the_others_write_is_waited_for(place, proxy, tmp_path):
    path = tmp_path / "product-0.data"
    path.write_bytes(b"x" * 300)
    connection = DbConnection(replace(place.settings, couchdb_url=proxy.url))

    others = []

    def refuse_and_write(exchange):
        exchange.reply(Answer(412, [], b'{"error": "missing_stub", "reason": "Invalid attachment stub"}'))
        others.append(threading.Timer(0.3, exchange.forward))
        others[0].start()

    rule = proxy.rule(troubles.asks("/product-0.data", "PUT"), refuse_and_write, skip=1, times=1)
    database = connection.database(ngas.DATABASE)
    database.server.copies[ngas.DATABASE] = 3
    archive = ngas.Archive(database, connection.clock)
    archive.put(path, path.name, size=300, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    others[0].join()
    assert rule.struck == 1
    assert len(proxy.requests(troubles.asks("/product-0.data/product-0.data", "PUT"))) == 1
    [leaf] = database.leaves([path.name])[path.name]
    assert leaf["size"] == 300
    connection.close()
