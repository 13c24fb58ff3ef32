"""The page under `/_utils/`: lists databases and documents, by the same interface that everybody uses."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from aiohttp import web

from couchlet.web.reply import base_headers


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _between(text: str, tag: str) -> str:
    return text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]


def utils_page() -> web.Response:
    """Return the page, with a policy that lets nothing run but its own script."""
    text = resources.files(__package__).joinpath("utils.html").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(_between(text, 'script'))}; "
        f"style-src {_hash(_between(text, 'style'))}; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        **base_headers(),
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return web.Response(text=text, headers=headers)
