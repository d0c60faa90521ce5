"""``python -m gateway_conformance KIND``: one simulated partner, a process of its own.

Prints ``READY port`` when it listens, and ends with SIGTERM or SIGINT; with ``--leash`` also
when its standard input does, which is when the process that started it has gone.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.client import HttpReply, IncomingRequest, PartnerServer, RequestHandler, read_identity
from gateway.errors import GatewayError
from gateway.stop_signals import catch_stop_signals
from gateway_conformance.hostile import ReplyServer
from gateway_conformance.partners import BROKER_MISBEHAVIORS, CUSTOMS_MISBEHAVIORS, Misbehavior
from gateway_conformance.standard import DOUBLES, read_simulated_gateway


def main(argv: Sequence[str] | None = None) -> int:
    """Run one partner until a signal stops it; return the exit status."""
    arguments = _build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except GatewayError as problem:
        sys.stderr.write(f"{arguments.partner_kind}: {problem}\n")
        return 2
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway_conformance", description=__doc__)
    subparsers = parser.add_subparsers(dest="partner_kind", required=True)
    _add_agency_options(
        _add_partner_parser(subparsers, "agency", "an agency behind the agency template", _run_agency)
    )
    customs = _add_partner_parser(subparsers, "customs", "customs", _run_customs)
    customs.add_argument("--misbehave", action="append", default=[], metavar="NAME[=SECONDS][*COUNT]")
    customs.add_argument("--hub", default="", help="the hub's service that customs calls, /soap/customs")
    customs.add_argument("--plan", type=Path, help="a plan file (TOML): answer, reasons, clearance, delay")
    payment = subparsers.add_parser("payment", help="a payment provider")
    payment.set_defaults(run=_run_payment)
    payment.add_argument("--host", default="127.0.0.1")
    payment.add_argument("--port", type=int, default=0)
    payment.add_argument(
        "--secret", type=Path, required=True, help="the file of the secret shared with the hub"
    )
    payment.add_argument("--hub", required=True, help="URL of the hub, which is told of payments")
    payment.add_argument("--folder", type=Path, required=True, help="the folder of its logs")
    payment.add_argument("--leash", action="store_true", help="end when standard input ends")
    broker = _add_partner_parser(subparsers, "broker", "a broker's message handler", _run_broker)
    broker.add_argument(
        "--agreement", type=Path, help="the agreement, if not agreement.yaml or .xml in the partner folder"
    )
    broker.add_argument("--misbehave", action="append", default=[], metavar="NAME[=SECONDS][*COUNT]")
    double = subparsers.add_parser("double", help="a wrong gateway, which a suite must find out")
    double.set_defaults(run=_run_double)
    double.add_argument("--wrong", required=True, choices=DOUBLES, help="what it does wrong")
    double.add_argument("--partner", type=Path, required=True, help="the partner folder of the suite ebms2")
    double.add_argument("--key", type=Path, required=True, help="the key of the gateway")
    double.add_argument("--certificate", type=Path, required=True, help="its certificate")
    double.add_argument("--host", default="127.0.0.1")
    double.add_argument("--port", type=int, default=0)
    double.add_argument("--leash", action="store_true", help="end when standard input ends")
    hostile = _add_partner_parser(
        subparsers, "hostile", "a partner that answers with attacks", _run_hostile_partner
    )
    hostile.add_argument(
        "--face", choices=("soap", "ebms2"), default="soap", help="the partner that calls it"
    )
    hostile.add_argument(
        "--play", default="*", metavar="GLOB", help="the attacks, for example REP-09.*; one for each request"
    )
    hostile.add_argument("--other", required=True, help="the NAME of another partner whose key it uses")
    hostile.add_argument(
        "--wsdl", default="agency-template.wsdl", help="the WSDL of its service, below wsdl/"
    )
    return parser


def _add_partner_parser(
    subparsers: Any, partner_kind: str, help_text: str, run: Any
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(partner_kind, help=help_text)
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 selects a free port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--partner", type=Path, required=True, help="NAME.key.pem, NAME.cert.pem, ca.pem, crl.pem"
    )
    parser.add_argument("--name", required=True, help="its NAME in the partner folder")
    parser.add_argument(
        "--hub-certificate",
        type=Path,
        action="append",
        default=[],
        help="the hub's certificates, if not hub.cert.pem",
    )
    parser.add_argument("--folder", type=Path, required=True, help="the folder of its logs")
    parser.add_argument(
        "--address", action="append", default=[], help="another wsa:To that addresses this partner"
    )
    parser.add_argument("--leash", action="store_true", help="end when standard input ends")
    parser.set_defaults(run=run)
    return parser


def _add_agency_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agency", required=True, help="its code, as in the folder xsd/agencies/CODE")
    parser.add_argument("--hub", required=True, help="the hub's service that agencies call")
    parser.add_argument("--mappings", type=Path, help="a folder of mappings instead of the shipped ones")
    parser.add_argument("--made", type=Path, help="the output of `gateway map build --out`")
    parser.add_argument(
        "--layouts",
        type=Path,
        help="for an agency that speaks fixed records: a folder with the output of "
        "`gateway map render --layout` of each document and notice, as NAME.json",
    )
    parser.add_argument(
        "--plan", type=Path, help="a plan file (TOML or JSON); the options below take precedence"
    )
    parser.add_argument("--behaviour", help="immediate, later, information or wait")
    parser.add_argument("--delay", type=float, help="seconds until the call-back")
    parser.add_argument("--status", help="the status code of the deciding notice")
    parser.add_argument(
        "--step", action="append", dest="steps", help="a status code that is notified before the decision"
    )
    parser.add_argument("--law", action="append", dest="laws", help="decide under this law")
    parser.add_argument("--decide", action="append", metavar="[ITEM=|hs:PREFIX=]DECISION", help="repeatable")
    parser.add_argument(
        "--condition", action="append", default=[], help="a condition of conditional decisions"
    )
    parser.add_argument(
        "--pointer", action="append", dest="pointers", help="a field about which information is requested"
    )
    parser.add_argument("--text", help="the text of the information request")
    parser.add_argument("--deadline", type=float, help="time for the supplement in seconds")
    parser.add_argument(
        "--misbehave", action="append", dest="mischief", metavar="NAME[=SECONDS][*COUNT]", help="repeatable"
    )


def _run_agency(arguments: argparse.Namespace) -> None:
    from gateway_conformance.partners import AgencySimulator, DocumentCatalogue, read_agency_plans

    identity = read_identity(arguments.partner, arguments.name, tuple(arguments.hub_certificate))
    plans = read_agency_plans(arguments.plan, _collect_plan_options(arguments))
    schemas = arguments.made / "xsd" if arguments.made else None
    catalogue = DocumentCatalogue(arguments.agency, schemas, arguments.mappings, arguments.layouts)
    simulator = AgencySimulator(identity, catalogue, arguments.folder, plans, arguments.hub)
    server = PartnerServer(simulator, arguments.host, arguments.port)
    simulator.endpoint.addresses = _build_own_addresses(arguments, server.port)
    simulator.start()
    _serve_until_stopped(server, arguments.leash)
    simulator.close()


def _collect_plan_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the values of a plan that options name."""
    names = ("behaviour", "delay", "status", "steps", "laws", "pointers", "text", "deadline", "mischief")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.decide:
        options["items"] = [_parse_item_rule(text, arguments.condition) for text in arguments.decide]
    return options


