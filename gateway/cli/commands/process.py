"""``gateway run | serve | work | console | api``: the processes of one gateway."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from sqlalchemy import Engine

from gateway.cli.audited_changes import make_act
from gateway.cli.child_processes import ChildFunction, import_before_fork, run_children_until_stopped
from gateway.cli.commands.migrate import apply_migrations, mark_payload_store
from gateway.cli.home_folder import (
    find_empty_settings_warning,
    find_left_out_key_warnings,
    find_mark_warning,
    find_permission_warnings,
    find_server_warnings,
    find_settings_file,
    keep_files_private,
    open_engine_of_any_version,
    read_verb_settings,
    refuse_other_database,
)
from gateway.cli.hub_findings import check_own_hub, open_read_only_hub
from gateway.cli.program_version import describe_program
from gateway.cli.shared_options import home_options, new_home_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.delivery import SettingsFile, build_worker
from gateway.errors import GatewayError
from gateway.hub import Hub, find_webhook_key_problem, get_current_time, list_own_periods
from gateway.monitor import log_expiry_warnings
from gateway.operations import (
    Findings,
    collect_trust_remarks,
    find_account_certificate_warnings,
    find_contract_changes,
    find_contract_warnings,
    find_missing_addresses,
    find_resting_filings,
    find_source_problems,
    find_unread_agreements,
    find_unread_certificates,
    format_count,
    log_changed_rows,
    state_register_once,
)
from gateway.pki import CertificateExaminer
from gateway.process_log import START_LOG, pass_log_format, set_up_logging
from gateway.processor_affinity import bind_to_processor
from gateway.stop_signals import catch_stop_signals, end_own_process
from gateway.store import (
    InsufficientStorageError,
    await_server,
    check_file_at_start,
    close_database_file,
    describe_database,
    get_database_state,
    keep_database_mark,
    read_transaction,
    watch_for_lasting_failure,
)
from gateway.web import (
    announce_readiness,
    build_api_address,
    build_console_address,
    build_listener_address,
    check_port,
    is_listening,
    report_ready,
)

_log = logging.getLogger(__name__)
_LOG_WORDS = "write the log as JSON Lines, on standard error"
_DAY_SECONDS = 86_400.0
#: The module of a delivery process; it is imported once, before the first process is forked.
_WORKER_MODULE = "gateway.delivery.wiring"


@verb("run")
@home_options(json_words=_LOG_WORDS)
@new_home_option()
@click.option(
    "--workers", type=click.IntRange(1), help="number of delivery processes, instead of delivery.processes"
)
def run_gateway(arguments: Arguments) -> int:
    """Run one process that serves and others that deliver; restart a process that ends."""
    with _open_database(arguments) as settings:
        return _run_all(settings, arguments)


def _run_all(settings: Settings, arguments: Arguments) -> int:
    """Migrate the database, and run serving and delivery processes until stopped; return the exit status."""
    _check_free_port(settings)
    apply_migrations(settings, make_act("run"), is_new_hub=arguments.new)
    try:
        mark_payload_store(settings)
    except InsufficientStorageError as problem:
        # It is not ready, but it accepts and processes small messages.
        _log.error("the store of large payloads is not marked: %s", problem)
    check_own_hub(settings)
    workers = arguments.workers or settings.delivery.processes
    targets = [*_list_delivery_functions(workers), serve_http_requests]
    if settings.console.enabled:
        check_port(build_console_address(settings))
        targets.append(serve_console_requests)
    if settings.api.enabled:
        check_port(build_api_address(settings))
        targets.append(serve_api_requests)

    def prepare_child(target: ChildFunction) -> None:
        # After the first workers, which take 30 MiB less without it.
        module = _SERVING_MODULES.get(target)
        if module is not None:
            import_before_fork(module)

    starting = Processes(
        serves_http=True,
        serves_console=settings.console.enabled,
        serves_api=settings.api.enabled,
        worker_count=workers,
    )
    import_before_fork(_WORKER_MODULE)
    with announce_start(settings, starting, as_json=arguments.json), catch_stop_signals() as stop:
        return run_children_until_stopped(targets, arguments, stop, prepare_child)


@verb("serve")
@home_options(json_words=_LOG_WORDS)
def serve_http(arguments: Arguments) -> int:
    """Serve HTTP in this process until it is stopped; raise GW808 when the port is taken."""
    with _open_database(arguments) as settings:
        _check_free_port(settings)
        return serve_http_requests(arguments)


@verb("console")
@home_options(json_words=_LOG_WORDS)
def run_console(arguments: Arguments) -> int:
    """Serve the console in this process until it is stopped."""
    with _open_database(arguments) as settings:
        check_port(build_console_address(settings))
        return serve_console_requests(arguments)


@verb("api")
@home_options(json_words=_LOG_WORDS)
def run_api(arguments: Arguments) -> int:
    """Serve the API in this process until it is stopped."""
    with _open_database(arguments) as settings:
        check_port(build_api_address(settings))
        return serve_api_requests(arguments)


@verb("work")
@home_options(json_words=_LOG_WORDS)
def run_worker(arguments: Arguments) -> int:
    """Deliver until it is stopped, by as many processes as `delivery.processes` says."""
    with _open_database(arguments) as settings:
        return _run_workers(settings, arguments)


def _run_workers(settings: Settings, arguments: Arguments) -> int:
    """Run the configured number of delivery processes until stopped; return the exit status."""
    workers = settings.delivery.processes
    if workers == 1:
        return deliver_and_warn(arguments)
    import_before_fork(_WORKER_MODULE)
    with (
        announce_start(settings, Processes(worker_count=workers), as_json=arguments.json),
        catch_stop_signals() as stop,
    ):
        return run_children_until_stopped(_list_delivery_functions(workers), arguments, stop)


@contextmanager
def _open_database(arguments: Arguments) -> Iterator[Settings]:
    """Provide the settings of a verb that runs processes; raise GW805 for a damaged database file.

    Raises GW806 where no process can be started that validates certificates: every partner would be refused.

    The file is checked before any other code opens it, because the last process that closes the file copies
    its log into it. If the database server is away, this function waits for it. A signal ends the process
    meanwhile, because no handler is set yet. Raises GW808 for the database of another hub than that of the
    mark. At the end, which a killed process does not reach, the last mark is written and the file is closed
    in order. If another file has taken its place, that file is not touched: the log of the first file may lie
    beside it.
    """
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    source = _find_source(arguments)
    for warning in (
        *find_empty_settings_warning(source),
        *find_left_out_key_warnings(settings, source),
        *find_permission_warnings(settings, source),
    ):
        _log.warning("%s", warning)
    with closing(CertificateExaminer()) as examiner, open_engine_of_any_version(settings) as engine:
        examiner.begin_children()
        check_file_at_start(get_database_state(engine).damage)
        await_server(engine)
        for warning in find_server_warnings(engine):
            _log.warning("%s", warning)
        refuse_other_database(settings, engine)
        missing_mark = find_mark_warning(settings, engine, get_current_time())
        if missing_mark is not None:
            _log.warning("%s", missing_mark)
        # The engine forgets it when it is closed.
        sqlite = get_database_state(engine).sqlite
        file = None if sqlite is None else copy(sqlite.file)
        if file is not None:
            file.record_opened_file()
        examiner.start_and_await_children()
    yield settings
    if file is not None and file.is_exchanged():
        _log.error("the file of the database was removed or replaced while the gateway ran")
        return
    with suppress(GatewayError), open_engine_of_any_version(settings, at_work=True) as engine:
        keep_database_mark(engine)
    with open_engine_of_any_version(settings) as engine:
        close_database_file(get_database_state(engine).damage)


def _find_source(arguments: Arguments) -> str | None:
    """Return the settings file of a verb, also where the environment names it."""
    return find_settings_file(arguments) or os.environ.get("GATEWAY_CONFIG")


def _check_free_port(settings: Settings) -> None:
    check_port(build_listener_address(settings))


def serve_http_requests(arguments: Arguments) -> int:
    """Serve HTTP until stopped; raise any problem that would end each serving process."""
    from gateway.web import serve_application

    return _serve_requests(arguments, Processes(serves_http=True), serve_application)


def serve_console_requests(arguments: Arguments) -> int:
    """Serve the console until stopped; raise any problem that would end each serving process."""
    from gateway.web import serve_console

    return _serve_requests(arguments, Processes(serves_console=True), serve_console)


def serve_api_requests(arguments: Arguments) -> int:
    """Serve the API until stopped; raise any problem that would end each serving process."""
    from gateway.web import serve_api

    return _serve_requests(arguments, Processes(serves_api=True), serve_api)


def _serve_requests(
    arguments: Arguments, processes: Processes, serve: Callable[[Settings, str | None], None]
) -> int:
    """Check the settings, announce the processes, then call `serve` until it is stopped; return 0."""
    set_up_logging(as_json=arguments.json)
    settings = read_verb_settings(arguments)
    # A problem that would end each serving process is reported once, before there are any.
    check_own_hub(settings)
    with announce_start(settings, processes, as_json=arguments.json):
        serve(settings, find_settings_file(arguments))
    return 0


#: The modules of the serving processes; that of a console or an API that is not served is not imported.
_SERVING_MODULES: Final[Mapping[ChildFunction, str]] = {
    serve_http_requests: "gateway.web.serving_process",
    serve_console_requests: "gateway.web.console_process",
    serve_api_requests: "gateway.web.api_process",
}


def _list_delivery_functions(workers: int) -> list[ChildFunction]:
    """Return the functions of `workers` delivery processes; one of them warns daily of expiring data."""
    return [deliver_and_warn, *[deliver_messages] * (workers - 1)]


def deliver_and_warn(arguments: Arguments) -> int:
    """Deliver until stopped, and log once a day the certificates and other data that expire."""
    return _deliver(arguments, logs_expiries=True)


def deliver_messages(arguments: Arguments) -> int:
    """Deliver until stopped, without the daily warnings: another delivery process logs them."""
    return _deliver(arguments, logs_expiries=False)


def _deliver(arguments: Arguments, *, logs_expiries: bool) -> int:
    """Run a delivery worker until stopped; return 0. `logs_expiries`: log daily which certificates expire."""
    set_up_logging(as_json=arguments.json)
    source = _find_source(arguments)
    file = SettingsFile(Path(source), lambda: read_verb_settings(arguments)) if source else None
    settings = read_verb_settings(arguments)
    bind_to_processor(settings.delivery.cpu_affinity)
    announced = announce_start(settings, Processes(worker_count=1), as_json=arguments.json)
    with announced, catch_stop_signals() as stop:
        try:
            worker = build_worker(settings, file, stop.wait)
        except InsufficientStorageError:
            if stop.is_set():
                return 0
            raise
        report_ready()
        watch_for_lasting_failure(worker.engine, end_own_process)
        if logs_expiries:
            daily = (settings, stop, worker.engine)
            threading.Thread(target=log_expiries_daily, args=daily, daemon=True).start()
        worker.run(stop)
    return 0


def log_expiries_daily(settings: Settings, stop: threading.Event, engine: Engine) -> None:
    """Log once a day trust data that expire, what partners lack, and rows that differ from the evidence.

    `engine` is that of the deliveries of this process.
    """
    while True:
        try:
            with open_read_only_hub(settings, engine) as hub:
                _log_hub_warnings(settings, hub)
        except Exception:
            # The check is repeated the next day; the worker itself notices an unavailable database.
            _log.warning("the search for expiring certificates failed", exc_info=True)
        try:
            state_register_once(engine, get_current_time())
            log_changed_rows(engine)
        except Exception:
            _log.warning("the search for changed rows failed", exc_info=True)
        if stop.wait(_DAY_SECONDS):
            return


def _log_hub_warnings(settings: Settings, hub: Hub) -> None:
    """Log a warning for each thing of a hub that expires, or that a partner lacks."""
    hub.refresh_snapshot()
    findings = Findings()
    with findings.check("certificates that expire"):
        log_expiry_warnings(hub.engine, hub.clock(), list_own_periods(hub))
    with findings.check("trusted and fetched data"):
        findings.add_all(collect_trust_remarks(settings, hub))
        findings.add_all(find_source_problems(settings, hub))
    with findings.check("certificates of people"):
        findings.add_all(find_account_certificate_warnings(hub))
    with findings.check("stored agreements"):
        findings.add_all(find_unread_agreements(hub.get_snapshot(), settings.hub.party))
    with findings.check("registered certificates"):
        findings.add_all(find_unread_certificates(hub.get_snapshot()))
    with findings.check("addresses of agencies"):
        findings.add_all(find_missing_addresses(settings, hub.rules.bundle))
    with findings.check("mappings and contracts"), read_transaction(hub.engine) as conn:
        findings.add_all(find_contract_warnings(conn, settings, hub.clock()))
    with findings.check("changed contracts"), read_transaction(hub.engine) as conn:
        findings.add_all(find_contract_changes(conn, settings, hub.clock()))
    with findings.check("messages that rest"), read_transaction(hub.engine) as conn:
        findings.add_all(find_resting_filings(conn, hub.clock()))
    with findings.check("the key of webhooks"):
        key_problem = find_webhook_key_problem(hub.engine, settings.api.webhook_key)
        findings.add_all(() if key_problem is None else (key_problem,))
    for finding in (*findings.problems, *findings.warnings):
        _log.warning("%s", finding)


_start_log = logging.getLogger(START_LOG)


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes to start: whether HTTP, console and API are served, and how many processes deliver."""

    serves_http: bool = False
    serves_console: bool = False
    serves_api: bool = False
    worker_count: int = 0

    def count_all(self, settings: Settings) -> int:
        """Return how many processes report when they are ready."""
        return (
            self.serves_http * settings.http.processes
            + self.serves_console
            + self.serves_api
            + self.worker_count
        )

    def describe_parts(self, settings: Settings) -> Iterator[str]:
        """Yield the words about each kind, with its address."""
        scheme = "http" if settings.http.tls_certificate is None else "https"
        if self.serves_http:
            address = build_listener_address(settings)
            yield f"serves {scheme}://{_join_address(address.host, address.port)}"
            yield format_count(settings.http.processes, "serving process", "serving processes")
        if self.serves_console:
            address = build_console_address(settings)
            yield f"console {scheme}://{_join_address(address.host, address.port)}"
        if self.serves_api:
            address = build_api_address(settings)
            yield f"API {scheme}://{_join_address(address.host, address.port)}"
        if self.worker_count:
            yield format_count(self.worker_count, "worker process", "worker processes")


@contextmanager
def announce_start(settings: Settings, processes: Processes, *, as_json: bool = False) -> Iterator[None]:
    """Log the parts that start, and inside the block that they are ready; a child process logs neither.

    Files that are made inside the block are private, and processes log in the form of this one.
    """
    if multiprocessing.parent_process() is None:
        parts = [f"{describe_program()} starts", f"home {settings.home_folder}"]
        parts.append(f"database {describe_database(settings.database.url)}")
        _start_log.info("%s", ", ".join([*parts, *processes.describe_parts(settings)]))

    # With TLS the port is open from the start, and a connection that says nothing is a failed handshake.
    is_probed = processes.serves_http and settings.http.tls_certificate is None
    address = build_listener_address(settings)

    def is_reachable() -> bool:
        return not is_probed or is_listening(address)

    def announce() -> None:
        _start_log.info("ready")

    count = processes.count_all(settings)
    with (
        pass_log_format(as_json=as_json),
        keep_files_private(),
        announce_readiness(count, announce, is_reachable),
    ):
        yield


def _join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
