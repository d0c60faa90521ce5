"""``gateway listen``: a broker's message handler that stays, acknowledges, and stores what comes."""

from __future__ import annotations

from contextvars import copy_context
from pathlib import Path

import click

from gateway.cli.arrival_printing import PARTNER_WORDS, ArrivalPrinter
from gateway.cli.result_output import count_things, print_problem
from gateway.cli.shared_options import FILE, json_option, open_tls, tls_options
from gateway.cli.stop_signals import catch_stop_signals
from gateway.cli.verb_groups import Arguments, verb
from gateway.conformance.partners import EndpointListener, MessageFolder, MessageHandler, read_membership

__all__ = ["receive_messages"]

_AT_WORDS = "listen here, if not at the endpoint of the agreement (behind a proxy, which ends TLS)"


@verb
@click.option("--as", "party", required=True, metavar="PARTY", help="the receiving party")
@click.option("--folder", type=FILE, required=True, metavar="DIR", help="where each message is stored")
@click.option("--partner", type=FILE, default=Path(), metavar="DIR", help=PARTNER_WORDS)
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
    said = ArrivalPrinter(arguments.json)
    # Requests are answered in threads, which do not know how this verb prints its problems.
    context = copy_context()
    store = MessageFolder(arguments.folder, lambda words: context.copy().run(print_problem, words))
    tls = open_tls(arguments)
    handler = MessageHandler(member, arguments.folder, listener=said.announce_message, store=store, tls=tls)
    with catch_stop_signals() as stop:
        listener = EndpointListener(member.listening_endpoint, handler, arguments.at)
        listener.start()
        handler.join_groups()
        known = count_things(len(handler.list_rows()), "message")
        said.print_line(f"ready: {listener.endpoint}, listening at {listener.address}, {known} stored before")
        try:
            stop.wait()
        finally:
            listener.close()
            handler.finish_posts()
    said.print_line(f"stopped: {count_things(said.count, 'message')} received")
    return 0