def _parse_item_rule(option_text: str, conditions: list[str]) -> dict[str, Any]:
    item_selector, equals, decision = option_text.rpartition("=")
    row: dict[str, Any] = {"decision": decision}
    if decision == "APPROVED_WITH_CONDITIONS":
        row["conditions"] = conditions
    if equals and item_selector.startswith("hs:"):
        row["hs"] = item_selector.removeprefix("hs:")
    elif equals and item_selector.isascii() and item_selector.isdigit():
        row["number"] = int(item_selector)
    elif equals:
        row["decision"] = option_text  # not a decision: refused with the list of those that are
    return row


def _run_customs(arguments: argparse.Namespace) -> None:
    from gateway_conformance.partners import CustomsSimulator, read_customs_plan

    identity = read_identity(arguments.partner, arguments.name, tuple(arguments.hub_certificate))
    mischief = tuple(Misbehavior.from_text(text, CUSTOMS_MISBEHAVIORS) for text in arguments.misbehave)
    plan = read_customs_plan(arguments.plan)
    simulator = CustomsSimulator(identity, arguments.folder, mischief, plan, arguments.hub)
    server = PartnerServer(simulator, arguments.host, arguments.port)
    simulator.endpoint.addresses = _build_own_addresses(arguments, server.port)
    simulator.start()
    _serve_until_stopped(server, arguments.leash)
    simulator.close()


