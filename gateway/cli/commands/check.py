"""``gateway check``: reports errors in settings, keys, data and database."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sqlalchemy import Engine

from gateway.cli.home_folder import (
    find_empty_settings_warning,
    find_file_owner_warnings,
    find_left_out_key_warnings,
    find_mark_warning,
    find_permission_warnings,
    find_settings_file,
    open_engine,
    open_engine_of_any_version,
    read_verb_settings,
)
from gateway.cli.hub_findings import (
    check_own_hub,
    check_transport,
    find_algorithm_warnings,
    find_encryption_warnings,
    find_payload_copy_warnings,
    find_test_edition_warnings,
    find_transport_warnings,
    open_read_only_hub,
)
from gateway.cli.result_output import print_json, print_line, print_sentence, show_progress
from gateway.cli.shared_options import home_verb
from gateway.cli.verb_groups import Arguments
from gateway.config import Settings
from gateway.delivery import build_partners, load_contract
from gateway.errors import CERTIFICATE_EXPIRED, MISUSE, SCHEMA_VERSION_WRONG, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import (
    OURSELVES,
    find_webhook_key_problem,
    get_current_time,
    get_database_mark_path,
    list_own_periods,
    load_active_rules,
    load_publisher_rules,
    load_shipped_rules,
)
from gateway.monitor import list_expiry_warnings
from gateway.operations import (
    collect_trust_remarks,
    find_agency_key_problems,
    find_ahead_notices,
    find_classification_warnings,
    find_clock_warnings,
    find_contract_changes,
    find_contract_warnings,
    find_failed_deliveries,
    find_mailbox_filings,
    find_mapping_plan,
    find_missing_addresses,
    find_overruled_notices,
    find_resting_filings,
    find_source_problems,
    find_stamping_problem,
    find_static_problems,
    find_stuck_deliveries,
    find_tariff_warnings,
    find_unclear_orders,
    format_count,
    list_console_switches,
    list_lane_holds,
    list_plan_warnings,
    list_waiting_acts,
    restate_times,
)
from gateway.store import (
    InsufficientStorageError,
    check_database_file,
    find_copies_problem,
    find_home_mark_problem,
    find_object_problems,
    find_rights_problem,
    get_database_state,
    list_database_warnings,
    naming_older_schema,
    read_database_time,
    read_transaction,
    refuse_empty_database,
)


@home_verb("check")
def check_gateway(arguments: Arguments) -> int:
    """Print the warnings and the problems; return 1 when there is a problem.

    Raises GW808 where there is nothing to check.
    """
    warnings: list[str] = []
    with show_progress("checking settings, keys, data and database"):
        problems = [_describe_problem(problem) for problem in _find_all_problems(arguments, warnings)]
    warnings = [restate_times(warning) for warning in warnings]
    if arguments.json:
        report = {"ok": not problems, "problems": problems, "warnings": warnings}
        print_json(report)
    else:
        for warning in warnings:
            print_line(f"warning: {warning}")
        for problem in problems:
            location = "" if problem["location"] in problem["detail"] else f" ({problem['location']})"
            print(f"{problem['id']} {problem['detail']}{location}\n    {problem['remedy']}")
        print_sentence(_summarize_findings(len(problems), len(warnings)))
    return 1 if problems else 0


def _summarize_findings(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "nothing is wrong"
    problem_count = format_count(problems, "problem") if problems else "no problem"
    return f"{problem_count} found" + (f", {format_count(warnings, 'warning')}" if warnings else "")


def _find_all_problems(arguments: Arguments, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield every problem of the gateway; append each warning to `warnings`. Raises GW808 for no home."""
    try:
        settings = read_verb_settings(arguments)
    except GatewayError as problem:
        if problem.problem is MISUSE:
            raise
        yield problem
        return
    settings_file = find_settings_file(arguments) or os.environ.get("GATEWAY_CONFIG")
    warnings += find_empty_settings_warning(settings_file)
    warnings += find_left_out_key_warnings(settings, settings_file)
    warnings += find_permission_warnings(settings, settings_file)
    warnings += find_file_owner_warnings(settings)
    warnings += find_payload_copy_warnings(settings)
    try:
        with open_engine_of_any_version(settings) as engine:
            check_database_file(get_database_state(engine).damage)
    except GatewayError as problem:
        # No later check opens this database: closing its last connection copies the WAL into it.
        yield problem
        return
    reported: set[str] = set()
    for check in (
        _check_signing_keys,
        _check_partner_contracts,
        check_transport,
        _check_stored_mappings,
        _check_publishers,
    ):
        try:
            check(settings)
        except GatewayError as problem:
            # Keys and mappings are read from one database.
            if str(problem) not in reported:
                yield problem
            reported.add(str(problem))
    yield from _find_provider_problems(settings, warnings)
    # Held lanes, test editions and WSDLs are reported even if there are other problems: they need no key.
    try:
        warnings += _find_changed_contracts(settings)
        with open_engine(settings) as engine, read_transaction(engine) as conn:
            warnings += list_database_warnings(conn)
            warnings += list_lane_holds(conn)
            warnings += list_console_switches(conn)
            warnings += find_test_edition_warnings(conn, settings)
            for refusal in (
                find_copies_problem(conn, get_database_state(conn.engine).copies),
                find_rights_problem(conn),
            ):
                if refusal is not None:
                    yield refusal
            warnings += find_contract_warnings(conn, settings, get_current_time())
            warnings += find_mailbox_filings(conn, settings, get_current_time())
            warnings += find_resting_filings(conn, get_current_time())
            warnings += find_overruled_notices(conn, get_current_time())
            warnings += find_ahead_notices(conn, get_current_time())
            warnings += find_unclear_orders(conn)
            warnings += list_plan_warnings(conn, get_current_time())
    except GatewayError as problem:
        yield from _list_new_database_problem(problem, reported)
    try:
        with open_engine(settings) as engine:
            yield from _find_problems_of_files(settings, engine, warnings)
    except GatewayError as problem:
        yield from _list_new_database_problem(problem, reported)
    try:
        yield from _find_trust_problems(settings, warnings)
        yield from find_stale_stamps(settings, warnings)
        yield from _find_agency_keys(settings)
        warnings += _find_partner_warnings(settings)
        bundle = _load_bundle_in_force(settings)
        warnings += find_missing_addresses(settings, bundle)
        warnings += find_tariff_warnings(settings, bundle)
        with open_engine(settings) as engine, read_transaction(engine) as conn:
            warnings += find_classification_warnings(conn, bundle)
        yield from find_static_problems(bundle)
        yield from _find_delivery_problems(settings, warnings)
    except GatewayError as problem:
        yield from _list_new_database_problem(problem, reported)


