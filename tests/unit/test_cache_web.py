"""The web server of a cache, asked over real connections."""

import http.client
import os
import socket
import stat
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from actors.replicated_cache.web import CONNECTIONS, THREADS, serve
from shared.errors import BadInput
from shared.origins import Origins

RUN = "2015.1.00657.S_2018_07_19T07_10_03.781"
WEBLOG = "weblog-X1-X1-Xa1-2018-07-19T07:10:03.781"
PATIENT_S = 20


@pytest.fixture
def cache(tmp_path):
    cache = tmp_path / "cache"
    products = cache / RUN / "SOUS" / "GOUS" / "uid___X1_X1_Xa1" / "products"
    products.mkdir(parents=True)
    (products / "product-0.data").write_bytes(bytes(range(256)) * 10)
    (cache / f"{WEBLOG}.zip").write_bytes(b"zip")
    (cache / "weblogs" / WEBLOG / "html").mkdir(parents=True)
    (cache / "weblogs" / WEBLOG / "index.html").write_text("<h1>Weblog</h1>")
    (cache / "weblogs" / WEBLOG / "html" / "<b>&.txt").write_text("odd")
    (cache / ".drw-cache").mkdir()
    (cache / ".drw-cache" / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (cache / "link").symlink_to(tmp_path / "secret")
    (cache / "folder").symlink_to(tmp_path)
    (cache / "inside").symlink_to(cache / f"{WEBLOG}.zip")
    os.mkfifo(cache / "pipe")
    return cache


@pytest.fixture
def server(cache):
    server = serve(cache, port=0)
    yield server
    server.close()


@pytest.fixture
def ask(server):
    def get(path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENT_S)
        # As it is: http.client would refuse or mend some of what an attacker sends.
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.text = answer.read().decode("latin-1")
        connection.close()
        return answer

    return get


def test_lists_the_root_and_every_folder_down_to_the_bottommost(ask):
    path, seen = "/", []
    while True:
        answer = ask(path)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        seen.append(path)
        hrefs = [part.partition('"')[0] for part in answer.text.split('<a href="')[1:]]
        deeper = [
            href for href in hrefs if href.startswith(path) and href.endswith("/") and RUN in href and href != path
        ]
        if not deeper:
            break
        (path,) = deeper
    assert len(seen) == 6
    (product,) = [href for href in hrefs if href.endswith("product-0.data")]
    assert "2,560" in answer.text
    assert ask(product).text == (bytes(range(256)) * 10).decode("latin-1")


def test_the_root_shows_what_caches_hold_and_no_more(ask):
    page = ask("/").text
    assert f"/{WEBLOG.replace(':', '%3A')}.zip" in page
    assert 'href="/weblogs/"' in page
    for hidden in ("drw-cache", "link", "folder", "inside", "pipe"):
        assert f'/{hidden}"' not in page
        assert f'/{hidden}/"' not in page


def test_a_weblog_is_its_index_page(ask):
    assert WEBLOG in ask("/weblogs/").text
    answer = ask(f"/weblogs/{WEBLOG}")
    assert (answer.status, answer.headers["Location"]) == (302, f"/weblogs/{WEBLOG.replace(':', '%3A')}/")
    answer = ask(answer.headers["Location"])
    assert (answer.status, answer.text) == (200, "<h1>Weblog</h1>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_names_are_escaped(ask):
    page = ask(f"/weblogs/{WEBLOG}/html/").text
    assert "&lt;b&gt;&amp;.txt" in page
    assert ask(f"/weblogs/{WEBLOG}/html/%3Cb%3E%26.txt").text == "odd"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/%252e%252e%252fsecret",
        "/%c0%ae%c0%ae/secret",
        "/..%5csecret",
        "/weblogs/../../secret",
        "/weblogs/..%2f..%2fsecret",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/weblogs//",
        "/./weblogs/",
        "/link",
        "/folder/",
        "/folder/secret",
        "/inside",
        "/pipe",
        "/.drw-cache/",
        "/.drw-cache/secret",
        "/%2edrw-cache/secret",
        "/weblogs%00",
        "/weblogs/%0a",
        "/-rf",
        f"/{WEBLOG}.zip/",
        f"/{WEBLOG}.zip/x",
        "/none",
        "/" + "x" * 5000,
        "/" + "/".join("x" * 3000),
        "http://127.0.0.1/../secret",
        "http://localhost/.drw-cache/secret",
    ],
)
def test_what_is_not_there_for_anybody(ask, path):
    answer = ask(path)
    assert answer.status == 404
    assert "secret" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_only_reading_is_allowed(ask, method):
    answer = ask("/", method)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/", "/none", f"/{WEBLOG}.zip", f"/weblogs/{WEBLOG}", f"/weblogs/{WEBLOG}/"])
