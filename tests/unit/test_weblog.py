"""Weblogs are expanded whole, and nothing that a stranger packed gets out of its folder."""

import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BadInput, CacheError, DrwError, SourceAway
from shared.weblog import Limits, check, expand

NAME = "weblog-X1-X1-Xa1-2018-07-19T07:10:03.781"


@pytest.fixture
def pack(tmp_path):
    def make(*members, name=NAME, **options):
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w", options.get("method", zipfile.ZIP_DEFLATED)) as weblog:
            for member, content in members:
                weblog.writestr(member, content)
        return path

    return make


@pytest.fixture
def into(tmp_path):
    (tmp_path / "weblogs").mkdir()
    return tmp_path / "weblogs"


def test_expands_files_and_folders(pack, into):
    path = pack(("index.html", "<h1>"), ("html/", ""), ("html/t1/a.png", b"\x89"), ("empty/", ""))
    made = expand(path, into)
    assert made == into / NAME
    assert sorted(str(each.relative_to(made)) for each in made.rglob("*")) == [
        "empty",
        "html",
        "html/t1",
        "html/t1/a.png",
        "index.html",
    ]
    assert (made / "index.html").read_text() == "<h1>"
    assert [each.name for each in into.iterdir()] == [NAME]


def test_what_can_be_expanded_is_checked_without_doing_it(pack, into):
    path = pack(("index.html", "<h1>"), ("html/", ""))
    check(path)
    assert list(into.iterdir()) == []
    path.write_bytes(b"<html>")
    with pytest.raises(BadInput, match="not a whole zip file"):
        check(path)


def test_does_nothing_when_it_is_expanded_already(pack, into):
    path = pack(("index.html", "<h1>"))
    made = expand(path, into)
    path.write_bytes(b"")
    assert expand(path, into) == made
    assert (made / "index.html").exists()


def test_many_at_once_are_fine(pack, into):
    path = pack(*((f"a/{number}.txt", "x" * number) for number in range(100)))
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: expand(path, into), range(6))) == {into / NAME}
    assert len(list((into / NAME / "a").iterdir())) == 100
    assert [each.name for each in into.iterdir()] == [NAME]


def test_removes_what_a_dead_process_left(pack, into):
    (into / f".{NAME}.dead").mkdir()
    expand(pack(("index.html", "")), into)
    assert [each.name for each in into.iterdir()] == [NAME]


def member(name, mode=0, system=3):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.create_system = system
    return info


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (["../out"], "'../out' may not be expanded"),
        (["a/../../out"], "may not be expanded"),
        (["/etc/passwd"], "may not be expanded"),
        (["a//b"], "may not be expanded"),
        ([".htaccess"], "may not be expanded"),
        (["a/-rf"], "may not be expanded"),
        (["a\nb"], "may not be expanded"),
        (["a\\..\\b"], "backslash"),
        (["x" * 300], "may not be expanded"),
        (["\u202etxt.exe"], "may not be expanded"),
        (["/".join("d" * 40)], "folders deep"),
        (["a", "a"], "'a' is there twice"),
        (["a", "a/b"], "'a' is a file and a folder"),
        (["a/b", "a"], "'a' is there twice"),
        ([member("link", stat.S_IFLNK | 0o777)], "'link' is a link or special file"),
        ([member("pipe", stat.S_IFIFO | 0o644)], "'pipe' is a link or special file"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_may_not_be_expanded(pack, into, tmp_path, members, complaint):
    path = pack(*((each, "x") for each in members))
    with pytest.raises(BadInput, match=complaint):
        expand(path, into)
    with pytest.raises(BadInput, match=complaint):
        check(path)
    assert list(into.iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, "weblogs"]


def test_a_name_cut_by_nul_is_refused(pack, into):
    path = pack(("abcdef", "x"))
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"a\0cdef"))
    with pytest.raises(BadInput, match="may not be expanded"):
        expand(path, into)


def test_encrypted_members_are_refused(pack, into):
    path = pack(("secret", "x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match="'secret' is encrypted"):
        expand(path, into)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(pack, into, method):
    with pytest.raises(BadInput, match="other than deflate"):
        expand(pack(("a", "x"), method=method), into)


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (Limits(members=2), "has 3 members"),
        (Limits(total_bytes=1000), "expands to 300000 bytes"),
        (Limits(ratio_from_bytes=1000), "as a zip bomb would"),
        (Limits(directory_bytes=100), "lists more than"),
    ],
)
def test_what_is_too_much_is_refused(pack, into, limits, complaint):
    path = pack(*((name, b"\0" * 100_000) for name in "abc"))
    with pytest.raises(BadInput, match=complaint):
        expand(path, into, limits=limits)
    assert list(into.iterdir()) == []


