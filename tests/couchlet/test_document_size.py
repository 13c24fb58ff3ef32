"""The size of a document by CouchDB's count."""

from __future__ import annotations

import msgspec
import pytest

from couchlet.document_size import is_larger
from couchlet.errors import CouchError


@pytest.mark.parametrize("place", range(64))
def test_a_number_beyond_all_is_found_wherever_it_is(place):
    value = {"text": "x" * place, "number": 10**309, "more": "y" * 100}
    with pytest.raises(CouchError, match="badarith"):
        is_larger(value, msgspec.json.encode(value), 10_000)


def test_many_digits_are_no_number():
    value = {"text": "7" * 1000, "numbers": [10**60] * 20}
    assert not is_larger(value, msgspec.json.encode(value), 10_000)
    assert is_larger(value, msgspec.json.encode(value), 1_000)
