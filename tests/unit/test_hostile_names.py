"""Names as an attacker would choose them: every rule refuses them in one short sentence, whatever they look like."""

from __future__ import annotations

import pytest

from shared import names
from shared.bus import envelope
from shared.errors import BadInput

RUN = "2018-07-19T07:10:03.781"
HOSTILE = {
    "nothing": "",
    "the folder above": "..",
    "a path upwards": "../../etc/passwd",
    "a path from the root": "/etc/passwd",
    "a path upwards at the end": "a/..",
    "NUL": "a\0b",
    "a NUL at the end": "uid://X1/X1/X1\0",
    "a newline": "a\nb",
    "a newline at the end": "uid://X1/X1/X1\n",
    "a return": "a\rb",
    "an option": "-rf",
    "a long option": "--rsh=sh",
    "an escape sequence": "\x1b[2J",
    "text from right to left": "a\u202egpj.exe",
    "a space of no width": "a\u200bb",
    "4,096 letters": "x" * 4096,
    "4,096 times upwards": "../" * 4096,
    "a lone surrogate": "a\udc80b",
    "a full-width dot, twice": "\uff0e\uff0e",
    "two dots in one": "\u2025",
    "a full-width slash": "a\uff0fb",
    "a small hyphen before": "\ufe63rf",
    "a number": 7,
    "null": None,
    "a list": ["uid://X1/X1/X1"],
}
LOOK_ALIKES = {
    "Cyrillic": "uid://\u0410003/X1/X1b",
    "full-width": "uid://\uff21\uff10\uff10\uff13/X1/X1b",
    "other digits": "uid://A\u0660\u0660\u0663/X1/X1b",
    "another slash": "uid:\u2215\u2215A003/X1/X1b",
    "another colon": "uid\ua789//A003/X1/X1b",
    "an accent of its own": "uid://A\u0301003/X1/X1b",
}
RULES = [
    names.uid,
    names.document_id,
    names.program_id,
    names.executive,
    names.recipe,
    names.timestamp,
    names.split_products_dir,
    names.weblog_name,
    names.file_name,
    names.relative_path,
    envelope.selector,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_in_one_short_sentence_without_control_codes(rule, kind):
    with pytest.raises(BadInput) as caught:
        rule(HOSTILE[kind])
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 300


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_what_only_looks_like_a_uid_is_none(kind):
    with pytest.raises(BadInput, match="is not an OUS UID"):
        names.uid(LOOK_ALIKES[kind])


@pytest.mark.parametrize("digit", ["\u0662", "\uff12", "\u09e8"])
def test_times_have_the_digits_of_ascii_alone(digit):
    for rule, name in [
        (names.timestamp, RUN),
        (names.split_products_dir, names.products_dir("2015.1.00657.S", RUN)),
        (names.weblog_name, names.weblog("uid://X1/X1/Xa1", RUN)),
    ]:
        assert rule(name)
        with pytest.raises(BadInput):
            rule(digit.join(name.rsplit("2", 1)))


@pytest.mark.parametrize("name", ["é", "日本", "a b", "Ω-map.fits", "product-0.data"])
def test_honest_names_of_any_alphabet_are_files(name):
    assert names.file_name(name) == name