def test_every_answer_is_in_a_sandbox(ask, path):
    headers = ask(path).headers
    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert "script" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_ranges_and_conditions(ask):
    path = f"/{RUN}/SOUS/GOUS/uid___X1_X1_Xa1/products/product-0.data"
    whole = ask(path)
    assert (whole.status, whole.headers["Content-Length"], whole.headers["Accept-Ranges"]) == (200, "2560", "bytes")
    part = ask(path, Range="bytes=100-103")
    assert (part.status, part.text) == (206, "defg")
    assert part.headers["Content-Range"] == "bytes 100-103/2560"
    assert ask(path, Range="bytes=-1").text == "\xff"
    assert ask(path, Range="bytes=9999-").status == 416
    assert ask(path, If_None_Match=whole.headers["ETag"]).status == 304
    assert ask(path, "HEAD").headers["Content-Length"] == "2560"
    assert ask(path, "HEAD").text == ""


def test_big_files_are_streamed(ask, cache, server):
    with (cache / "big").open("wb") as file:
        file.truncate(3_000_000_000)
    assert ask("/big", Range="bytes=2999999999-").text == "\0"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENT_S)
    connection.request("GET", "/big")
    answer = connection.getresponse()
    assert len(answer.read(1_000_000)) == 1_000_000
    connection.close()


def test_what_comes_later_is_seen(ask, cache):
    assert ask("/new").status == 404
    (cache / "new").mkdir()
    assert ask("/new/").status == 200
    assert "nothing here yet" in ask("/new/").text


def test_a_port_in_use_is_a_clear_error(server, cache):
    with pytest.raises(BadInput, match=f"port {server.port} is in use: choose another with -p"):
        serve(cache, port=server.port)


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ({"port": 65536}, "out of range"),
        ({"port": -1}, "out of range"),
        ({"host": "192.0.2.1", "port": 0}, "cannot be listened on"),
        ({"host": "no.such.host.invalid", "port": 0}, "cannot be listened on"),
        ({"host": "my..host", "port": 0}, "'my..host' is no name that a machine can have"),
    ],
)
def test_places_that_cannot_be_served(cache, place, complaint):
    with pytest.raises(BadInput, match=complaint):
        serve(cache, **place)


def test_closing_frees_the_port_and_the_thread(cache):
    server = serve(cache, port=0)
    held = socket.create_connection(("127.0.0.1", server.port), PATIENT_S)
    assert server.is_alive
    server.close()
    server.close()
    assert not server.is_alive
    assert not [thread for thread in threading.enumerate() if thread.name == "cache-web"]
    held.close()
    serve(cache, port=server.port).close()


def connect(server, content=b""):
    connection = socket.create_connection(("127.0.0.1", server.port), PATIENT_S)
    connection.sendall(content)
    return connection


