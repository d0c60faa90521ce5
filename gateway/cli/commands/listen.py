"""``gateway listen``: a broker's message handler that stays, acknowledges, and stores what comes."""

from __future__ import annotations

import sys
from contextvars import copy_context
from pathlib import Path
from typing import Any

import click

from gateway.cli.result_output import count_things, print_json, print_problem, print_sentence
from gateway.cli.shared_options import FILE, json_option, open_tls, tls_options
from gateway.cli.stop_signals import catch_stop_signals
from gateway.cli.verb_groups import Arguments, verb
from gateway.conformance.partners import EndpointListener, MessageFolder, MessageHandler, read_membership

__all__ = ["receive_messages"]

_PARTNER_WORDS = "the folder with PARTY.key.pem, PARTY.cert.pem, ca.pem, crl.pem, agreement.yaml (default: .)"
_AT_WORDS = "listen here, if not at the endpoint of the agreement (behind a proxy, which ends TLS)"


@verb
@click.option("--as", "party", required=True, metavar="PARTY", help="the receiving party")
@click.option("--folder", type=FILE, required=True, metavar="DIR", help="where each message is stored")
@click.option("--partner", type=FILE, default=Path(), metavar="DIR", help=_PARTNER_WORDS)
@click.option("--agreement", type=FILE, help="the agreement, if not agreement.yaml in that folder")
@click.option(
    "--hub-certificate", type=FILE, multiple=True, help="the hub's certificate, if not hub.cert.pem"
)
@click.option("--at", metavar="HOST:PORT", help=_AT_WORDS)
@tls_options()
@json_option("print one JSON object for each message")
def receive_messages(arguments: Arguments) -> int:
    """Receive until stopped: verify, store durably, acknowledge; return 0 after SIGTERM."""
    member = read_membership(
        arguments.partner, arguments.party, arguments.agreement, tuple(arguments.hub_certificate)
    )
    said = _Announcer(arguments.json)
    # Requests are answered in threads, which do not know how this verb prints its problems.
    context = copy_context()
    store = MessageFolder(arguments.folder, lambda words: context.copy().run(print_problem, words))
    tls = open_tls(arguments)
    handler = MessageHandler(member, arguments.folder, listener=said.announce_message, store=store, tls=tls)
    with catch_stop_signals() as stop:
        listener = EndpointListener(member.listening_endpoint, handler, arguments.at)
        listener.start()
        known = count_things(len(handler.list_rows()), "message")
        said.print_line(f"ready: {listener.endpoint}, listening at {listener.address}, {known} stored before")
        try:
            stop.wait()
        finally:
            listener.close()
    said.print_line(f"stopped: {count_things(said.count, 'message')} received")
    return 0


class _Announcer:
    """Prints one line for each message, in words or as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.count = 0

    def print_line(self, words: str) -> None:
        """Print a sentence about the process, not with JSON."""
        print_sentence(words, as_json=self._as_json)
        sys.stdout.flush()

    def announce_message(self, row: dict[str, Any]) -> None:
        """Print the line of a message that is stored."""
        self.count += 1
        if self._as_json:
            print_json({name: row[name] for name in ("at", "file", "message_id", "action", "ref_to", "said")})
        else:
            print(f"{row['at']}  {row['action']}  {_describe_content(row['said'])}  {row['file']}")
        sys.stdout.flush()


def _describe_content(said: dict[str, Any]) -> str:
    if not said["verified"]:
        return f"NOT VERIFIED: {said['problem']}"
    about = f"case {said['case_number']}  reference {said['reference'] or '-'}"
    if "outcome" in said:
        return f"{about}  {said['outcome']}"
    if "missing" in said:
        return f"{about}  HELD until {said['until']}"
    names = ("organisation", "document", "state", "status_code")
    return f"{about}  {' '.join(str(said[name]) for name in names if said[name])}"
