"""One run of the requirements of ebMS 2.0 against a gateway, with its reports."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.progress_bars import show_progress
from gateway.cli.report_files import publish_report
from gateway.cli.shared_options import open_tls
from gateway.cli.verb_groups import Arguments
from gateway.conformance.hostile import UrlTarget, make_endpoint_target
from gateway.conformance.reports import CaseReport, RunReport
from gateway.conformance.standard import (
    CallbackListener,
    Opponent,
    Requirement,
    StandardRunner,
    SuiteProfile,
    read_suite_party,
    read_suite_profile,
    select_requirements,
)
from gateway.errors import MISUSE, GatewayError

__all__ = ["run_standard_suite"]

_RESTART_SECONDS = 120.0


def run_standard_suite(arguments: Arguments) -> int:
    """Run the requirements and write the reports; return 1 when the gateway was found wanting."""
    rows = select_requirements(arguments.only)
    if not rows:
        raise GatewayError(MISUSE, f"no requirement has an id like {str(arguments.only)[:80]!r}", "--only")
    return publish_report(_run_requirements(arguments, rows), arguments)


def _run_requirements(arguments: Arguments, rows: tuple[Requirement, ...]) -> RunReport:
    folder = _get_partner_folder(arguments)
    profile = _read_profile(arguments, folder)
    party = read_suite_party(folder, arguments.agreement, profile.action)
    target = make_endpoint_target(arguments.url, open_tls(arguments))
    if not target.can_be_reached():
        raise GatewayError(MISUSE, f"nothing accepts a connection at {arguments.url}", "--url")
    listener = CallbackListener(party, target.send, arguments.listen)
    opponent = Opponent(party, target, listener, profile, _make_restart(arguments, target))
    output = sys.stderr if arguments.json == "-" else sys.stdout
    listener.start()
    try:
        with show_progress("ebMS 2.0", len(rows)) as bar:

            def print_result(result: CaseReport) -> None:
                bar.print_line(result.format_line(), output)
                bar.advance_one()

            runner = StandardRunner(opponent, arguments.seconds, print_result)
            report = runner.run_requirements(rows)
    finally:
        listener.close()
    about = {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "gateway": profile.name or arguments.url,
        "agreement": party.agreements["main"].name,
        "features": ", ".join(sorted(profile.features)) or "none",
    }
    return replace(report, about=about)


def _get_partner_folder(arguments: Arguments) -> Path:
    for name in ("url", "agreement"):
        if getattr(arguments, name) is None:
            raise GatewayError(MISUSE, f"the suite ebms2 needs --{name}", f"--{name}")
    folder: Path = arguments.partner or Path("partner")
    if not folder.is_dir():
        detail = f"there is no folder {folder}: `gateway conformance invite ebms2 --out {folder}` makes one"
        raise GatewayError(MISUSE, detail, "--partner")
    return folder


def _read_profile(arguments: Arguments, folder: Path) -> SuiteProfile:
    if arguments.profile is not None:
        return read_suite_profile(arguments.profile)
    beside = folder / "profile.yaml"
    return read_suite_profile(beside) if beside.is_file() else SuiteProfile()


def _make_restart(arguments: Arguments, target: UrlTarget) -> Callable[[], None] | None:
    """Return how the gateway is restarted: by the command, or by the operator at the terminal.

    Either way the suite then waits until the gateway can be reached again.
    """
    command = arguments.restart_command
    if command is None and not sys.stdin.isatty():
        return None

    def restart_gateway() -> None:
        if command is None:
            _ask_operator()
        else:
            subprocess.run(command, shell=True, check=True, timeout=_RESTART_SECONDS)  # noqa: S602
        end = time.monotonic() + _RESTART_SECONDS
        while time.monotonic() < end and not target.can_be_reached():
            time.sleep(0.2)

    return restart_gateway


def _ask_operator() -> None:
    """Ask at the terminal for a restart, and wait for Enter; progress bars and JSON are left alone."""
    print("\nRestart the gateway now. Press Enter when it runs again.", file=sys.stderr, flush=True)
    sys.stdin.readline()
