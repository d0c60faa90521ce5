"""``gateway check``: reports errors in settings, keys, data and database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from sqlalchemy import Connection, Engine

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
    check_own_certificates,
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
from gateway.hub import (
    OURSELVES,
    Hub,
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
    Finding,
    Findings,
    collect_trust_remarks,
    find_account_certificate_warnings,
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
    find_second_person_warnings,
    find_source_problems,
    find_stamping_problem,
    find_static_problems,
    find_stuck_deliveries,
    find_tariff_warnings,
    find_unclear_orders,
    find_unread_agreements,
    find_unread_certificates,
    format_count,
    list_console_switches,
    list_lane_holds,
    list_plan_warnings,
    list_waiting_acts,
    restate_times,
)
from gateway.pki import Signer
from gateway.store import (
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
from gateway.xmlsec import signs_documents


@home_verb("check")
def check_gateway(arguments: Arguments) -> int:
    """Print the warnings and the problems; return 1 when there is a problem.

    Raises GW808 where there is nothing to check.
    """
    findings = Findings()
    with show_progress("checking settings, keys, data and database"):
        _check_home(findings, arguments)
    problems = [_describe_problem(problem) for problem in findings.problems]
    warnings = [restate_times(warning) for warning in findings.warnings]
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


def _check_home(findings: Findings, arguments: Arguments) -> None:
    """Add the findings of all checks of the gateway. Raises GW808 for no home."""
    try:
        settings = read_verb_settings(arguments)
    except GatewayError as problem:
        if problem.problem is MISUSE:
            raise
        findings.add(problem)
        return
    settings_file = find_settings_file(arguments) or os.environ.get("GATEWAY_CONFIG")
    with findings.check("settings and files of the home"):
        findings.add_all(find_empty_settings_warning(settings_file))
        findings.add_all(find_left_out_key_warnings(settings, settings_file))
        findings.add_all(find_permission_warnings(settings, settings_file))
        findings.add_all(find_file_owner_warnings(settings))
        findings.add_all(find_payload_copy_warnings(settings))
    try:
        with open_engine_of_any_version(settings) as engine:
            check_database_file(get_database_state(engine).damage)
    except GatewayError as problem:
        # No later check opens this database: closing its last connection copies the WAL into it.
        findings.add(problem)
        return
    with findings.check("contracts of agencies"):
        findings.add_all(_find_contract_problems(settings))
    with findings.check("TLS"):
        check_transport(settings)
    with findings.check("publishers of mappings"):
        load_publisher_rules(settings)
    with findings.check("the OpenID provider"):
        _check_provider(findings, settings)
    with findings.check("changed contracts"):
        findings.add_all(_find_changed_contracts(settings))
    with findings.check("the hub", parts="keys, trusted data and partners"):
        _check_hub(findings, settings)
    with findings.check("the database", parts="data and mappings"):
        _check_database(findings, settings)


def _check_hub(findings: Findings, settings: Settings) -> None:
    """Add the findings of keys, trust and partners; raise the problem of a hub that does not start."""
    with open_read_only_hub(settings) as hub:
        register = hub.refresh_snapshot()
        with findings.check("the own certificate"):
            check_own_certificates(settings, hub)
        # A hub starts without a token that is unavailable.
        for signer in hub.signers:
            with findings.check("the own keys"):
                signer.sign(b"gateway check")
                findings.add_all(_find_document_key_warnings(signer))
        with findings.check("trusted and fetched data"):
            findings.add_all(hub.recognizer.list_due_updates(hub.clock()))
            findings.add_all(collect_trust_remarks(settings, hub))
            findings.add_all(find_source_problems(settings, hub))
        with findings.check("certificates that expire"):
            findings.add_all(_find_expiries(hub))
        with findings.check("certificates of people"):
            findings.add_all(find_account_certificate_warnings(hub))
        with findings.check("time stamps"):
            findings.add_all(_find_stale_stamps(hub))
        with findings.check("stored agreements"):
            findings.add_all(find_unread_agreements(register, settings.hub.party))
        with findings.check("registered certificates"):
            findings.add_all(find_unread_certificates(register))
        with findings.check("keys of agencies"):
            findings.add_all(find_agency_key_problems(settings, hub))
        with findings.check("connections without TLS"):
            findings.add_all(find_transport_warnings(settings, register, hub.clock()))
        with findings.check("encryption for partners"):
            findings.add_all(find_encryption_warnings(settings, hub, register))
        with findings.check("algorithms of partners"):
            findings.add_all(find_algorithm_warnings(settings, hub, register))


def _check_database(findings: Findings, settings: Settings) -> None:
    """Add the findings of the data; raise the problem of a database that cannot be opened."""
    with open_engine(settings) as engine:
        for name, find in _list_data_checks(settings).items():
            with findings.check(name), read_transaction(engine) as conn:
                findings.add_all(find(conn))
        with findings.check("the mark of the database"):
            findings.add_all(_find_mark_findings(settings, engine))
        with findings.check("the key of webhooks"):
            findings.add_all(_list_problem(find_webhook_key_problem(engine, settings.api.webhook_key)))
        # Every object is read: hours may pass.
        with findings.check("large payloads"), read_transaction(engine) as conn:
            findings.add_all(find_object_problems(conn))
        with findings.check("mappings", parts="addresses, tariffs and admitted declarations"):
            _check_mappings(findings, settings, engine)


def _list_data_checks(settings: Settings) -> Mapping[str, Callable[[Connection], Iterable[Finding]]]:
    """Return the checks of data by name; each one reads in a transaction of its own."""
    now = get_current_time()
    return {
        "the conditions of the database": list_database_warnings,
        "copies of the database": lambda conn: _list_problem(
            find_copies_problem(conn, get_database_state(conn.engine).copies)
        ),
        "rights in the database": lambda conn: _list_problem(find_rights_problem(conn)),
        "held lanes": list_lane_holds,
        "agencies without a system": list_console_switches,
        "second persons": lambda conn: find_second_person_warnings(conn, settings),
        "test editions": lambda conn: find_test_edition_warnings(conn, settings),
        "mappings and contracts": lambda conn: find_contract_warnings(conn, settings, now),
        "filings to a mailbox": lambda conn: find_mailbox_filings(conn, settings, now),
        "messages that rest": lambda conn: find_resting_filings(conn, now),
        "notices without effect": lambda conn: find_overruled_notices(conn, now),
        "notices ahead of the clock": lambda conn: find_ahead_notices(conn, now),
        "notices without a clear order": find_unclear_orders,
        "planned mappings": _find_plan_findings,
        "the clock": lambda conn: find_clock_warnings(conn, _read_time(conn)),
        "deliveries that wait": lambda conn: find_stuck_deliveries(conn, _read_time(conn)),
        "acts that wait": lambda conn: list_waiting_acts(conn, now),
        "deliveries that have failed": find_failed_deliveries,
    }


def _check_mappings(findings: Findings, settings: Settings, engine: Engine) -> None:
    """Add the findings of the mappings in force; raise GW904 for those that this version does not load."""
    with read_transaction(engine) as conn:
        bundle = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle
    with findings.check("addresses of agencies"):
        findings.add_all(find_missing_addresses(settings, bundle))
    with findings.check("tariffs"):
        findings.add_all(find_tariff_warnings(settings, bundle))
    with findings.check("admitted declarations"), read_transaction(engine) as conn:
        findings.add_all(find_classification_warnings(conn, bundle))
    with findings.check("what mappings say"):
        findings.add_all(find_static_problems(bundle))


def _list_problem(problem: GatewayError | None) -> tuple[GatewayError, ...]:
    return () if problem is None else (problem,)


def _find_plan_findings(conn: Connection) -> Iterator[Finding]:
    """Yield the warnings about planned mappings; raise GW904 for those that this version does not load."""
    now = get_current_time()
    yield from list_plan_warnings(conn, now)
    plan = find_mapping_plan(conn, now)
    if plan is not None and plan.starts is not None:
        load_active_rules(conn, load_shipped_rules(), plan.starts)


def _read_time(conn: Connection) -> datetime:
    return read_database_time(conn) or get_current_time()


def _find_changed_contracts(settings: Settings) -> list[str]:
    """Return the warnings about contracts that have changed; also of a database that awaits its migration."""
    try:
        with open_engine_of_any_version(settings) as engine, naming_older_schema():
            refuse_empty_database(engine)
            with read_transaction(engine) as conn:
                return list(find_contract_changes(conn, settings, get_current_time()))
    except GatewayError as error:
        if error.problem is not SCHEMA_VERSION_WRONG:
            raise
        return [f"whether contracts of agencies have changed is not known: {error.detail}"]


def _find_mark_findings(settings: Settings, engine: Engine) -> Iterator[Finding]:
    """Yield the problem of a database that its mark contradicts, and a warning where there is no mark.

    A hub that works beside changes the mark: it is compared in a transaction of its own, as a snapshot lacks
    later changes.
    """
    mark_problem = find_home_mark_problem(engine, get_database_mark_path(settings))
    if mark_problem is not None:
        yield mark_problem
    missing_mark = find_mark_warning(settings, engine, get_current_time())
    if missing_mark:
        yield missing_mark


def _find_expiries(hub: Hub) -> Iterator[Finding]:
    """Yield a warning for each certificate that will expire soon, a problem for parties whose last has."""
    for warning in list_expiry_warnings(hub.engine, hub.clock(), list_own_periods(hub)):
        if not warning.is_expired:
            yield warning.text
        # Our own certificate is already reported by its check.
        elif warning.owner != OURSELVES:
            yield GatewayError(CERTIFICATE_EXPIRED, warning.text, f"party {warning.owner[:40]}")


def _find_document_key_warnings(signer: Signer) -> Iterator[Finding]:
    """Yield a warning for a key of the hub that signs messages, but no documents."""
    if not signs_documents(signer):
        yield (
            f"the key of {signer.certificate.subject} (Ed25519) signs messages, but no documents: Results, "
            "Notices and receipts of the API wait until the hub has an RSA or ECDSA key"
        )


def _check_provider(findings: Findings, settings: Settings) -> None:
    """Add the findings of the OpenID provider; import the console only if the settings name one."""
    if settings.console.oidc.issuer is None:
        return
    from gateway.web import find_provider_problems

    findings.add_all(find_provider_problems(settings, get_current_time, findings.warnings))


def _find_stale_stamps(hub: Hub) -> Iterator[Finding]:
    """Yield GW804 where stale time-stamping makes the hub refuse messages; otherwise a warning."""
    problem, refuses = find_stamping_problem(hub)
    if problem is not None:
        yield problem if refuses else str(problem)


def _find_contract_problems(settings: Settings) -> Iterator[GatewayError]:
    """Yield the problem of each partner whose WSDL cannot be read."""
    for partner in build_partners(settings).values():
        try:
            load_contract(partner.wsdl)
        except GatewayError as problem:
            yield problem


def _describe_problem(problem: GatewayError) -> dict[str, str]:
    return {
        "id": problem.problem.id,
        "detail": restate_times(problem.detail),
        "location": problem.location,
        "remedy": problem.problem.remedy,
    }
