"""Every operator of Mango that CouchDB documents, on values of every type."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from couchlet.mango.matching import compile_selector
from couchlet.mango.selector import normalize

DOC = {
    "_id": "B",
    "n": 5,
    "f": 1.5,
    "s": "text",
    "e": "é",
    "t": True,
    "z": None,
    "l": [1, "a", None, [2]],
    "o": {"k": {"d": 1}},
    "m": [{"x": 1, "y": 2}, {"x": 3}],
    "empty": [],
    "a.b": "dotted",
    "big": 2**70,
    "eo": {},
}


def matches(selector, document=DOC):
    return compile_selector(normalize(selector))(document)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"n": 5}, True),
        ({"n": 5.0}, True),
        ({"n": "5"}, False),
        ({"none": None}, False),
        ({"z": None}, True),
        ({"n": {"$eq": 5}, "s": "text"}, True),
        ({"n": {"$gt": 4, "$lt": 6}}, True),
        ({"n": {"$gt": 5}}, False),
        ({"n": {"$ne": 5}}, False),
        ({"none": {"$ne": 5}}, False),
        ({"n": {"$gte": 5, "$lte": 5}}, True),
        ({"s": {"$gt": 10**9}}, True),
        ({"s": {"$lt": []}}, True),
        ({"o": {"$gt": "zzz"}}, True),
        ({"t": {"$gt": None}}, True),
        ({"s": {"$gte": "TEXT"}}, False),
        ({"s": {"$lte": "TEXT"}}, True),
        ({"e": "e\u0301"}, True),
        ({"e": {"$gt": "e"}}, True),
        ({"big": {"$gt": 2**69}}, True),
        ({"big": 2.0**70}, True),
        ({"n": {"$exists": True}}, True),
        ({"none": {"$exists": False}}, True),
        ({"none": {"$exists": True}}, False),
        ({"z": {"$exists": True}}, True),
        ({"n.deep": {"$exists": False}}, False),
        ({"n": {"$exists": False}}, False),
        ({"z": {"$type": "null"}}, True),
        ({"t": {"$type": "boolean"}}, True),
        ({"f": {"$type": "number"}}, True),
        ({"s": {"$type": "string"}}, True),
        ({"l": {"$type": "array"}}, True),
        ({"o": {"$type": "object"}}, True),
        ({"n": {"$type": "string"}}, False),
        ({"none": {"$type": "null"}}, False),
        ({"n": {"$in": [1, 5]}}, True),
        ({"n": {"$in": []}}, False),
        ({"l": {"$in": ["a"]}}, True),
        ({"l": {"$in": [[2]]}}, True),
        ({"l": {"$in": [[1, "a", None, [2]]]}}, False),
        ({"n": {"$nin": [1]}}, True),
        ({"n": {"$nin": []}}, True),
        ({"l": {"$nin": ["a"]}}, False),
        ({"none": {"$nin": [1]}}, False),
        ({"l": {"$all": [1, "a"]}}, True),
        ({"l": {"$all": [1.0]}}, False),
        ({"l": {"$all": []}}, False),
        ({"l": {"$all": [[1, "a", None, [2]]]}}, True),
        ({"n": {"$all": [5]}}, False),
        ({"l": {"$size": 4}}, True),
        ({"empty": {"$size": 0}}, True),
        ({"s": {"$size": 4}}, False),
        ({"n": {"$mod": [3, 2]}}, True),
        ({"n": {"$mod": [-3, 2]}}, True),
        ({"f": {"$mod": [1, 0]}}, False),
        ({"s": {"$regex": "^te"}}, True),
        ({"s": {"$regex": "^Te"}}, False),
        ({"s": {"$regex": "(?i)^TE"}}, True),
        ({"e": {"$regex": "^..$"}}, True),
        ({"n": {"$regex": "5"}}, False),
        ({"s": {"$regex": "[[:alpha:]]{4}"}}, True),
        ({"s": {"$beginsWith": "te"}}, True),
        ({"s": {"$beginsWith": ""}}, True),
        ({"n": {"$beginsWith": "5"}}, False),
        ({"m": {"$elemMatch": {"x": 3}}}, True),
        ({"m": {"$elemMatch": {"x": 1, "y": 3}}}, False),
        ({"l": {"$elemMatch": {"$eq": "a"}}}, True),
        ({"l": {"$elemMatch": {"$gt": 0, "$lt": 2}}}, True),
        ({"n": {"$elemMatch": {"$eq": 5}}}, False),
        ({"empty": {"$elemMatch": {"$gte": None}}}, False),
        ({"m": {"$allMatch": {"x": {"$gt": 0}}}}, True),
        ({"m": {"$allMatch": {"y": 2}}}, False),
        ({"empty": {"$allMatch": {"x": 1}}}, False),
        ({"o": {"$keyMapMatch": {"$eq": "k"}}}, True),
        ({"o": {"$keyMapMatch": {"$eq": "d"}}}, False),
        ({"l": {"$keyMapMatch": {"$eq": "a"}}}, False),
        ({"$and": []}, True),
        ({"$or": []}, True),
        ({"$nor": []}, True),
        ({"$and": [{"n": 5}, {"t": True}]}, True),
        ({"$or": [{"n": 6}, {"t": True}]}, True),
        ({"$nor": [{"n": 6}, {"t": True}]}, False),
        ({"$nor": [{"n": 6}]}, True),
        ({"$not": {"n": 5}}, False),
        ({"$not": {"n": 6}}, True),
        ({"$not": {"none": 6}}, False),
        ({"n": {"$not": {"$gt": 5}}}, True),
        ({"$not": {"$and": [{"n": 5}, {"s": "x"}]}}, True),
        ({"$not": {"$not": {"n": 5}}}, True),
        ({"$not": {"s": {"$regex": "^x"}}}, True),
        ({"$not": {"n": {"$in": [5]}}}, False),
        ({"n": {"$or": [{"$eq": 1}, {"$eq": 5}]}}, True),
        ({"$and": [{}]}, False),
        ({"eo": {}}, True),
        ({"o": {}}, False),
        ({"o.k.d": 1}, True),
        ({"o": {"k": {"d": 1}}}, True),
        ({"o": {"k.d": {"$gt": 0}}}, True),
        ({"l.1": "a"}, True),
        ({"l.9": "a"}, False),
        ({"l.x": "a"}, False),
        ({"m.1.x": 3}, True),
        ({"a\\.b": "dotted"}, True),
        ({"a.b": "dotted"}, False),
        ({"_id": {"$gt": "A"}}, True),
        ({"_id": {"$lt": "a"}}, True),
        ({"_id": {"$gt": 10**9}}, True),
    ],
)
def test_operators(selector, expected):
    assert matches(selector) is expected


def test_negations_move_inwards():
    assert normalize({"$not": {"$or": [{"a": {"$gt": 1}}, {"b": 2}]}}) == {
        "$and": [{"a": {"$lte": 1}}, {"b": {"$ne": 2}}]
    }
    assert normalize({"a": {"b": {"$gt": 1, "$lt": 3}}}) == {"$and": [{"a.b": {"$gt": 1}}, {"a.b": {"$lt": 3}}]}


leaves = st.one_of(
    st.builds(
        lambda field, op, v: {field: {op: v}},
        st.sampled_from("abc"),
        st.sampled_from(["$lt", "$lte", "$eq", "$ne", "$gt", "$gte"]),
        st.integers(0, 3),
    ),
)
selectors = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda items: {"$and": items}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda items: {"$or": items}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda items: {"$nor": items}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda item: {"$not": item}, inner),
    ),
    max_leaves=6,
)


def plain(selector, document):
    """What a selector means, said in the simplest way; all fields are there."""
    ((name, argument),) = selector.items()
    if name == "$and":
        return all(plain(item, document) for item in argument)
    if name == "$or":
        return any(plain(item, document) for item in argument)
    if name == "$nor":
        return not any(plain(item, document) for item in argument)
    if name == "$not":
        return not plain(argument, document)
    ((operator, value),) = argument.items()
    held = document[name]
    return {
        "$lt": held < value,
        "$lte": held <= value,
        "$eq": held == value,
        "$ne": held != value,
        "$gt": held > value,
        "$gte": held >= value,
    }[operator]


@settings(max_examples=200, deadline=None)
@given(selectors, st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.integers(0, 3), "c": st.integers(0, 3)}))
def test_normalising_keeps_the_meaning(selector, document):
    assert matches(selector, document) == plain(selector, document)
