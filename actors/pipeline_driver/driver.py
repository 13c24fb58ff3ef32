"""What the driver does with a message on ``pipeline.process.EXEC``, step by step, and its command line."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import sys
from base64 import b64encode
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from actors.pipeline_driver.cancelling import Cancelling, RunCancelled
from actors.pipeline_driver.judging import problem_of
from actors.pipeline_driver.runs import Run, Runs
from shared import actor, lifecycle, names
from shared.bus import Dead, Done, Retry, envelope
from shared.cache import path_of_cache
from shared.errors import (
    BadInput,
    CacheAway,
    CacheError,
    ContentDiffers,
    DiskFull,
    DrwError,
    ProgramError,
    SourceAway,
    StateRefused,
)
from shared.messages import REPORTS, CachedFile, PipelineReport, ProcessRequest, cached_selector, process_selector, read
from shared.names import shown
from shared.program import Ended, start
from shared.progress import ProgressLine
from shared.status import Change, Expected, launch_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.actor import Actor
    from shared.bus import Delivery, Outcome
    from shared.cache import CacheDirectory
    from shared.status import StatusEntity

_LOG = logging.getLogger(__name__)
_PROBLEM: Final = 3
_LOOK_S: Final = 0.5
_CANCEL_GRACE_S: Final = 3.0
_PLACEHOLDER: Final = re.compile(r"\{(progID|ousUID|executive|recipe)\}")
_SECRETS: Final = (
    "COUCHDB_USER",
    "COUCHDB_PASSWORD",
    "CREDENTIALS_DIRECTORY",
    "DRW_COUCHDB_URL",
    "DRW_CREDENTIALS",
    "DRW_WEBHOOK_URL",
)
_OF_THE_REVIEW: Final = ("flag", "reason", "comment")


class Driver:
    """Runs a program on each OUS that is asked for, and sends on what it made."""

    def __init__(
        self,
        me: Actor,
        cache: CacheDirectory,
        *,
        command: Sequence[str],
        attempts: int,
        time_limit_s: float | None,
        environ: Mapping[str, str],
    ) -> None:
        """Take the actor, the cache to copy to, and how to run the program."""
        self._me = me
        self._cache = cache
        self._command = command
        self._attempts = attempts
        self._time_limit_s = time_limit_s
        self._environ = environ
        self._runs = Runs(me.settings.runs_dir(), cache, me.executive, me.connection.clock.now)
        self._cancelling = Cancelling(me)

    def handle(self, delivery: Delivery) -> Outcome:
        """Take one OUS from ReadyForProcessing to ReadyForReview or ProcessingProblem.

        Every step may find that it was done before, by a driver that died: a finished run is completed, not repeated.
        What is full or away is waited for; what else is wrong with disks, caches and programs becomes a problem of the
        OUS, which must not stay in Processing when the attempts are spent.
        """
        request = read(ProcessRequest, delivery.body)
        try:
            return self._process(delivery, request)
        except RunCancelled as cancelled:
            return self._cancelling.end(delivery, cancelled)
        except StateRefused as error:
            return Dead(str(error))
        except (CacheAway, DiskFull, SourceAway):
            raise
        except (ProgramError, CacheError, OSError) as error:
            # A cache that fails leaves what a run made as good as before; one that has its name taken does not.
            keeps_run = isinstance(error, CacheError) and not isinstance(error, ContentDiffers)
            problem = f"the driver's own files: {error}" if isinstance(error, OSError) else str(error)
            return self._fail(delivery, request, problem, keeps_run=keeps_run)

    def _process(self, delivery: Delivery, request: ProcessRequest) -> Outcome:
        self._cancelling.check(delivery.message)
        taken = self._me.state.set(
            request.ousUID,
            Change(state=lifecycle.PROCESSING, executive=self._me.executive, recipe=request.recipe),
            expected=(lifecycle.READY_FOR_PROCESSING,),
            launched=request.launchedAt,
            delivery=delivery,
            name="processing",
        )
        # Asked after it is Processing: whoever cancels looks at the state after the cancellation is written, so that
        # one of the two sees what the other did.
        self._cancelling.check(delivery.message)
        run = self._runs.of(delivery.message, request)
        # Asked before the OUS is looked at: whoever passes a run on has the OUS leave Processing first.
        passed_on = run is not None and run.is_passed_on
        if self._is_over(request, taken, run):
            return Done()
        if run is not None and passed_on:
            _LOG.warning("run %s was passed on, which the database has lost: another is begun", run.products_dir)
            run = None
        ended = run.ended if run else None
        if run is None or ended is None or ended.orphaned or ended.cancelled:
            if run is not None:
                run.clear()  # of a run that was cut off nothing is needed, and it may be what fills the disk
            run = self._runs.begin(delivery.message, request)
            ended = self._execute(run, delivery)
        self._cancelling.check(delivery.message)
        problem = problem_of(run, ended)
        if not problem:
            return self._pass_on(delivery, run)
        note = f"{problem}; its log is {run.log} on {os.uname().nodename}"
        return self._fail(delivery, request, note, is_final=ended.code == _PROBLEM)

    def _is_over(self, request: ProcessRequest, taken: StatusEntity, run: Run | None) -> bool:
        """Tell whether an OUS has left the Processing that this message had ``taken`` it into.

        A driver that died may have seen to that, on another host, and xtss answers what it was asked before as it did
        then. So the OUS is looked at as it is now: what was passed on must not be run again, and what a database that
        was restored knows nothing of has to be.
        """
        now = self._me.state.get(request.ousUID)
        ours = Expected(states=(lifecycle.PROCESSING,), launched=request.launchedAt or launch_of(taken))
        gone = ours.contradicted_by(now) if now else "is no more"
        if not gone:
            return False
        _LOG.info("%s %s: there is nothing left to run", request.ousUID, gone)
        if run is not None and now is not None and now.run == run.timestamp:
            run.finish()
        return True

    # Running

    def _execute(self, run: Run, delivery: Delivery) -> Ended:
        """Run the program to its end, or until the work has to end."""
        environ = {key: value for key, value in self._environ.items() if key not in _SECRETS}
        environ |= {"DRW_RUN_TIMESTAMP": run.timestamp, "DRW_RECIPE": run.request.recipe}
        environ |= {f"DRW_REVIEW_{name.upper()}": run.request.review.get(name, "") for name in _OF_THE_REVIEW}
        argv = fill_in(self._command, run.request, self._me.executive)
        program = start(
            argv,
            directory=run.directory,
            environ=environ,
            log=run.log,
            record=run.record,
            time_limit_s=self._time_limit_s,
        )
        _LOG.info("run %s began, process %d", run.products_dir, program.pid)

        def cancel() -> None:
            program.cancel(_CANCEL_GRACE_S)

        delivery.on_abort(cancel)
        try:
            ous = run.request.ousUID
            with self._me.busy(f"runs {ous}"), self._cancelling.watching(ous) as news:
                while (ended := program.wait(_LOOK_S)) is None:
                    if self._cancelling.heard(news, delivery.message):
                        cancel()
        finally:
            delivery.off_abort(cancel)
        delivery.check()
        if delivery.is_aborted:
            raise DrwError(f"run {run.products_dir} was ended because its driver stops")
        _LOG.info("run %s %s", run.products_dir, ended.sentence())
        return ended

    def _fail(
        self,
        delivery: Delivery,
        request: ProcessRequest,
        problem: str,
        *,
        is_final: bool = False,
        keeps_run: bool = False,
    ) -> Outcome:
        """Try again where that may help, with another run unless it ``keeps_run``; else set ProcessingProblem.

        Raises DiskFull where the work disk is, because then nobody knows whether it was anything else that failed.
        """
        if not is_final and not keeps_run:
            self._check_room(delivery, request)
        if is_final or self._is_last(delivery):
            return self._give_up(delivery, request, problem)
        if not keeps_run:
            self._runs.forget(delivery.message)
        return Retry(problem)

    def _is_last(self, delivery: Delivery) -> bool:
        """Tell whether no run is left after this one, which failed: that a driver was stopped in one before is none.

        What went wrong before an operator requeued the message is kept with it, and does not count.
        """
        message = delivery.message
        told = len(message.errors) + 1
        failures = min(told, message.attempts) if told <= envelope.ERRORS_KEPT else message.attempts
        return failures >= self._attempts or delivery.is_last_attempt

    def _check_room(self, delivery: Delivery, request: ProcessRequest) -> None:
        try:
            self._runs.check_room()
        except DiskFull:
            if run := self._runs.of(delivery.message, request):
                run.clear()  # which may be what fills the disk
            self._runs.forget(delivery.message)
            raise
        except CacheAway:
            raise
        except CacheError as error:
            _LOG.debug("whether there is room for runs is not known: %s", error)

    def _give_up(self, delivery: Delivery, request: ProcessRequest, note: str) -> Outcome:
        """Set ProcessingProblem, unless the OUS has left Processing already."""
        # They may be other words than those of an attempt before, to which xtss did not answer in time.
        try:
            self._me.state.set(
                request.ousUID,
                Change(state=lifecycle.PROCESSING_PROBLEM),
                expected=(lifecycle.PROCESSING,),
                launched=request.launchedAt,
                note=note,
                delivery=delivery,
                name=envelope.worded("problem", note),
            )
        except StateRefused as error:
            _LOG.info("%s; not told: %s", error, note)
        return Done()

    # Passing on

    def _pass_on(self, delivery: Delivery, run: Run) -> Outcome:
        """Copy what a run made to the cache, tell the replicators and AQUA, and set ReadyForReview."""
        ous, timestamp = run.request.ousUID, run.timestamp
        token = delivery.message.claim.token if delivery.message.claim else timestamp
        weblog_name, text = names.weblog(ous, timestamp), b""
        try:
            telling = ProgressLine(f"copying {run.products_dir}")
            products = self._cache.take(run.directory, run.products_dir, token, progress=telling)
            weblog = self._cache.take(run.products, weblog_name, token)
            text = (run.products / names.report(ous, timestamp)).read_bytes()
        except (SourceAway, FileNotFoundError) as error:
            note = f"what run {run.products_dir} made has vanished: {error}"
            return self._fail(delivery, run.request, note)
        here = self._me.executive
        to_jao = CachedFile(fileType="productsdir", cachedAt=here, name=run.products_dir, files=products)
        page = CachedFile(fileType="weblog", cachedAt=here, name=weblog_name, files=weblog)
        delivery.send(cached_selector("JAO"), to_jao.body(), name=f"products-{timestamp}")
        for executive in dict.fromkeys(("JAO", here)):
            delivery.send(cached_selector(executive), page.body(), name=f"weblog-{timestamp}")
        delivery.send(
            REPORTS,
            PipelineReport(
                ousUID=ous,
                source=here,
                report=b64encode(text).decode("ascii"),
                timestamp=timestamp,
                productsDir=run.products_dir,
            ).body(),
            name=f"report-{timestamp}",
        )
        self._me.state.set(
            ous,
            Change(state=lifecycle.READY_FOR_REVIEW, run=timestamp),
            expected=(lifecycle.PROCESSING,),
            launched=run.request.launchedAt,
            note=f"run {run.products_dir}",
            delivery=delivery,
            name=f"review-{timestamp}",
        )
        run.finish()
        return Done()


def fill_in(command: Sequence[str], request: ProcessRequest, executive: str) -> list[str]:
    """Return a command with ``{progID} {ousUID} {executive} {recipe}`` filled in, each word one argument."""
    values = {
        "progID": request.progID,
        "ousUID": request.ousUID,
        "executive": executive,
        "recipe": request.recipe,
    }
    return [_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in command]


def split_command(text: str) -> list[str]:
    """Return the words of ``--command``; raise BadInput where it cannot be split or has an unknown placeholder."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(f"--command {shown(text)} cannot be split into words: {error}") from error
    if not words:
        raise BadInput("--command is empty: it names a program and its arguments")
    unknown = re.search(r"\{\w+\}", _PLACEHOLDER.sub("", " ".join(words)))
    if unknown:
        raise BadInput(f"--command has {unknown[0]}: it may have {{progID}}, {{ousUID}}, {{executive}} and {{recipe}}")
    return words


