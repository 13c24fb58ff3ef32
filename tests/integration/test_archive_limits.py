"""What the archive does not take is a clear error, and not tried for ever."""

import hashlib
from dataclasses import replace

import pytest
import troubles

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
