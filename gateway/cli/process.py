"""``gateway run | serve | work | check | migrate``: the processes of one gateway."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gateway.cli.maps.check import static_problems
from gateway.cli.pki.remarks import source_problems, trust_remarks
from gateway.cli.settings import add_home, config_of, settings_of
from gateway.cli.transport import check_transport, transport_warnings
from gateway.config import Settings
from gateway.delivery.assembly import build_worker
from gateway.delivery.reloading import SettingsFile, partners_of
from gateway.delivery.soap_contracts import contract
from gateway.errors import CERTIFICATE_EXPIRED, SETTINGS_WRONG, GatewayError
from gateway.harmonize import Bundle
from gateway.hub.assembly import NoCalls, build_hub, engine_of, trust_of
from gateway.hub.hub import Hub
from gateway.hub.mappings import rules_in_force, shipped_rules
from gateway.hub.trust.own_certificates import OURSELVES, own_spans
from gateway.hub.trust.registering import demand_good
from gateway.monitor.expiry import endings, log_endings
from gateway.pki.trust import Use
from gateway.store.engine import reading
from gateway.store.migrate import check_version, migrate
from gateway.store.room import when_there_is_room
from gateway.web.orphans import end_with_parent

__all__ = ["add_parser"]

_log = logging.getLogger(__name__)
_DRAIN = 40.0
#: So many deaths within so many seconds are no accident: the keeper must look.
_MOST_DEATHS = 10
_WINDOW = 60.0
_DAY = 86_400.0


def add_parser(verbs: Any) -> None:
    """Add the verbs of processes."""
    table: dict[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
        "run": ("migrate, then serve HTTP and deliver until stopped", _run),
        "serve": ("serve HTTP until stopped", _serve_alone),
        "work": ("deliver until stopped", _work),
        "check": ("say what is wrong with settings, keys, data and database", _check),
        "migrate": ("bring the database to the version of this code", _migrate),
    }
    for name, (words, function) in table.items():
        parser = verbs.add_parser(name, help=words)
        add_home(parser, as_json=name in ("check", "migrate"))
        if name == "run":
            parser.add_argument("--workers", type=int, default=1, help="delivery processes")
        parser.set_defaults(run=function)


def _logging() -> None:
    logging.basicConfig(
        level=os.environ.get("GATEWAY_LOG", "WARNING"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )


def _run(arguments: argparse.Namespace) -> int:
    """Keep one process that serves and others that deliver; one that dies is started again."""
    _logging()
    settings = settings_of(arguments)
    _check_port(settings)
    _migrated(settings)
    _check_hub(settings)
    context = multiprocessing.get_context("spawn")
    targets: list[Callable[..., int]] = [_serve, *[_work] * max(1, arguments.workers)]

    def start(target: Callable[..., int]) -> BaseProcess:
        child = context.Process(target=_child, args=(target, arguments))
        child.start()
        return child

    with _stopping() as stop:
        children = [start(target) for target in targets]
        deaths: list[float] = []
        while not stop.wait(0.2):
            for place, child in enumerate(children):
                if not child.is_alive():
                    _log.error("process %s ended with %s and is started again", child.pid, child.exitcode)
                    deaths = [*(at for at in deaths if at > time.monotonic() - _WINDOW), time.monotonic()]
                    children[place] = start(targets[place])
            if len(deaths) > _MOST_DEATHS:
                _log.critical("processes die again and again: giving up")
                break
        asked = stop.is_set()
        _end(children)
    return 0 if asked else 1


def _child(target: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> None:
    # A terminal sends Ctrl-C to every process of the group: only the parent heeds it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _logging()
    # One that is started again while the disk is full waits, instead of dying again and again.
    sys.exit(when_there_is_room(lambda: target(arguments)))


def _end(children: Sequence[BaseProcess]) -> None:
    """Ask every child to finish what it holds, and wait for it."""
    for child in children:
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, signal.SIGTERM)
    for child in children:
        child.join(_DRAIN)
        if child.is_alive():
            child.kill()


def _serve_alone(arguments: argparse.Namespace) -> int:
    _check_port(settings_of(arguments))
    return _serve(arguments)


def _check_port(settings: Settings) -> None:
    # Granian takes a moment to load: other verbs do without it.
    from gateway.web.server import check_port

    check_port(settings)


def _serve(arguments: argparse.Namespace) -> int:
    _logging()
    settings = settings_of(arguments)
    # What would end each serving process is said once, in one line, before there are any.
    _check_hub(settings)
    from gateway.web.server import serve

    serve(settings, config_of(arguments))
    return 0


def _work(arguments: argparse.Namespace) -> int:
    _logging()
    source = config_of(arguments) or os.environ.get("GATEWAY_CONFIG")
    file = SettingsFile(Path(source), lambda: settings_of(arguments)) if source else None
    settings = settings_of(arguments)
    worker = build_worker(settings, file)
    with _stopping() as stop:
        threading.Thread(target=_tell_of_endings, args=(settings, stop), daemon=True).start()
        worker.run(stop)
    return 0


def _tell_of_endings(settings: Settings, stop: threading.Event) -> None:
    """Say in the log, now and once a day, whose certificates end, and what else of trust does."""
    while True:
        try:
            with _hub(settings) as hub:
                hub.refresh()
                log_endings(hub.engine, hub.clock(), own_spans(hub))
                for words in (*trust_remarks(settings, hub), *source_problems(settings, hub)):
                    _log.warning("%s", words)
        except Exception:
            # The next day is another: the worker itself finds out about a database that is away.
            _log.warning("certificates that end could not be looked for", exc_info=True)
        if stop.wait(_DAY):
            return


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        if number == signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN:
            continue
        signal.signal(number, lambda *_: stop.set())
    yield stop


def _migrate(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    before, after = _migrated(settings)
    if arguments.json:
        print(json.dumps({"before": before, "after": after}))
    else:
        print(f"{before or 'empty'} -> {after}")
    return 0


def _migrated(settings: Settings) -> tuple[str | None, str]:
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = engine_of(settings)
    try:
        return migrate(engine)
    finally:
        engine.dispose()


def _check(arguments: argparse.Namespace) -> int:
    warnings: list[str] = []
    problems = [_told(problem) for problem in _problems(arguments, warnings)]
    if arguments.json:
        found = {"ok": not problems, "problems": problems, "warnings": warnings}
        print(json.dumps(found, ensure_ascii=False))
    else:
        for words in warnings:
            print(f"warning: {words}")
        for problem in problems:
            print(f"{problem['id']} {problem['detail']} ({problem['location']})\n    {problem['remedy']}")
        print("nothing is wrong" if not problems else f"{len(problems)} found")
    return 1 if problems else 0


def _problems(arguments: argparse.Namespace, warnings: list[str]) -> Iterator[GatewayError]:
    try:
        settings = settings_of(arguments)
    except GatewayError as problem:
        yield problem
        return
    for look in (_check_signing, _check_contracts, check_transport):
        try:
            look(settings)
        except GatewayError as problem:
            yield problem
    with contextlib.suppress(GatewayError):  # a database or mappings that cannot be read have been told of
        yield from _ended(settings, warnings)
        yield from _stale(settings, warnings)
        warnings += _open_ways(settings)
        yield from static_problems(_bundle_in_force(settings))


def _ended(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield whose last certificate has ended; what is about to end goes to the warnings, lists too."""
    with _hub(settings) as hub:
        hub.refresh()
        warnings += hub.recognizer.due(hub.clock())
        warnings += trust_remarks(settings, hub)
        yield from source_problems(settings, hub)
        found = endings(hub.engine, hub.clock(), own_spans(hub))
    warnings += [one.words for one in found if not one.over]
    for one in found:
        # Our own has been told of by the look at the hub.
        if one.over and one.owner != OURSELVES:
            yield GatewayError(CERTIFICATE_EXPIRED, one.words, f"party {one.owner[:40]}")