def _runs_at_once(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number of runs: write it as -mr 2")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number of seconds above 0")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a rate from 0 to 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = actor.parser(
        "pipeline-driver",
        "Run the pipeline on the OUSs that are launched at an executive.",
        "pipeline-driver -mr 2 EU /tmp/eu-cache",
    )
    parser.add_argument("exec", type=actor.checked(names.executive), help="the executive: EA, EU, JAO or NA")
    parser.add_argument(
        "cache", type=actor.checked(path_of_cache), help="the replicating cache directory of this executive"
    )
    parser.add_argument("-mr", metavar="maxruns", type=_runs_at_once, default=1, help="runs at once, default 1")
    parser.add_argument(
        "--command",
        type=actor.checked(split_command),
        help="a program to run instead of the mock pipeline; {progID} {ousUID} {executive} {recipe} are filled in",
    )
    parser.add_argument("--time-limit", type=_seconds, metavar="SECONDS", help="end a run that takes longer")
    parser.add_argument("--attempts", type=_count, default=3, help="runs before ProcessingProblem, default 3")
    parser.add_argument("--failure-rate", type=_rate, help="of the mock pipeline, 0 to 1, default 0.1")
    parser.add_argument("--seed", help="of the mock pipeline's chance, for runs that can be repeated")
    return parser


def _mock(args: argparse.Namespace) -> list[str]:
    """Return the command of the mock pipeline: it is a program of its own, run like any other."""
    command = [sys.executable, "-I", str(files("actors") / "pipeline.py"), "{progID}", "{ousUID}", "{executive}"]
    if args.failure_rate is not None:
        command += ["--failure-rate", str(args.failure_rate)]
    return command + (["--seed", args.seed] if args.seed is not None else [])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a pipeline driver."""
    args = _parser().parse_args(argv)

    def serve(me: Actor) -> int:
        cache = actor.cache_directory(args.cache)
        driver = Driver(
            me,
            cache,
            command=args.command or _mock(args),
            attempts=args.attempts,
            time_limit_s=args.time_limit,
            environ=os.environ,
        )
        selector = process_selector(args.exec)
        me.bus.listen(selector, driver.handle, slots=args.mr)
        return me.serve(f"listening on {selector}, {args.mr} at once, cache {cache.path}")

    return actor.run("pipeline-driver", args, serve, executive=args.exec)
