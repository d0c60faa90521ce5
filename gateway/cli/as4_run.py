"""One run of the assertions of a profile of AS4 against a gateway, with its reports."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.progress_bars import show_progress
from gateway.cli.report_files import publish_report
from gateway.cli.shared_options import open_tls
from gateway.cli.verb_groups import Arguments
from gateway.conformance.as4 import (
    As4Listener,
    As4Opponent,
    As4Runner,
    Assertion,
    GatewayFacts,
    list_assertion_profiles,
    read_as4_party,
    read_gateway_facts,
    select_assertions,
)
from gateway.conformance.hostile import make_endpoint_target
from gateway.conformance.reports import CaseReport, RunReport
from gateway.errors import MISUSE, GatewayError

__all__ = ["DEFAULT_PROFILE", "run_as4_suite", "select_profile_assertions"]

#: The profile whose assertions are run unless told otherwise.
DEFAULT_PROFILE = "edelivery-1.15"


def select_profile_assertions(profile: Path | str | None, only: str | None) -> tuple[Assertion, ...]:
    """Return the assertions of a profile whose id matches a glob; raise GW808 where there is none."""
    name = str(profile or DEFAULT_PROFILE)
    if name not in list_assertion_profiles():
        known = ", ".join(list_assertion_profiles())
        raise GatewayError(
            MISUSE, f"{name[:80]!r} has no assertions; there are those of {known}", "--profile"
        )
    rows = select_assertions(name, only)
    if not rows:
        raise GatewayError(MISUSE, f"no assertion has an id like {str(only)[:80]!r}", "--only")
    return rows


def run_as4_suite(arguments: Arguments) -> int:
    """Run the assertions and write the reports; return 1 when the gateway was found wanting."""
    rows = select_profile_assertions(arguments.profile, arguments.only)
    return publish_report(_run_assertions(arguments, rows), arguments)


def _run_assertions(arguments: Arguments, rows: tuple[Assertion, ...]) -> RunReport:
    folder = _get_partner_folder(arguments)
    beside = folder / "profile.yaml"
    facts = read_gateway_facts(beside) if beside.is_file() else GatewayFacts()
    party = read_as4_party(folder)
    target = make_endpoint_target(arguments.url, open_tls(arguments))
    if not target.can_be_reached():
        raise GatewayError(MISUSE, f"nothing accepts a connection at {arguments.url}", "--url")
    listener = As4Listener(party, arguments.listen)
    output = sys.stderr if arguments.json == "-" else sys.stdout
    listener.start()
    try:
        with show_progress("AS4", len(rows)) as bar:

            def print_result(result: CaseReport) -> None:
                bar.print_line(result.format_line(), output)
                bar.advance_one()

            opponent = As4Opponent(party, target, listener, facts)
            report = As4Runner(opponent, arguments.seconds, print_result).run_assertions(rows)
    finally:
        listener.close()
    about = {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "gateway": facts.name or arguments.url,
        "profile": str(arguments.profile or DEFAULT_PROFILE),
        "features": ", ".join(sorted(facts.features)) or "none",
    }
    return replace(report, about=about)


def _get_partner_folder(arguments: Arguments) -> Path:
    if arguments.url is None:
        raise GatewayError(MISUSE, "the suite as4 needs --url", "--url")
    folder: Path = arguments.partner or Path("partner")
    if not folder.is_dir():
        detail = f"there is no folder {folder}: `gateway conformance invite as4 --out {folder}` makes one"
        raise GatewayError(MISUSE, detail, "--partner")
    return folder
