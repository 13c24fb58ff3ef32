"""Copying from another cache, with ourselves as the copier and with a stand-in of the program rsync.

The stand-in keeps rsync's manners (arguments, messages and exit codes), because rsync is not on every machine; the last
tests use the real one where it is.
"""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import manifest
from shared.cache import CacheDirectory
from shared.errors import BadInput, CacheError, ContentDiffers, DiskFull, SourceAway
from shared.replication import Rsync, Source, fetch, replicate

RUN = "2015.1.00657.S_2018_07_19T07_10_03.781"
WEBLOG = "weblog-X1-X1-Xa1-2018-07-19T07:10:03.781.zip"

# Not Python itself in the first line: its path may hold a space.
STAND_IN = f"""#!/bin/sh
'''exec' "{sys.executable}" "$0" "$@"
'''
import json, os, pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
(here / "called").open("a").write(json.dumps(sys.argv[1:]) + "\\n")
options, (source, target) = sys.argv[1:-3], sys.argv[-2:]
assert sys.argv[-3] == "--" and not any(value.startswith("-") for value in (source, target))
mode = (here / "mode").read_text() if (here / "mode").exists() else ""
if mode.startswith("fail"):
    _, code, message = mode.split(" ", 2)
    print(message, file=sys.stderr)
    print(f"rsync error: something (code {{code}}) at main.c(1) [sender=3.2.7]", file=sys.stderr)
    sys.exit(int(code))
if mode == "hang":
    time.sleep(60)
host, _, folder = source.partition(":") if not source.startswith("/") else ("", "", source)
source = pathlib.Path(folder)
if not os.path.lexists(source):
    print(f'rsync: [sender] link_stat "{{source}}" failed: No such file or directory (2)', file=sys.stderr)
    sys.exit(23)
if "--dry-run" in options:
    print(mode == "corrupt" and ">fc........ x" or "")
    sys.exit(0)
def bring(path, into):
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        print(f'skipping non-regular file "{{path.name}}"')
    elif path.is_dir():
        (into / path.name).mkdir()
        [bring(child, into / path.name) for child in path.iterdir()]
    else:
        shutil.copy2(path, into)
        if mode == "corrupt":
            (into / path.name).write_bytes(b"corrupt")
bring(source, pathlib.Path(target))
"""


@pytest.fixture
def bin_dir(tmp_path):
    (tmp_path / "bin").mkdir()
    path = tmp_path / "bin" / "rsync"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return path.parent


@pytest.fixture(params=["copy", "rsync", "remote"])
def way(request, bin_dir, origin):
    """Give a source and an rsync for each of the three ways."""
    rsync = Rsync.found({"PATH": "" if request.param == "copy" else f"{bin_dir}:{os.environ['PATH']}"})
    host = "drw@eu.example.org:" if request.param == "remote" else ""
    return Source.parse(f"{host}{origin}"), rsync


@pytest.fixture
def origin(tmp_path):
    products = tmp_path / "origin" / RUN / "products"
    products.mkdir(parents=True)
    (products / "a.data").write_bytes(b"a" * 2_000_000)
    (products / "b.data").write_bytes(b"b")
    (tmp_path / "origin" / WEBLOG).write_bytes(b"zip")
    return tmp_path / "origin"


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return CacheDirectory.open(tmp_path / "cache")


def left(cache):
    return [path.name for path in (cache.path / ".drw-cache" / "incoming").iterdir()]


@pytest.mark.parametrize("name", [RUN, WEBLOG])
@pytest.mark.parametrize("announced", [True, False])
def test_brings_it_whole(way, cache, origin, name, announced):
    files = manifest.manifest_of(origin / name)
    source, rsync = way
    for _ in range(2):
        assert replicate(cache, source, name, "t", files if announced else None, rsync=rsync) == files
    assert cache.manifest(name) == files
    assert left(cache) == []


def test_what_is_not_there_yet(way, cache):
    source, rsync = way
    with pytest.raises(SourceAway, match="not there"):
        replicate(cache, source, "none", "t", None, rsync=rsync)
    assert left(cache) == []


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
@pytest.mark.parametrize("where", [RUN, "link"])
def test_links_and_special_files_are_refused(way, cache, origin, make, where):
    make(origin / RUN / "odd" if where == RUN else origin / where)
    source, rsync = way
    with pytest.raises(CacheError, match=r"symbolic link|special file"):
        replicate(cache, source, where, "t", None, rsync=rsync)
    assert not (cache.path / where).exists()
    assert left(cache) == []


def test_another_content_is_never_merged(way, cache, origin):
    (cache.path / WEBLOG).write_bytes(b"old")
    source, rsync = way
    for files in (None, manifest.manifest_of(origin / WEBLOG)):
        with pytest.raises(ContentDiffers):
            replicate(cache, source, WEBLOG, "t", files, rsync=rsync)
    assert (cache.path / WEBLOG).read_bytes() == b"old"


