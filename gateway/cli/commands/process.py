"""``gateway run | serve | work | console | api``: the processes of one gateway."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from gateway.cli.child_processes import Target, keep_children, prepare_fork
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
from gateway.process_log import set_up_logging
from gateway.processor_affinity import bind_to_processor
from gateway.store import read_transaction
from gateway.web import (
    build_api_address,
    build_console_address,
    build_listener_address,
    check_port,
    report_ready,
)

__all__ = ["log_endings_daily", "run_api", "run_console", "run_gateway", "run_worker", "serve_http"]

_log = logging.getLogger(__name__)
_LOG_WORDS = "write the log as JSON Lines, on standard error"
_DAY = 86_400.0
#: What a delivery process runs; it is imported once, before the first is forked.
_WORKER_MODULE = "gateway.delivery.wiring"


@verb
@home_options(json_words=_LOG_WORDS)
@new_home_option()
@click.option(
    "--workers", type=click.IntRange(1), help="number of delivery processes, instead of delivery.processes"
)
def run_gateway(arguments: Arguments) -> int:
    """Run one process that serves and others that deliver; restart a process that ends."""
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    _check_free_port(settings)
    apply_migrations(settings, arguments)
    check_own_hub(settings)
    workers = arguments.workers or settings.delivery.processes
    targets = [*_list_delivering(workers), serve_http_requests]
    if settings.console.enabled:
        check_port(build_console_address(settings))
        targets.append(serve_console_requests)
    if settings.api.enabled:
        check_port(build_api_address(settings))
        targets.append(serve_api_requests)

    def prepare_child(target: Target) -> None:
        # After the first workers, which take 30 MiB less without it.
        module = _SERVING_MODULES.get(target)
        if module is not None:
            prepare_fork(module)

    starting = Processes(
        serves=True, console=settings.console.enabled, api=settings.api.enabled, workers=workers
    )
    prepare_fork(_WORKER_MODULE)
    with announce_start(settings, starting, as_json=arguments.json), catch_stop_signals() as stop:
        return keep_children(targets, arguments, stop, prepare_child)


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
    """Deliver until it is stopped, by as many processes as `delivery.processes` says."""
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    workers = settings.delivery.processes
    if workers == 1:
        return deliver_and_warn(arguments)
    prepare_fork(_WORKER_MODULE)
    with (
        announce_start(settings, Processes(workers=workers), as_json=arguments.json),
        catch_stop_signals() as stop,
    ):
        return keep_children(_list_delivering(workers), arguments, stop)


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


#: What the serving processes run; a console or an API that is not served is not imported.
_SERVING_MODULES: Final[Mapping[Target, str]] = {
    serve_http_requests: "gateway.web.serving_process",
    serve_console_requests: "gateway.web.console_process",
    serve_api_requests: "gateway.web.api_process",
}


def _list_delivering(workers: int) -> list[Target]:
    """Return what so many delivery processes run; one of them tells daily what expires."""
    return [deliver_and_warn, *[deliver_messages] * (workers - 1)]


def deliver_and_warn(arguments: Arguments) -> int:
    """Deliver until stopped, and log once a day what expires."""
    return _deliver(arguments, warns=True)


def deliver_messages(arguments: Arguments) -> int:
    """Deliver until stopped, beside another process."""
    return _deliver(arguments, warns=False)


def _deliver(arguments: Arguments, *, warns: bool) -> int:
    set_up_logging(as_json=arguments.json)
    source = find_settings_file(arguments) or os.environ.get("GATEWAY_CONFIG")
    file = SettingsFile(Path(source), lambda: read_verb_settings(arguments)) if source else None
    settings = read_verb_settings(arguments)
    bind_to_processor(settings.delivery.cpu_affinity)
    announced = announce_start(settings, Processes(workers=1), as_json=arguments.json)
    with announced, catch_stop_signals() as stop:
        worker = build_worker(settings, file)
        report_ready()
        if warns:
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
