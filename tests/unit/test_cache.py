"""A cache directory: what comes in is whole, verified and there once."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import manifest
from shared.bus import Snooze
from shared.bus.outcomes import of_error
from shared.cache import MARKER, CacheDirectory, clear, foreign_entries, path_of_cache, private_folder
from shared.errors import BadInput, CacheAway, CacheError, ContentDiffers, DiskFull, SourceAway
from shared.messages import FileEntry
from shared.replication import Source, replicate

RUN = "2015.1.00657.S_2018_07_19T07_10_03.781"
WEBLOG = "weblog-X1-X1-Xa1-2018-07-19T07:10:03.781.zip"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return CacheDirectory.open(tmp_path / "cache")


@pytest.fixture
def source(tmp_path):
    products = tmp_path / "source" / RUN / "SOUS" / "GOUS" / "products"
    products.mkdir(parents=True)
    (products / "a.data").write_bytes(b"a" * 3_000_000)
    (products / "b.xml").write_bytes(b"")
    (tmp_path / "source" / RUN / "empty").mkdir()
    (tmp_path / "source" / WEBLOG).write_bytes(b"zip")
    return tmp_path / "source"


def fail_after(path, content):
    path.write_bytes(content)
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_a_disk_did_not_take_is_not_gone_on_with(cache):
    """A disk says once that it could not write; then the content that it has not counts as written."""
    with pytest.raises(CacheAway), cache.resuming(WEBLOG, "a") as folder, manifest.disk_errors("writing", folder):
        fail_after(folder / WEBLOG, b"half")
    with cache.resuming(WEBLOG, "b") as folder:
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EROFS, CacheAway),
        (errno.ESTALE, CacheAway),
        (errno.ENOENT, CacheAway),
        (errno.ENOSPC, DiskFull),
        (errno.EACCES, CacheError),
    ],
)
def test_what_is_wrong_with_a_disk_passes_or_not(tmp_path, number, kind):
    with pytest.raises(CacheError) as raised, manifest.disk_errors("writing", tmp_path):
        raise OSError(number, os.strerror(number))
    assert type(raised.value) is kind
    assert isinstance(of_error(raised.value), Snooze) == (kind is not CacheError)


def incoming(cache):
    return list((cache.path / MARKER / "incoming").iterdir())


def test_open_makes_what_is_missing_and_only_in_a_directory(tmp_path):
    with pytest.raises(CacheError, match=r"does not exist: is its disk mounted\? mkdir -p"):
        CacheDirectory.open(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="is not a directory"):
        CacheDirectory.open(tmp_path / "file")
    (tmp_path / "cache" / "lost+found").mkdir(parents=True)
    cache = CacheDirectory.open(tmp_path / "cache")
    assert cache.weblogs.is_dir()
    assert CacheDirectory.open(tmp_path / "cache").path == cache.path


def test_open_makes_no_cache_of_what_is_used_for_something_else(tmp_path):
    (tmp_path / "weblogs" / ".git").mkdir(parents=True)
    (tmp_path / "index.html").touch()
    with pytest.raises(CacheError, match=r"is no cache yet, and holds .* \(index.html, weblogs/.git\)"):
        CacheDirectory.open(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".git", "index.html", "weblogs"]
    with pytest.raises(BadInput, match="is a variable not set"):
        path_of_cache("")


def test_open_refuses_a_read_only_directory():
    with pytest.raises(CacheError, match=r"is not writable|is read-only|failed"):
        CacheDirectory.open(Path("/proc/self"))


def test_open_removes_what_a_dead_process_left_and_nothing_else(cache):
    (cache.path / MARKER / "incoming" / "dead.1").mkdir()
    (cache.weblogs / f".{WEBLOG.removesuffix('.zip')}.1").mkdir()
    (cache.weblogs / ".git").mkdir()
    with cache.incoming("alive", "1") as alive:
        CacheDirectory.open(cache.path)
        assert incoming(cache) == [alive]
    assert incoming(cache) == []
    assert [path.name for path in cache.weblogs.iterdir()] == [".git"]


def test_a_run_is_reserved_once(cache):
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda _: cache.reserve_run(RUN), range(8))) == [False] * 7 + [True]
    with pytest.raises(BadInput):
        cache.reserve_run("../x")


def test_a_run_that_is_in_the_cache_is_not_reserved(cache, source):
    cache.take(source, RUN, "t")
    assert cache.reserve_run(RUN) is False


def test_takes_a_directory_whole(cache, source):
    told = []
    files = cache.take(source, RUN, "t", progress=lambda done, total: told.append((done, total)))
    assert [(entry.path, entry.size) for entry in files] == [
        (f"{RUN}/SOUS/GOUS/products/a.data", 3_000_000),
        (f"{RUN}/SOUS/GOUS/products/b.xml", 0),
    ]
    assert cache.manifest(RUN) == files == manifest.manifest_of(source / RUN)
    assert subprocess.run(["diff", "-r", source / RUN, cache.path / RUN], check=False).returncode == 0
    assert told[-1] == (3_000_000, 3_000_000)
    assert len(told) == 3
    assert incoming(cache) == []


def test_takes_a_file_that_is_as_announced(cache, source):
    files = manifest.manifest_of(source / WEBLOG)
    assert files == (FileEntry(WEBLOG, 3, hashlib.sha256(b"zip").hexdigest()),)
    assert cache.take(source, WEBLOG, "t", files) == files
    assert (cache.path / WEBLOG).read_bytes() == b"zip"


def test_taking_again_is_fine_even_when_the_source_has_gone(cache, source):
    files = cache.take(source, WEBLOG, "t")
    (source / WEBLOG).unlink()
    assert cache.take(source, WEBLOG, "u", files) == files


def test_another_content_under_the_name_is_never_merged(cache, source):
    cache.take(source, RUN, "t")
    (source / RUN / "SOUS/GOUS/products/b.xml").write_bytes(b"new")
    (source / RUN / "c").touch()
    with pytest.raises(ContentDiffers, match=f"{RUN}/c is missing, .*b.xml has 0 bytes instead of 3"):
        cache.take(source, RUN, "u")
    assert (cache.path / RUN / "SOUS/GOUS/products/b.xml").read_bytes() == b""


@pytest.mark.parametrize("name", [RUN, WEBLOG])
def test_a_source_that_is_not_there(cache, tmp_path, name):
    with pytest.raises(SourceAway, match="is not there"):
        cache.take(tmp_path / "nowhere", name, "t")
    assert incoming(cache) == []


def test_what_is_not_as_announced_does_not_come_in(cache, source):
    files = manifest.manifest_of(source / WEBLOG)
    (source / WEBLOG).write_bytes(b"zap")
    with pytest.raises(CacheError, match="has another content"):
        cache.take(source, WEBLOG, "t", files)
    assert not (cache.path / WEBLOG).exists()
    assert incoming(cache) == []


@pytest.mark.parametrize("make", [lambda p: p.symlink_to("/etc/passwd"), os.mkfifo, lambda p: p.symlink_to("..")])
def test_links_and_special_files_are_refused(cache, source, make):
    make(source / RUN / "SOUS" / "odd")
    with pytest.raises(CacheError, match="odd is a s"):
        cache.take(source, RUN, "t")
    assert not (cache.path / RUN).exists()


@pytest.mark.parametrize("name", ["-rf", ".hidden", "a\nb", "é" * 120 + "\u202e"])
def test_odd_names_inside_are_refused(source, name):
    (source / RUN / name).touch()
    with pytest.raises(CacheError, match="is not a file name"):
        manifest.manifest_of(source / RUN)


def test_a_deep_tree_is_refused(tmp_path):
    (tmp_path / "d" / "/".join("d" * 100)).mkdir(parents=True)
    with pytest.raises(CacheError, match="nested more than"):
        manifest.manifest_of(tmp_path / "d")


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "-x", ".drw-cache", "a\0b", "x" * 4096])
def test_odd_names_are_refused(cache, source, name):
    with pytest.raises(BadInput):
        cache.take(source, name, "t")
    with pytest.raises(BadInput):
        cache.manifest(name)


@pytest.mark.parametrize("name", [RUN, WEBLOG])
def test_many_take_the_same_at_once(cache, source, name):
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda token: cache.take(source, name, f"t{token}"), range(6)))
    assert set(done) == {manifest.manifest_of(source / name)}
    assert manifest.differences(cache.path / name, done[0]) == ()
    assert incoming(cache) == []


def test_of_two_contents_at_once_one_comes_in(cache, source, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / WEBLOG).write_bytes(b"other")

    def take(origin):
        try:
            return cache.take(origin, WEBLOG, origin.name)
        except ContentDiffers:
            return None

    with ThreadPoolExecutor(2) as pool:
        done = [files for files in pool.map(take, (source, tmp_path / "other")) if files]
    assert done == [cache.manifest(WEBLOG)]


def test_a_private_folder_is_its_owners_alone(tmp_path):
    again = private_folder(tmp_path, "a", "1")
    with private_folder(tmp_path, "a", "1"), pytest.raises(CacheError, match="in use by another process"), again:
        pass
    assert list(tmp_path.iterdir()) == []


def cut_off(cache, error, content=b"half"):
    """Bring a part of a weblog, and end with an error; return what there was of it before."""
    found = b""

    def bring():
        nonlocal found
        with cache.resuming(WEBLOG, "t") as folder:
            if (folder / WEBLOG).exists():
                found = (folder / WEBLOG).read_bytes()
            (folder / WEBLOG).write_bytes(content)
            raise error

    with pytest.raises(type(error)):
        bring()
    assert incoming(cache) == []
    return found


def test_what_was_cut_off_is_there_at_the_next_try_unless_it_may_be_wrong(cache):
    assert cut_off(cache, SourceAway("gone")) == b""
    assert cut_off(cache, KeyboardInterrupt(), b"more") == b"half"
    CacheDirectory.open(cache.path)
    assert cut_off(cache, CacheError("wrong")) == b"more"
    assert cut_off(cache, SourceAway("gone")) == b""
    with cache.resuming(WEBLOG, "t") as folder:
        cache.admit(folder / WEBLOG, [FileEntry(WEBLOG, 4, hashlib.sha256(b"half").hexdigest())])
    assert cache.holds(WEBLOG, cache.manifest(WEBLOG))
    assert list((cache.path / MARKER / "partial").iterdir()) == []


def test_what_was_cut_off_goes_once_another_has_brought_it(cache, source):
    cut_off(cache, SourceAway("gone"))
    files = cache.take(source, WEBLOG, "another")
    assert replicate(cache, Source.parse(str(source)), WEBLOG, "t", files) == files
    assert list((cache.path / MARKER / "partial").iterdir()) == []
    assert incoming(cache) == []


def test_of_two_that_go_on_with_what_was_cut_off_one_gets_it(cache):
    cut_off(cache, SourceAway("gone"))
    with cache.resuming(WEBLOG, "one") as one, cache.resuming(WEBLOG, "other") as other:
        assert [path.name for path in one.iterdir()] == [WEBLOG]
        assert list(other.iterdir()) == []


@pytest.mark.parametrize("again", [lambda cache: CacheDirectory.open(cache.path), lambda cache: None])
def test_what_was_cut_off_and_is_wanted_no_more_goes(cache, monkeypatch, again):
    cut_off(cache, SourceAway("gone"))
    monkeypatch.setattr("shared.cache._PARTIAL_S", -1.0)
    again(cache)
    with cache.resuming("another", "t") as folder:
        assert list(folder.iterdir()) == []
    assert list((cache.path / MARKER / "partial").iterdir()) == []


TAKER = """
import sys; from pathlib import Path; from shared.cache import CacheDirectory
cache = CacheDirectory.open(Path(sys.argv[1]))
cache.take(Path(sys.argv[2]), sys.argv[3], "t", progress=lambda done, total: (print(done, flush=True), input()))
"""


def test_a_killed_taker_leaves_nothing_under_the_name_and_is_cleaned_up(cache, source):
    command = [sys.executable, "-c", TAKER, cache.path, source, RUN]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taker:
        assert taker.stdout.readline() == b"1048576\n"
        taker.send_signal(signal.SIGKILL)
    assert not (cache.path / RUN).exists()
    assert [path.name for path in incoming(cache)] == [f"{RUN}.t"]
    cache.take(source, RUN, "u")
    assert incoming(cache) == []


FILLER = """
import resource, sys; from pathlib import Path
from shared.cache import CacheDirectory; from shared.errors import CacheError
cache = CacheDirectory.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
try:
    cache.take(Path(sys.argv[2]), sys.argv[3], "t")