@pytest.mark.parametrize("name", ["", "..", "a/b", "-e", "a\0b", "a\n"])
def test_odd_names_are_refused(way, tmp_path, name):
    source, rsync = way
    with pytest.raises(BadInput):
        fetch(source, name, tmp_path, rsync=rsync)


@pytest.mark.parametrize("announced", [True, False])
def test_what_arrives_otherwise_does_not_come_in(bin_dir, cache, origin, announced):
    (bin_dir / "mode").write_text("corrupt")
    files = manifest.manifest_of(origin / WEBLOG) if announced else None
    with pytest.raises(CacheError, match="did not arrive as it"):
        replicate(
            cache, Source.parse(f"host:{origin}"), WEBLOG, "t", files, rsync=Rsync(path=f"{bin_dir}/rsync", environ={})
        )
    assert not (cache.path / WEBLOG).exists()


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        (255, "ssh: connect to host eu port 22: Connection refused", SourceAway),
        (12, "rsync: connection unexpectedly closed", SourceAway),
        (30, "[Receiver] io timeout after 60 seconds -- exiting", SourceAway),
        (23, 'rsync: change_dir "/x" failed: No such file or directory (2)', SourceAway),
        (23, 'rsync: opendir "/x" failed: Permission denied (13)', CacheError),
        (11, 'rsync: write failed on "x": No space left on device (28)', DiskFull),
        (11, 'rsync: write failed on "x": Disk quota exceeded (122)', DiskFull),
        (11, 'rsync: write failed on "x": File too large (27)', DiskFull),
        (127, "bash: rsync: command not found", CacheError),
    ],
)
def test_failures_are_told_apart(bin_dir, cache, code, message, error):
    (bin_dir / "mode").write_text(f"fail {code} {message}")
    with pytest.raises(error) as raised:
        replicate(cache, Source.parse("eu:/cache"), WEBLOG, "t", None, rsync=Rsync(path=f"{bin_dir}/rsync", environ={}))
    assert type(raised.value) is error
    assert ("disk is full" if code == 11 else message) in str(raised.value)


def test_where_rsync_cannot_even_be_run_is_told_in_a_sentence(bin_dir, tmp_path):
    with pytest.raises(CacheError, match=r"running rsync in .*none failed: No such file or directory"):
        fetch(Source.parse("eu:/cache"), WEBLOG, tmp_path / "none", rsync=Rsync(path=f"{bin_dir}/rsync", environ={}))


_OWN_MOUNTS = ["unshare", "--map-root-user", "--mount"]
_FULL_DISK = """
import sys
from shared.cache import CacheDirectory
from shared.errors import DiskFull
from shared.replication import Rsync, Source, replicate
from pathlib import Path
cache = CacheDirectory.open(Path(sys.argv[1]))
try:
    replicate(cache, Source.parse(sys.argv[2]), sys.argv[3], "t", None, rsync=Rsync.found({"PATH": sys.argv[4]}))
except DiskFull as error:
    print(error)
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*_OWN_MOUNTS, "true"], check=False).returncode != 0,
    reason="a small disk cannot be mounted here",
)
@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize(("count", "size"), [(1, 3_000_000), (300, 7000)], ids=["one large", "many small"])
def test_a_full_disk_is_told_as_one(cache, tmp_path, count, size):
    """With many small files the disk stays full, and rsync's own complaint has to find room too."""
    for number in range(count):
        path = tmp_path / "origin" / RUN / f"{number}.data"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    mounted = 'mount -t tmpfs -o size=1m drw "$1" && exec "$2" -c "$3" "$1" "$4" "$5" "$PATH"'
    argv = [str(cache.path), sys.executable, _FULL_DISK, str(tmp_path / "origin"), RUN]
    done = subprocess.run([*_OWN_MOUNTS, "sh", "-c", mounted, "sh", *argv], capture_output=True, text=True, check=False)
    assert "failed: the disk is full; free some space there" in done.stdout, done.stderr


def test_a_silent_rsync_is_ended(bin_dir, cache):
    (bin_dir / "mode").write_text("hang")
    rsync = Rsync(path=f"{bin_dir}/rsync", environ={}, time_limit_s=0.1)
    with pytest.raises(SourceAway, match=r"ran past its time limit of 0\.1 s"):
        replicate(cache, Source.parse("eu:/cache"), WEBLOG, "t", None, rsync=rsync)


def test_what_progress_raises_ends_the_copying(way, cache, bin_dir):
    (bin_dir / "mode").write_text("hang")
    source, rsync = way

    def stop(done, total):
        raise KeyboardInterrupt(done, total)

    with pytest.raises(KeyboardInterrupt):
        replicate(cache, source, RUN, "t", None, rsync=rsync, progress=stop)
    assert left(cache) == []


def test_the_arguments_are_safe(bin_dir):
    rsync = Rsync.found({"PATH": str(bin_dir), "DRW_HOME": "/x", "COUCHDB_PASSWORD": "s", "HOME": "/h"})
    assert rsync.environ == {"PATH": str(bin_dir), "HOME": "/h"}
    command = rsync.command(Source.parse("drw@eu:cache dir/$(id)"), RUN, Path("/into"))
    assert command[-3:] == ["--", f"drw@eu:cache dir/$(id)/{RUN}", "/into/"]
    assert "--protect-args" in command
    assert not {"--links", "--copy-links", "--devices", "--specials", "--archive", "-a"} & set(command)