def _list_new_database_problem(problem: GatewayError, reported: set[str]) -> Iterator[GatewayError]:
    """Yield a problem of the database (GW806) that is not in `reported`, and add it there.

    The database may be lost between two checks. A check before has reported every other problem.
    """
    if isinstance(problem, InsufficientStorageError) and str(problem) not in reported:
        reported.add(str(problem))
        yield problem


def _check_publishers(settings: Settings) -> None:
    """Raise GW801 or GW803 for certificates of publishers that cannot be read."""
    load_publisher_rules(settings)


def _find_changed_contracts(settings: Settings) -> list[str]:
    """Return the warnings about contracts that have changed; also of a database that awaits its migration."""
    try:
        with open_engine_of_any_version(settings) as engine, naming_older_schema():
            refuse_empty_database(engine)
            with read_transaction(engine) as conn:
                return list(find_contract_changes(conn, settings, get_current_time()))
    except InsufficientStorageError:
        raise
    except GatewayError as error:  # what cannot be opened is already reported
        is_older_schema = error.problem is SCHEMA_VERSION_WRONG
        return (
            [f"whether contracts of agencies have changed is not known: {error.detail}"]
            if is_older_schema
            else []
        )


def _find_problems_of_files(
    settings: Settings, engine: Engine, warnings: list[str]
) -> Iterator[GatewayError]:
    """Yield the problems of files that the database contradicts: the mark, the key of webhooks, the objects.

    Add to `warnings` that there is no mark. A hub that works beside changes these files: each is compared in
    a transaction of its own, as a snapshot lacks later changes.
    """
    try:
        mark_problem = find_home_mark_problem(engine, get_database_mark_path(settings))
    except InsufficientStorageError:
        raise
    except GatewayError as unfit:
        mark_problem = unfit
    for problem in (mark_problem, find_webhook_key_problem(engine, settings.api.webhook_key)):
        if problem is not None:
            yield problem
    missing_mark = find_mark_warning(settings, engine, get_current_time())
    warnings += [missing_mark] if missing_mark else []
    # Every object is read: hours may pass.
    with read_transaction(engine) as conn:
        yield from find_object_problems(conn)