except CacheError as error:
    print(error)
"""


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(cache, source):
    command = [sys.executable, "-c", FILLER, cache.path, source, RUN]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "the disk is full; free some space there" in said
    assert incoming(cache) == []
    assert not (cache.path / RUN).exists()


def test_big_files_are_copied_in_constant_memory(cache, source):
    with (source / "big").open("wb") as file:
        file.truncate(100_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert cache.take(source, "big", "t")[0].size == 100_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_foreign_entries_are_named(cache, source):
    cache.take(source, RUN, "t")
    cache.take(source, WEBLOG, "t")
    (cache.weblogs / WEBLOG.removesuffix(".zip")).mkdir()
    (cache.weblogs / f".{WEBLOG.removesuffix('.zip')}.0af").mkdir()
    assert foreign_entries(cache.path) == ()
    (cache.path / "thesis.tex").touch()
    (cache.path / RUN.replace("2015", "2016")).symlink_to("/")
    (cache.weblogs / "photos").mkdir()
    assert foreign_entries(cache.path) == (RUN.replace("2015", "2016"), "thesis.tex", "weblogs/photos")


def test_clear_empties_a_cache_and_makes_a_missing_one(cache, source, tmp_path):
    cache.take(source, RUN, "t")
    cache.take(source, WEBLOG, "t")
    cache.reserve_run(RUN)
    clear(cache.path)
    assert sorted(path.name for path in cache.path.iterdir()) == [MARKER, "weblogs"]
    assert cache.reserve_run(RUN)
    assert clear(tmp_path / "new" / "cache").path == tmp_path / "new" / "cache"


def test_clear_refuses_what_is_not_a_cache(cache, tmp_path):
    (cache.path / "thesis.tex").touch()
    with pytest.raises(CacheError, match=r"not of a cache: thesis\.tex"):
        clear(cache.path)
    for path in (Path("/"), Path.home(), ROOT, ROOT.parent, tmp_path / ".." / tmp_path.name):
        with pytest.raises(CacheError, match="is not cleared because"):
            clear(path, protected=(ROOT, tmp_path / "cache"))
    (tmp_path / "file").touch()
    with pytest.raises(CacheError):
        clear(tmp_path / "file")


trees = st.dictionaries(st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3}){0,3}", fullmatch=True), st.binary(max_size=50))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=trees, second=trees)
def test_no_difference_means_alike(tmp_path_factory, first, second):
    where = tmp_path_factory.mktemp("trees")
    made = []
    for name, tree in (("one", first), ("two", second)):
        root = where / name / "tree"
        root.mkdir(parents=True)
        for path, content in tree.items():
            if (
                not any((root / parent).is_file() for parent in (path, *Path(path).parents))
                and not (root / path).exists()
            ):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(content)
        made.append(root)
    one, two = (manifest.manifest_of(root) for root in made)
    assert (manifest.differences(made[0], two) == ()) == (one == two)