def is_closed(connection):
    connection.settimeout(0.02)
    try:
        return connection.recv(10) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_request_that_never_ends_is_cut_off(cache):
    server = serve(cache, port=0, idle_s=PATIENT_S, request_s=0.1)
    until = time.monotonic() + PATIENT_S / 2
    with connect(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n") as dripping:
        while not is_closed(dripping):
            assert time.monotonic() < until
            with suppress(ConnectionError):
                dripping.sendall(b"X")
    server.close()


@pytest.fixture
def impatient(cache):
    server = serve(cache, port=0, connections=60, idle_s=1)
    with (cache / "big").open("wb") as file:
        file.truncate(100_000_000)
    yield server
    server.close()


@pytest.fixture
def stuck(impatient):
    with ExitStack() as readers:
        yield [
            readers.enter_context(connect(impatient, b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            for _ in range(THREADS * 2)
        ]


def test_silent_connections_are_closed(impatient):
    with connect(impatient) as silent:
        assert silent.recv(1) == b""


def test_readers_that_take_nothing_are_closed_and_who_waits_behind_them_is_answered(impatient, request):
    began = time.monotonic()
    request.getfixturevalue("stuck")
    with connect(impatient, b"GET /weblogs/ HTTP/1.0\r\nHost: localhost\r\n\r\n") as asking:
        assert asking.recv(12) == b"HTTP/1.0 200"
    assert time.monotonic() - began > impatient._server.adj.channel_timeout, "it did not have to wait"


def test_too_many_connections_wait_and_harm_nobody(cache):
    server = serve(cache, port=0, connections=10, idle_s=1)
    many = [connect(server) for _ in range(30)]
    with connect(server, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n") as asking:
        assert asking.recv(12) == b"HTTP/1.0 200"
    for connection in many:
        connection.close()
    server.close()
    assert CONNECTIONS >= 50


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.0\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, b"413"),
        (b"GET /\0 HTTP/1.0\r\nHost: localhost\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x02\r\n\r\n", b"400"),
    ],
)
def test_odd_requests_are_refused_and_the_next_one_is_answered(server, ask, sent, status):
    with connect(server, sent) as connection:
        assert connection.recv(1000).split()[1].startswith(status)
    assert ask("/").status == 200


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["localhost:8000"], b"200"),
        (["127.0.0.1"], b"200"),
        (["jao-cache:8001"], b"200"),
        (["Weblogs.Example.org"], b"200"),
        (["evil.example"], b"421"),
        (["evil.example", "localhost"], b"421"),
        ([], b"421"),
    ],
)
def test_who_asks_under_a_name_of_others_gets_nothing(cache, hosts, status):
    known = Origins(["http://jao-cache:8001"], hosts=["weblogs.example.org"])
    server = serve(cache, port=0, origins=known)
    lines = "".join(f"Host: {each}\r\n" for each in hosts)
    with connect(server, f"GET / HTTP/1.0\r\n{lines}\r\n".encode()) as asking, asking.makefile("rb") as answer:
        text = answer.read()
    assert text.split()[1] == status
    assert (b"in DRW_CACHE_ORIGIN or after --origin" in text, WEBLOG.encode() in text) == (
        status == b"421",
        status == b"200",
    )
    server.close()


def test_listens_on_loopback_unless_told(server, cache):
    assert server._server.effective_host == "127.0.0.1"
    everywhere = serve(cache, host="0.0.0.0", port=0)
    assert everywhere._server.effective_host == "0.0.0.0"
    everywhere.close()


def test_no_file_is_left_open(ask, cache):
    path = f"/weblogs/{WEBLOG}/"
    for _ in range(2):
        before = open_files(cache)
        for method in ("GET", "HEAD"):
            ask(path, method)
            ask("/", method)
            ask(path, method, Range="bytes=99999-")
            ask("/weblogs/none", method)
        until = time.monotonic() + PATIENT_S
        while open_files(cache) != before:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert stat.S_ISFIFO((cache / "pipe").lstat().st_mode)


def open_files(cache):
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(path.readlink()))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(str(cache))]