def _find_trust_problems(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield the problems of fetch sources, and one for each party whose last certificate has expired.

    Add to `warnings` each trusted list that has expired or will expire soon, each certificate that will
    expire soon, and the other remarks on trust.
    """
    with open_read_only_hub(settings) as hub:
        hub.refresh_snapshot()
        warnings += hub.recognizer.list_due_updates(hub.clock())
        warnings += collect_trust_remarks(settings, hub)
        yield from find_source_problems(settings, hub)
        expiries = list_expiry_warnings(hub.engine, hub.clock(), list_own_periods(hub))
    warnings += [warning.text for warning in expiries if not warning.is_expired]
    for warning in expiries:
        # Our own certificate is already reported by the check of the hub.
        if warning.is_expired and warning.owner != OURSELVES:
            yield GatewayError(CERTIFICATE_EXPIRED, warning.text, f"party {warning.owner[:40]}")


def _find_provider_problems(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield the problems of the OpenID provider; import the console only if the settings name one."""
    if settings.console.oidc.issuer is None:
        return
    from gateway.web import find_provider_problems

    yield from find_provider_problems(settings, get_current_time, warnings)


def _find_agency_keys(settings: Settings) -> Iterator[GatewayError]:
    """Yield a problem for each key that is kept for an agency and cannot be used."""
    with open_read_only_hub(settings) as hub:
        yield from find_agency_key_problems(settings, hub)


def _find_partner_warnings(settings: Settings) -> list[str]:
    """Return the warnings about connections without TLS, and about keys and algorithms of partners."""
    with open_read_only_hub(settings) as hub:
        register = hub.refresh_snapshot()
        return [
            *find_transport_warnings(settings, register, hub.clock()),
            *find_encryption_warnings(settings, hub, register),
            *find_algorithm_warnings(settings, hub, register),
        ]


def find_stale_stamps(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield GW804 where stale time-stamping makes the hub refuse messages; otherwise add a warning."""
    with open_read_only_hub(settings) as hub:
        problem, refuses = find_stamping_problem(hub)
    if problem is not None and refuses:
        yield problem
    elif problem is not None:
        warnings.append(str(problem))


def _check_signing_keys(settings: Settings) -> None:
    """Check the hub and sign with its keys; a hub itself starts without a token that is unavailable."""
    check_own_hub(settings)
    with open_read_only_hub(settings) as hub:
        for signer in hub.signers:
            signer.sign(b"gateway check")


def _find_delivery_problems(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield a problem for deliveries that have failed; add a warning for those that wait too long."""
    with open_engine(settings) as engine, read_transaction(engine) as conn:
        now = read_database_time(conn) or get_current_time()
        warnings += find_clock_warnings(conn, now)
        warnings += find_stuck_deliveries(conn, now)
        warnings += list_waiting_acts(conn, get_current_time())
        yield from find_failed_deliveries(conn)


def _load_bundle_in_force(settings: Settings) -> MappingBundle:
    with open_engine(settings) as engine, read_transaction(engine) as conn:
        return load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle


def _check_stored_mappings(settings: Settings) -> None:
    """Raise GW904 for mappings in force, or planned, that this version of the program does not load."""
    with open_engine(settings) as engine, read_transaction(engine) as conn:
        plan = find_mapping_plan(conn, get_current_time())
        _load_bundle_in_force(settings)
        if plan is not None and plan.starts is not None:
            load_active_rules(conn, load_shipped_rules(), plan.starts)


def _check_partner_contracts(settings: Settings) -> None:
    for partner in build_partners(settings).values():
        load_contract(partner.wsdl)


def _describe_problem(problem: GatewayError) -> dict[str, str]:
    return {
        "id": problem.problem.id,
        "detail": restate_times(problem.detail),
        "location": problem.location,
        "remedy": problem.problem.remedy,
    }
