"""What the replicator does with a message on ``cached.EXEC``, and its command line."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from actors.replicated_cache import web
from shared import actor, names, ngas, origins, replication, weblog
from shared.bus import Dead, Done
from shared.cache import path_of_cache
from shared.errors import BadInput, CacheError, ContentDiffers, SourceAway
from shared.messages import CachedFile, cached_selector, read
from shared.progress import ProgressLine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from shared.actor import Actor
    from shared.bus import Delivery, Outcome
    from shared.cache import CacheDirectory
    from shared.messages import FileEntry
    from shared.replication import Rsync, Source
    from shared.settings import Settings

_LOG = logging.getLogger(__name__)
_SLOTS: Final = 4
_DEFAULT_PORT: Final = 8000
_ARCHIVING: Final = "JAO"
_ELSEWHERE: Final = ("EA", "EU", "NA")


@dataclass(frozen=True)
class Replicator:
    """Brings what was announced into the local cache, expands weblogs, and at JAO archives them."""

    executive: str
    cache: CacheDirectory
    sources: Mapping[str, Source]
    rsync: Rsync
    archive: ngas.Archive

    def handle(self, delivery: Delivery) -> Outcome:
        """Pull one products directory or weblog; what is here already with the same content is left as it is."""
        request = read(CachedFile, delivery.body)
        try:
            self._bring(delivery, request)
            if request.fileType == "weblog":
                self._publish(delivery, request)
        except (ContentDiffers, BadInput) as error:
            return Dead(str(error))
        return Done()

    def _bring(self, delivery: Delivery, request: CachedFile) -> None:
        source = self._source(request)
        files = request.files or None
        if source is None:
            self._check_own(request.name, files)
            return
        token = delivery.message.claim.token if delivery.message.claim else request.name
        tell = ProgressLine(f"copying {request.name} from {request.cachedAt}")

        def progress(done: int, total: int) -> None:
            delivery.check()
            tell(done, total or sum(each.size for each in request.files))

        replication.replicate(
            self.cache,
            source,
            request.name,
            token,
            files,
            rsync=self.rsync,
            progress=progress,
        )
        _LOG.info("%s is here, from %s", request.name, request.cachedAt)

    def _check_own(self, name: str, files: tuple[FileEntry, ...] | None) -> None:
        """Make sure that what was cached here is here; SourceAway until it is."""
        if files is None:
            self.cache.manifest(name)
        elif not self.cache.holds(name, files):
            raise SourceAway(f"{name} is not in the cache {self.cache.path} yet")

    def _source(self, request: CachedFile) -> Source | None:
        """Return where to pull from; None when the file was cached here."""
        if request.cachedAt == self.executive:
            return None
        source = self.sources.get(request.cachedAt)
        if source is None:
            raise CacheError(
                f"{request.name} is cached at {request.cachedAt}, and this replicator was not told where that cache "
                f"is: start it with -{request.cachedAt.lower()}c"
            )
        return source

    def _publish(self, delivery: Delivery, request: CachedFile) -> None:
        """Expand a weblog, and at JAO put it into the archive."""
        packed = self.cache.path / request.name
        weblog.expand(packed, self.cache.weblogs)
        if self.executive == _ARCHIVING:
            delivery.check()
            (entry,) = self.cache.manifest(request.name)
            self.archive.put(packed, request.name, size=entry.size, sha256=entry.sha256)


def _parser() -> argparse.ArgumentParser:
    parser = actor.parser(
        "replicated-cache",
        "Replicate products and weblogs into a local cache, and serve it to browsers.",
        "replicated-cache -e JAO -lc /tmp/jao-cache -euc /tmp/eu-cache -p 8001",
    )
    parser.add_argument(
        "-e", metavar="EXEC", dest="exec", required=True, type=actor.checked(names.executive), help="EA, EU, JAO or NA"
    )
    parser.add_argument(
        "-lc",
        "--lc",
        metavar="LCACHE",
        dest="cache",
        required=True,
        type=actor.checked(path_of_cache),
        help="the local cache",
    )
    for executive in _ELSEWHERE:
        option = f"{executive.lower()}c"
        parser.add_argument(
            f"-{option}",
            f"--{option}",
            metavar=f"{executive}CACHE",
            dest=executive,
            type=actor.checked(replication.Source.parse),
            help=f"the cache of {executive}: a directory, or user@host:directory for rsync",
        )
    parser.add_argument(
        "-p", "--port", type=int, default=_DEFAULT_PORT, help=f"of the web server, default {_DEFAULT_PORT}"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the web server, default 127.0.0.1")
    actor.add_origin_option(parser, "DRW_CACHE_ORIGIN and DRW_WEBLOG_URL")
    return parser


def _origins(settings: Settings, args: argparse.Namespace) -> origins.Origins:
    """Return under which names browsers may ask: those that were given, and where reviewers find weblogs."""
    hosts = (args.host, str(urlsplit(settings.weblog_url).hostname))
    return origins.Origins((*settings.cache_origin, *args.origin), hosts=hosts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a cache replicator with its web server."""
    args = _parser().parse_args(argv)

    def serve(me: Actor) -> int:
        cache = actor.cache_directory(args.cache)
        sources = {each: getattr(args, each) for each in _ELSEWHERE if getattr(args, each)}
        archive = ngas.Archive(me.connection.database(ngas.DATABASE), me.connection.clock)
        replicator = Replicator(args.exec, cache, sources, replication.Rsync.found(os.environ), archive)
        server = web.serve(cache.path, host=args.host, port=args.port, origins=_origins(me.settings, args))
        me.part("web server", lambda: server.is_alive)
        selector = cached_selector(args.exec)
        me.bus.listen(selector, replicator.handle, slots=_SLOTS)
        try:
            return me.serve(f"listening on {selector}, cache {cache.path} at http://{args.host}:{server.port}/")
        finally:
            server.close()

    return actor.run("replicated-cache", args, serve, executive=args.exec)