def test_another_machine_needs_rsync(tmp_path):
    with pytest.raises(CacheError, match="needs rsync: install it"):
        fetch(Source.parse("eu:/cache"), WEBLOG, tmp_path, rsync=Rsync(path="", environ={}))


def test_wildcards_are_not_for_another_machine(bin_dir, tmp_path):
    with pytest.raises(BadInput, match="wildcard"):
        fetch(Source.parse("eu:/cache"), "*", tmp_path, rsync=Rsync(path=f"{bin_dir}/rsync", environ={}))


@pytest.mark.parametrize(
    ("text", "host", "folder"),
    [
        ("/tmp/eu", "", "/tmp/eu"),
        ("drw@eu.example.org:/data/cache", "drw@eu.example.org", "/data/cache"),
        ("eu:cache", "eu", "cache"),
        ("drw@[fe80::1]:/cache", "drw@[fe80::1]", "/cache"),
        ("/tmp/a:b", "", "/tmp/a:b"),
    ],
)
def test_places_of_caches(text, host, folder):
    source = Source.parse(text)
    assert (source.host, source.folder, str(source)) == (host, folder, text)


def test_a_relative_directory_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Source.parse("eu").folder == str(tmp_path / "eu")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-e sh",
        "--rsh=sh",
        "-oProxyCommand=id@host:dir",
        "user@-oProxyCommand=id:dir",
        "host:-dir",
        "rsync://host/module",
        "host::module",
        "user@host::module",
        "host:",
        ":dir",
        "@host:dir",
        "a b:dir",
        "$(id):dir",
        "host:a\nb",
        "a\0b",
    ],
)
def test_what_is_no_place_of_a_cache(text):
    with pytest.raises(BadInput, match="give a directory"):
        Source.parse(text)


@given(st.text())
def test_no_text_gets_an_option_into_the_arguments(text):
    try:
        source = Source.parse(text)
    except BadInput:
        return
    *_, separator, origin, _ = Rsync(path="rsync", environ={}).command(source, RUN, Path("/into"))
    assert separator == "--"
    assert not origin.startswith("-")
    assert source.host or origin.startswith("/")


LINE = f"""#!/bin/sh
'''exec' "{sys.executable}" "$0" "$@"
'''
import os, pathlib, select, subprocess, sys
here = pathlib.Path(__file__).parent
*_options, _host = sys.argv[1:6]
far = subprocess.Popen(sys.argv[6:], stdout=subprocess.PIPE)
brought, most = 0, int((here / "most").read_text())
while brought < most and (piece := far.stdout.read1(min(65536, most - brought))):
    brought += len(piece)
    while piece:
        select.select([], [1], [])
        piece = piece[os.write(1, piece):]
far.kill()
(here / "brought").write_text(str(brought))
"""
"""A stand-in of ssh to another machine, whose line breaks after so many bytes."""


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("announced", [True, False])
def test_a_line_that_breaks_brings_what_is_left_at_the_next_try(cache, tmp_path, announced):
    (tmp_path / "bin").mkdir()
    most, ssh = tmp_path / "bin" / "most", tmp_path / "bin" / "ssh"
    ssh.write_text(LINE)
    ssh.chmod(0o755)
    products = tmp_path / "far" / RUN
    products.mkdir(parents=True)
    for number in range(2):
        (products / f"{number}.data").write_bytes(os.urandom(1_000_000))
    files = manifest.manifest_of(products)
    rsync = Rsync.found({"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    given = (cache, Source.parse(f"eu:{tmp_path / 'far'}"), RUN)
    most.write_text("1300000")
    with pytest.raises(SourceAway):
        replicate(*given, "first", files if announced else None, rsync=rsync)
    assert left(cache) == []
    assert not (cache.path / RUN).exists()
    most.write_text("1000000")
    CacheDirectory.open(cache.path)  # as whoever begins here does
    assert replicate(*given, "second", files if announced else None, rsync=rsync) == files
    assert cache.manifest(RUN) == files
    assert left(cache) == []
    assert int((ssh.parent / "brought").read_text()) < 1_000_000


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("name", [RUN, WEBLOG])
def test_with_the_real_rsync(cache, origin, name):
    rsync = Rsync.found(os.environ)
    source = Source.parse(str(origin))
    assert replicate(cache, source, name, "t", None, rsync=rsync) == manifest.manifest_of(origin / name)
    assert stat.S_ISDIR((cache.path / name).lstat().st_mode) == (name == RUN)
    (origin / "link").symlink_to("/etc/passwd")
    with pytest.raises(SourceAway):
        fetch(source, "none", cache.weblogs, rsync=rsync)
    with pytest.raises(CacheError):
        fetch(source, "link", cache.weblogs, rsync=rsync)
