"""``gateway pull``: a broker without a server fetches what waits for it at the hub, and stores it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gateway.cli.arrival_printing import PARTNER_WORDS, ArrivalPrinter
from gateway.cli.result_output import count_things, print_problem
from gateway.cli.shared_options import FILE, json_option, open_tls, tls_options
from gateway.cli.stop_signals import catch_stop_signals
from gateway.cli.verb_groups import Arguments, verb
from gateway.conformance.partners import MessageFolder, MessageHandler, MessagePuller, read_membership

__all__ = ["pull_messages"]

_TO_WORDS = "the hub's endpoint, if not that of the agreement"
_WAIT_WORDS = "end when nothing has come for so many seconds; 0: when nothing waits any more"


@verb
@click.option("--as", "party", required=True, metavar="PARTY", help="the party that pulls")
@click.option("--folder", type=FILE, required=True, metavar="DIR", help="where each message is stored")
@click.option("--to", default="", metavar="URL", help=_TO_WORDS)
@click.option("--partner", type=FILE, default=Path(), metavar="DIR", help=PARTNER_WORDS)
@click.option("--agreement", type=FILE, help="the agreement, if not agreement.yaml in that folder")
@click.option(
    "--hub-certificate", type=FILE, multiple=True, help="the hub's certificate, if not hub.cert.pem"
)
@click.option("--wait", type=click.FloatRange(0), default=0.0, metavar="S", help=_WAIT_WORDS)
@click.option("--every", type=click.FloatRange(0.1), default=1.0, metavar="S", help="ask so often meanwhile")
@click.option("--time-out", type=float, default=30.0, metavar="S", help="time limit for an answer in seconds")
@tls_options()
@json_option("print one JSON object for each message")
def pull_messages(arguments: Arguments) -> int:
    """Pull, verify, store durably and acknowledge what waits; return 0 when nothing waits any more."""
    member = read_membership(
        arguments.partner, arguments.party, arguments.agreement, tuple(arguments.hub_certificate)
    )
    said = ArrivalPrinter(arguments.json)
    store = MessageFolder(arguments.folder, print_problem)
    tls = open_tls(arguments)
    handler = MessageHandler(
        member,
        arguments.folder,
        listener=said.announce_message,
        store=store,
        tls=tls,
    )
    puller = MessagePuller(member, handler, arguments.to, arguments.time_out, tls)
    handler.join_groups()
    try:
        _pull_until_quiet(puller, arguments)
    finally:
        puller.close()
        handler.finish_posts()
        said.print_line(f"pulled: {count_things(said.count, 'message')}")
    return 0


def _pull_until_quiet(puller: MessagePuller, arguments: Arguments) -> None:
    """Pull until nothing has come for the time of ``--wait``, or until stopped."""
    with catch_stop_signals() as stop:
        quiet = time.monotonic()
        while True:
            if puller.pull_messages():
                quiet = time.monotonic()
            if time.monotonic() - quiet >= arguments.wait or stop.wait(arguments.every):
                return