def _run_payment(arguments: argparse.Namespace) -> None:
    from gateway.client import read_file
    from gateway_conformance.partners import PaymentProvider

    secret = read_file(arguments.secret).strip()
    provider = PaymentProvider(secret, arguments.folder, arguments.hub)
    server = PartnerServer(provider, arguments.host, arguments.port)
    provider.address = f"http://{arguments.host}:{server.port}"
    provider.start()
    _serve_until_stopped(server, arguments.leash)
    provider.close()


def _run_broker(arguments: argparse.Namespace) -> None:
    from gateway.client import read_membership
    from gateway_conformance.partners import SimulatedBroker

    member = read_membership(
        arguments.partner, arguments.name, arguments.agreement, tuple(arguments.hub_certificate)
    )
    mischief = tuple(Misbehavior.from_text(text, BROKER_MISBEHAVIORS) for text in arguments.misbehave)
    path = f"/msh/{member.protocol}"
    application = _restrict_to_path(path, SimulatedBroker(member, arguments.folder, mischief))
    _serve_until_stopped(PartnerServer(application, arguments.host, arguments.port), arguments.leash)


def _run_double(arguments: argparse.Namespace) -> None:
    gateway = read_simulated_gateway(arguments.partner, arguments.key, arguments.certificate, arguments.wrong)
    _serve_until_stopped(PartnerServer(gateway, arguments.host, arguments.port), arguments.leash)


def _run_hostile_partner(arguments: argparse.Namespace) -> None:
    from gateway_conformance.hostile import HostilePartner, build_hostile_server

    partner = HostilePartner(
        arguments.partner, arguments.name, arguments.other, arguments.face, arguments.wsdl
    )
    server = build_hostile_server(partner, arguments.play, arguments.folder, arguments.host, arguments.port)
    _serve_until_stopped(server, arguments.leash)


def _restrict_to_path(path: str, application: RequestHandler) -> RequestHandler:
    def serve_path(request: IncomingRequest) -> HttpReply:
        if request.path.partition("?")[0].rstrip("/") != path:
            return HttpReply(404, "text/plain", b"nothing is here\n")
        return application(request)

    return serve_path


def _build_own_addresses(arguments: argparse.Namespace, port: int) -> frozenset[str]:
    """Return every wsa:To by which the hub may mean this process."""
    hosts = {arguments.host, "127.0.0.1", "localhost"}
    addresses = {f"http://{host}:{port}{path}" for host in hosts for path in ("", "/", "/soap")}
    return frozenset(addresses | set(arguments.address))


def _serve_until_stopped(server: PartnerServer | ReplyServer, ends_with_stdin: bool) -> None:
    """Serve until a signal stops the process; with `leash` also until its standard input is closed."""
    with catch_stop_signals() as stop:
        if ends_with_stdin:
            threading.Thread(target=_watch_stdin, args=(stop,), daemon=True).start()
        server.start()
        sys.stdout.write(f"READY {server.port}\n")
        sys.stdout.flush()
        stop.wait()
        server.close()


def _watch_stdin(stop: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