def test_members_that_share_their_bytes_are_refused(pack, into):
    path = pack(("a", bytes(range(256)) * 100), ("b", "x"), method=zipfile.ZIP_STORED)
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    first, second = content[start:].split(b"PK\x01\x02")[1:]
    end = second.index(b"PK\x05\x06")
    one = b"PK\x01\x02" + first
    twin = one[:46] + b"c" + one[47:]
    tail = bytearray(second[end:])
    struct.pack_into("<2HL", tail, 8, 2, 2, len(one + twin))
    path.write_bytes(content[:start] + one + twin + tail)
    with pytest.raises(BadInput, match="share their bytes"):
        expand(path, into)


def test_members_that_begin_before_the_file_are_refused(pack, into):
    path = pack(("index.html", "<h1>"))
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rindex(b"PK\x05\x06") + 16, len(content) + 100)
    path.write_bytes(content)
    for refuses in (check, lambda each: expand(each, into)):
        with pytest.raises(BadInput, match=r"'index.html' begins before the file does"):
            refuses(path)
    assert list(into.iterdir()) == []


def test_a_member_that_unpacks_to_more_than_it_claims_is_refused(pack, into):
    path = pack(("a", b"\0" * 100_000))
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, 10)
    path.write_bytes(content)
    with pytest.raises(BadInput, match="'a' cannot be unpacked"):
        expand(path, into)
    assert list(into.iterdir()) == []


DECOY = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 50, 0)


def in_64(path, *, locator_says=0):
    """Give a zip the end records of a large one."""
    content = path.read_bytes()
    body, end = content[:-22], struct.unpack("<4s4H2LH", content[-22:])
    count, size, offset = end[4:7]
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, locator_says or len(body), 1)
    closing = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(body + record + locator + closing)
    return path


def test_the_table_of_contents_of_a_large_zip_is_limited_too(pack, into):
    members = [("decoy", DECOY), *((f"{number}.txt", "") for number in range(50))]
    stored = {"method": zipfile.ZIP_STORED}
    with pytest.raises(BadInput, match="lists more than"):
        expand(in_64(pack(*members, **stored)), into, limits=Limits(directory_bytes=1000))
    decoy_at = pack(*members, **stored).read_bytes().index(DECOY)
    with pytest.raises(BadInput, match="not where its locator says"):
        expand(in_64(pack(*members, **stored), locator_says=decoy_at), into, limits=Limits(directory_bytes=1000))
    assert len(list(expand(in_64(pack(*members, **stored)), into).iterdir())) == 51


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1, -10])
def test_truncated_files_are_refused(pack, into, keep):
    path = pack(("index.html", "x" * 1000))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(BadInput, match="not a whole zip file"):
        expand(path, into)
    assert list(into.iterdir()) == []


def test_what_is_no_zip_file_at_all(into, tmp_path):
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(BadInput, match="is a directory"):
        expand(tmp_path / "a.zip", into)
    with pytest.raises(SourceAway):
        expand(tmp_path / "b.zip", into)
    (tmp_path / "c.zip").symlink_to("/etc/passwd")
    with pytest.raises(CacheError, match="symbolic link"):
        expand(tmp_path / "c.zip", into)
    with pytest.raises(BadInput, match=r"it ends in \.zip"):
        expand(tmp_path / "d.tgz", into)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_is_found_or_harmless(tmp_path_factory, data):
    where = tmp_path_factory.mktemp("damaged")
    (where / "into").mkdir()
    with zipfile.ZipFile(where / "w.zip", "w", zipfile.ZIP_DEFLATED) as weblog:
        weblog.writestr("index.html", "hello" * 50)
        weblog.writestr("html/a.txt", "world")
    content = bytearray((where / "w.zip").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (where / "w.zip").write_bytes(content)
    try:
        expand(where / "w.zip", where / "into")
    except DrwError:
        assert list((where / "into").iterdir()) == []
    assert sorted(each.name for each in where.iterdir()) == ["into", "w.zip"]
