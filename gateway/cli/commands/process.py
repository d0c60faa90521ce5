"""``gateway run | serve | work | console | api``: the processes of one gateway."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import click

from gateway.cli.commands.migrate import apply_migrations
from gateway.cli.hub_findings import (
    check_own_hub,
    open_looking_hub,
)
from gateway.cli.settings import find_settings_file, read_verb_settings
from gateway.cli.shared_options import home_options, new_home_option
from gateway.cli.start_log import Processes, announce_start
from gateway.cli.stop_signals import catch_stop_signals
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.delivery import SettingsFile, build_worker
from gateway.hub import list_own_periods
from gateway.monitor import log_expiry_warnings
from gateway.operations import (
    collect_trust_remarks,
    find_contract_warnings,
    find_missing_addresses,
    find_source_problems,
)
from gateway.process_log import START_LOG, set_up_logging
from gateway.store import read_transaction, retry_until_stored
from gateway.web import (
    RestartLimit,
    build_api_address,
    build_console_address,
    build_listener_address,
    check_port,
    exit_with_parent,
    report_ready,
)

__all__ = ["log_endings_daily", "run_api", "run_console", "run_gateway", "run_worker", "serve_http"]

_log = logging.getLogger(__name__)
_start_log = logging.getLogger(START_LOG)
_LOG_WORDS = "write the log as JSON Lines, on standard error"
_DRAIN = 40.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: So many ended processes within so many seconds are no accident: the operator must act.
_MOST_DEATHS = 11
_WINDOW = 60.0
_DAY = 86_400.0


@verb
@home_options(json_words=_LOG_WORDS)
@new_home_option()
@click.option("--workers", type=click.IntRange(1), default=1, help="number of delivery processes")
def run_gateway(arguments: Arguments) -> int:
    """Run one process that serves and others that deliver; restart a process that ends."""
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    _check_free_port(settings)
    apply_migrations(settings, arguments)
    check_own_hub(settings)
    targets: list[Callable[..., int]] = [*[deliver_messages] * arguments.workers, serve_http_requests]
    if settings.console.enabled:
        check_port(build_console_address(settings))
        targets.append(serve_console_requests)
    if settings.api.enabled:
        check_port(build_api_address(settings))
        targets.append(serve_api_requests)

    def start_child(target: Callable[..., int]) -> BaseProcess:
        if target is not deliver_messages:
            # After the first workers, which take 30 MiB less without it.
            _prepare_fork("gateway.web.serving_process")
        return _fork_child(target, arguments)

    starting = Processes(
        serves=True,
        console=settings.console.enabled,
        api=settings.api.enabled,
        workers=arguments.workers,
    )
    _prepare_fork("gateway.delivery.wiring")
    with announce_start(settings, starting, as_json=arguments.json), catch_stop_signals() as stop:
        children = [start_child(target) for target in targets]
        restarts = RestartLimit(_MOST_DEATHS, _WINDOW)
        while not stop.wait(0.2):
            for place, child in enumerate(children):
                if not child.is_alive():
                    _log.error("process %s ended with %s and is started again", child.pid, child.exitcode)
                    restarts.record_restart()
                    children[place] = start_child(targets[place])
            if restarts.is_exceeded():
                _log.critical("processes end abnormally again and again: giving up")
                break
        asked = stop.is_set()
        _start_log.info("stops: work that has begun is ended first")
        _end_child_processes(children)
    return 0 if asked else 1


@verb
@home_options(json_words=_LOG_WORDS)
def serve_http(arguments: Arguments) -> int:
    """Serve HTTP in this process until it is stopped; raise GW808 when the port is taken."""
    _check_free_port(read_verb_settings(arguments))
    return serve_http_requests(arguments)


@verb
@home_options(json_words=_LOG_WORDS)
def run_console(arguments: Arguments) -> int:
    """Serve the console in this process until it is stopped."""
    check_port(build_console_address(read_verb_settings(arguments)))
    return serve_console_requests(arguments)


@verb
@home_options(json_words=_LOG_WORDS)
def run_api(arguments: Arguments) -> int:
    """Serve the API in this process until it is stopped."""
    check_port(build_api_address(read_verb_settings(arguments)))
    return serve_api_requests(arguments)


@verb
@home_options(json_words=_LOG_WORDS)
def run_worker(arguments: Arguments) -> int:
    """Deliver in this process until it is stopped."""
    return deliver_messages(arguments)


def _prepare_fork(module: str) -> None:
    """Import what children need: each that starts from now on has it, also one that is started again."""
    if module in sys.modules:
        return
    import_module(module)
    # A collection in a child would write to the pages of these objects, which it shares with this process.
    gc.freeze()


def _fork_child(target: Callable[[Arguments], int], arguments: Arguments) -> BaseProcess:
    """Start a child that shares the imported program with this process."""
    child = multiprocessing.get_context("fork").Process(target=_run_child_process, args=(target, arguments))
    # Before it has handlers of its own, a signal would call the copy of a handler of this process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        child.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child


def _run_child_process(target: Callable[[Arguments], int], arguments: Arguments) -> None:
    # A terminal sends Ctrl-C to every process of the group: only the parent reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    exit_with_parent()
    set_up_logging()
    # A process that is restarted while the disk is full waits, instead of ending again and again.
    sys.exit(retry_until_stored(lambda: target(arguments)))


def _end_child_processes(children: Sequence[BaseProcess]) -> None:
    """Ask every child to finish its work, and wait for it."""
    for child in children:
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, signal.SIGTERM)
    for child in children:
        child.join(_DRAIN)
        if child.is_alive():
            child.kill()


def _check_free_port(settings: Settings) -> None:
    check_port(build_listener_address(settings))


def serve_http_requests(arguments: Arguments) -> int:
    """Serve HTTP until stopped; raise any problem that would end each serving process."""
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    # A problem that would end each serving process is reported once, before there are any.
    check_own_hub(settings)
    # Granian takes some time to load, and other verbs do not need it.
    from gateway.web import serve_application

    with announce_start(settings, Processes(serves=True), as_json=arguments.json):
        serve_application(settings, find_settings_file(arguments))
    return 0


def serve_console_requests(arguments: Arguments) -> int:
    """Serve the console until stopped; raise any problem that would end each serving process."""
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    check_own_hub(settings)
    from gateway.web import serve_console

    with announce_start(settings, Processes(console=True), as_json=arguments.json):
        serve_console(settings, find_settings_file(arguments))
    return 0


def serve_api_requests(arguments: Arguments) -> int:
    """Serve the API until stopped; raise any problem that would end each serving process."""
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    check_own_hub(settings)
    from gateway.web import serve_api

    with announce_start(settings, Processes(api=True), as_json=arguments.json):
        serve_api(settings, find_settings_file(arguments))
    return 0


def deliver_messages(arguments: Arguments) -> int:
    """Deliver until stopped."""
    set_up_logging(as_json=arguments.json)
    source = find_settings_file(arguments) or os.environ.get("GATEWAY_CONFIG")
    file = SettingsFile(Path(source), lambda: read_verb_settings(arguments)) if source else None
    settings = read_verb_settings(arguments)
    announced = announce_start(settings, Processes(workers=1), as_json=arguments.json)
    with announced, catch_stop_signals() as stop:
        worker = build_worker(settings, file)
        report_ready()
        threading.Thread(target=log_endings_daily, args=(settings, stop), daemon=True).start()
        worker.run(stop)
    return 0


def log_endings_daily(settings: Settings, stop: threading.Event) -> None:
    """Log the certificates and other trust data that expire, and what partners lack, once a day."""
    while True:
        try:
            with open_looking_hub(settings) as hub:
                hub.refresh_snapshot()
                log_expiry_warnings(hub.engine, hub.clock(), list_own_periods(hub))
                told = (*collect_trust_remarks(settings, hub), *find_source_problems(settings, hub))
                told += tuple(find_missing_addresses(settings, hub.rules.bundle))
                with read_transaction(hub.engine) as conn:
                    told += tuple(find_contract_warnings(conn, settings, hub.clock()))
                for words in told:
                    _log.warning("%s", words)
        except Exception:
            # The check is repeated the next day; the worker itself notices an unavailable database.
            _log.warning("the search for expiring certificates failed", exc_info=True)
        if stop.wait(_DAY):
            return
