"""``gateway check``: reports errors in settings, keys, data and database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gateway.cli.encryption_findings import find_encryption_warnings
from gateway.cli.home_folder import find_wide_permissions
from gateway.cli.hub_findings import (
    check_own_hub,
    check_transport,
    find_transport_warnings,
    open_looking_hub,
)
from gateway.cli.object_findings import find_object_warnings
from gateway.cli.progress_bars import show_progress
from gateway.cli.result_output import count_things, print_json, print_sentence
from gateway.cli.settings import find_settings_file, open_engine, read_verb_settings
from gateway.cli.shared_options import home_options
from gateway.cli.test_edition_findings import find_test_edition_warnings
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.delivery import build_partners, load_contract
from gateway.errors import CERTIFICATE_EXPIRED, MISUSE, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import (
    OURSELVES,
    get_current_time,
    list_own_periods,
    load_active_rules,
    load_shipped_rules,
    open_active_mappings,
)
from gateway.monitor import list_expiry_warnings
from gateway.operations import (
    collect_trust_remarks,
    find_agency_key_problems,
    find_contract_warnings,
    find_failed_deliveries,
    find_former_parts,
    find_mapping_plan,
    find_missing_addresses,
    find_plan_warnings,
    find_source_problems,
    find_stamping_problem,
    find_static_problems,
    find_stuck_deliveries,
    find_tariff_warnings,
    list_console_switches,
    list_lane_holds,
    list_waiting_acts,
    restate_times,
)
from gateway.store import find_copies_problem, find_object_problems, read_transaction

__all__ = ["check_gateway", "find_stale_stamps"]


@verb
@home_options()
def check_gateway(arguments: Arguments) -> int:
    """Print the warnings and the problems; return 1 when there is a problem.

    Raises GW808 where there is nothing to check.
    """
    warnings: list[str] = []
    with show_progress("checking settings, keys, data and database"):
        problems = [_describe_problem(problem) for problem in _find_all_problems(arguments, warnings)]
    warnings = [restate_times(words) for words in warnings]
    if arguments.json:
        found = {"ok": not problems, "problems": problems, "warnings": warnings}
        print_json(found)
    else:
        for words in warnings:
            print(f"warning: {words}")
        for problem in problems:
            place = "" if problem["location"] in problem["detail"] else f" ({problem['location']})"
            print(f"{problem['id']} {problem['detail']}{place}\n    {problem['remedy']}")
        print_sentence(_summarize_findings(len(problems), len(warnings)))
    return 1 if problems else 0


def _summarize_findings(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "nothing is wrong"
    found = count_things(problems, "problem") if problems else "no problem"
    return f"{found} found" + (f", {count_things(warnings, 'warning')}" if warnings else "")


def _find_all_problems(arguments: Arguments, warnings: list[str]) -> Iterator[GatewayError]:
    try:
        settings = read_verb_settings(arguments)
    except GatewayError as problem:
        if problem.problem is MISUSE:
            raise
        yield problem
        return
    warnings += find_wide_permissions(settings, find_settings_file(arguments))
    warnings += find_object_warnings(settings)
    told: set[str] = set()
    for look in (_check_signing_keys, _check_partner_contracts, check_transport, _check_stored_mappings):
        try:
            look(settings)
        except GatewayError as problem:
            # Keys and mappings are read from one database.
            if str(problem) not in told:
                yield problem
            told.add(str(problem))
    yield from _find_provider_problems(settings, warnings)
    # Held lanes, test editions and WSDLs are told whatever else is wrong: they need no key.
    with contextlib.suppress(GatewayError), open_engine(settings) as engine, read_transaction(engine) as conn:
        warnings += list_lane_holds(conn)
        warnings += list_console_switches(conn)
        warnings += find_test_edition_warnings(conn, settings)
        yield from find_object_problems(conn)
        missing = find_copies_problem(conn)
        if missing is not None:
            yield missing
        warnings += find_contract_warnings(conn, settings, get_current_time())
        former = find_former_parts(open_active_mappings(conn, get_current_time()))
        warnings += [f"the mappings in force: {words}" for words in former]
        warnings += find_plan_warnings(conn, get_current_time())
    with contextlib.suppress(GatewayError):  # an unreadable database or mapping is already reported
        yield from _find_ended_certificates(settings, warnings)
        yield from find_stale_stamps(settings, warnings)
        yield from _find_agency_keys(settings)
        warnings += _find_open_ways(settings)
        bundle = _load_bundle_in_force(settings)
        warnings += find_missing_addresses(settings, bundle)
        warnings += find_tariff_warnings(settings, bundle)
        yield from find_static_problems(bundle)
        yield from _find_delivery_troubles(settings, warnings)


def _find_ended_certificates(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield a problem for each party whose last certificate has expired; add warnings for later ends."""
    with open_looking_hub(settings) as hub:
        hub.refresh_snapshot()
        warnings += hub.recognizer.list_due_updates(hub.clock())
        warnings += collect_trust_remarks(settings, hub)
        yield from find_source_problems(settings, hub)
        found = list_expiry_warnings(hub.engine, hub.clock(), list_own_periods(hub))
    warnings += [one.words for one in found if not one.over]
    for one in found:
        # Our own certificate is already reported by the check of the hub.
        if one.over and one.owner != OURSELVES:
            yield GatewayError(CERTIFICATE_EXPIRED, one.words, f"party {one.owner[:40]}")


def _find_provider_problems(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield what is wrong with the OpenID provider; only settings that name one need the console for it."""
    if settings.console.oidc.issuer is None:
        return
    from gateway.web import find_provider_problems

    yield from find_provider_problems(settings, get_current_time, warnings)


def _find_agency_keys(settings: Settings) -> Iterator[GatewayError]:
    """Yield a problem for each key that is kept for an agency and cannot be used."""
    with open_looking_hub(settings) as hub:
        yield from find_agency_key_problems(settings, hub)


def _find_open_ways(settings: Settings) -> list[str]:
    """Return the warnings about connections without TLS, and about keys of TLS and of encrypted payloads."""
    with open_looking_hub(settings) as hub:
        known = hub.refresh_snapshot()
        return [
            *find_transport_warnings(settings, known, hub.clock()),
            *find_encryption_warnings(settings, hub, known),
        ]


def find_stale_stamps(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield GW804 where stale time-stamping makes the hub refuse messages; otherwise add a warning."""
    with open_looking_hub(settings) as hub:
        problem, refuses = find_stamping_problem(hub)
    if problem is not None and refuses:
        yield problem
    elif problem is not None:
        warnings.append(str(problem))


def _check_signing_keys(settings: Settings) -> None:
    """Check the hub and sign with its keys; a hub itself starts without a token that is unavailable."""
    check_own_hub(settings)
    with open_looking_hub(settings) as hub:
        for signer in hub.signers:
            signer.sign(b"gateway check")


def _find_delivery_troubles(settings: Settings, warnings: list[str]) -> Iterator[GatewayError]:
    """Yield a problem for deliveries that have failed; add a warning for those that wait too long."""
    with open_engine(settings) as engine, read_transaction(engine) as conn:
        warnings += find_stuck_deliveries(conn, get_current_time())
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
