"""What can go wrong between a process and CouchDB: which requests are meant, and what the proxy does to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy import Exchange, Request

# Which requests


def writes(*ops: str) -> Callable[[Request], bool]:
    """Match the requests that write one of these transitions."""
    return lambda request: bool(request.ops.intersection(ops))


def asks(path_end: str, method: str = "") -> Callable[[Request], bool]:
    """Match the requests to a path that ends so."""
    return lambda request: request.path.endswith(path_end) and method in {"", request.method}


def follows_feed(request: Request) -> bool:
    """Match the requests for a continuous ``_changes`` feed."""
    return request.is_feed


# What happens to them


def lose_answer(exchange: Exchange) -> None:
    """Have the request carried out and cut the line before a word of the answer."""
    exchange.forward()
    exchange.cut()


def halve_answer(exchange: Exchange) -> None:
    """Have the request carried out and cut the line in the middle of the answer."""
    exchange.reply(exchange.forward(), cut_at=0.5)


def gateway_error(exchange: Exchange) -> None:
    """Have the request carried out and answer 502, as a gateway does that lost the answer itself."""
    exchange.forward()
    exchange.fail(502)


def hang_up(exchange: Exchange) -> None:
    """Cut the line at once; nothing is carried out."""
    exchange.cut()


def keep_answer(exchange: Exchange) -> None:
    """Have the request carried out and say nothing, the line open, until the client or the proxy has enough of it."""
    exchange.forward()
    exchange.hold()


def hang(exchange: Exchange) -> None:
    """Do nothing, the line open, until the client or the proxy has enough of it."""
    exchange.hold()


def fail(status: int) -> Callable[[Exchange], None]:
    """Answer with an error; nothing is carried out."""
    return lambda exchange: exchange.fail(status)


def delay(seconds: float) -> Callable[[Exchange], None]:
    """Relay after a while."""

    def delayed(exchange: Exchange) -> None:
        exchange.proxy.closed.wait(seconds)
        exchange.relay()

    return delayed


def change_request(change: Callable[[Request], None]) -> Callable[[Exchange], None]:
    """Relay what ``change`` has made of the request."""

    def changed(exchange: Exchange) -> None:
        change(exchange.request)
        exchange.relay()

    return changed


def with_body(change: Callable[[Any], Any]) -> Callable[[Exchange], None]:
    """Relay the request with another JSON body."""

    def changed(request: Request) -> None:
        request.body = json.dumps(change(request.json)).encode()

    return change_request(changed)


def rewind(request: Request) -> None:
    """Have a feed begin with the first change ever: for :func:`change_request`."""
    request.query["since"] = "0"