def _open_ways(settings: Settings) -> list[str]:
    """Return what is said in the clear, or will be when a certificate of TLS has ended."""
    with _hub(settings) as hub:
        return list(transport_warnings(settings, hub.refresh(), hub.clock()))


def _stale(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield GW804 where time-stamping is stale and messages are refused for it; else it is a warning."""
    with _hub(settings) as hub:
        problem = hub.stamping.problem(hub.clock()) if hub.stamping is not None else None
        refuses = hub.stamping is not None and hub.stamping.rule.refuses
    if problem is not None and refuses:
        yield problem
    elif problem is not None:
        warnings.append(str(problem))


def _check_signing(settings: Settings) -> None:
    """Check the hub, and sign with its keys; a hub starts without when they are in a token that is away."""
    _check_hub(settings)
    with _hub(settings) as hub:
        for signer in hub.signers:
            signer.sign(b"gateway check")


def _check_hub(settings: Settings) -> None:
    with _hub(settings) as hub:
        hub.refresh()
        hub.judge(hub.signer.certificate.der, Use.SIGNING, hub.clock()).demand("pki.signing_certificate")
        _check_successor(settings, hub)


@contextlib.contextmanager
def _hub(settings: Settings) -> Iterator[Hub]:
    hub = build_hub(settings, NoCalls(), at_work=False)
    try:
        yield hub
    finally:
        hub.close()


def _check_successor(settings: Settings, hub: Hub) -> None:
    """Refuse a next key that leaves a gap before it, or whose certificate is not good when it takes over."""
    starts = hub.takes_over_at
    if starts is None or starts <= hub.clock():
        return
    before, after = own_spans(hub)
    if before.ends < after.starts:
        detail = f"nothing signs from {before.ends.isoformat()} to {after.starts.isoformat()}"
        raise GatewayError(SETTINGS_WRONG, detail, "pki.next.starts")
    believed, moments = (hub.judge, trust_of(settings)), (hub.clock(), starts)
    where = "pki.next.signing_certificate"
    demand_good(hub.signers[1].certificate, Use.SIGNING, believed, moments, where)


def _bundle_in_force(settings: Settings) -> Bundle:
    engine = engine_of(settings)
    try:
        check_version(engine)
        with reading(engine) as conn:
            return rules_in_force(conn, shipped_rules()).bundle
    finally:
        engine.dispose()


def _check_contracts(settings: Settings) -> None:
    for partner in partners_of(settings).values():
        contract(partner.wsdl)


def _told(problem: GatewayError) -> dict[str, str]:
    return {
        "id": problem.problem.id,
        "detail": problem.detail,
        "location": problem.location,
        "remedy": problem.problem.remedy,
    }
