"""``gateway practice``: a hub for practice, with simulated agencies and a home of its own.

Traders file there by the same forms. The hub is a hub like any other, with a database and keys of its own,
so nothing of it is in the tables of the real hub. Every page of its console says that it is for practice.
"""

from __future__ import annotations

import json
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.home_folder import keep_files_private
from gateway.cli.result_output import print_json
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import load_organisations
from gateway.share import get_data_folder
from gateway.stop_signals import set_from_handler
from gateway_conformance.verbs.demo_settings import describe_sign_in
from gateway_conformance.verbs.demo_stage import Cast, Stage, check_home, read_cast

_PORTS: Final = "practice.json"
_PASSWORD: Final = 15
#: Every agency answers after a moment, so that a trader sees the case wait and end.
_PLAN: Final = {"behaviour": "later", "delay": 3.0}
_REAL_HELP: Final = "URL of the real console, to which every page links"


@verb("practice")
@json_option("print one object when the hub is ready: addresses, people, password, and the trader's key")
@click.option("--home", type=FILE, required=True, help="the home of the practice hub; made if it is new")
@click.option("--real-url", metavar="URL", help=_REAL_HELP)
def run_practice(arguments: Arguments) -> None:
    """Make the home of a practice hub if it is new, and run the hub with its simulated agencies."""
    home: Path = arguments.home.absolute()
    ports_file = home / _PORTS
    with keep_files_private(), _catch_end() as ended:
        stage = (
            _build_stage(home, arguments.real_url)
            if not ports_file.exists()
            else _open_stage(home, ports_file)
        )
        try:
            stage.start()
            if arguments.json:
                print_json(_list_stage_values(stage))
                sys.stdout.flush()
            else:
                for line in _describe_stage(stage):
                    print(line, flush=True)
            while not ended.wait(1.0):
                stage.check_alive()
        finally:
            stage.close()


@contextmanager
def _catch_end() -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM end the hub with every process that it started."""
    ended = threading.Event()
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, lambda *_: set_from_handler(ended)) for kind in kinds}
    try:
        yield ended
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _make_cast() -> Cast:
    """Return the cast of the demo with every organisation that has a document, and one trader."""
    folder, cast = get_data_folder("mappings"), read_cast()
    organisations = load_organisations(folder)
    # Each has a folder of its own; reading the documents in it would take long.
    codes = sorted(entry.name for entry in folder.joinpath("agencies").iterdir() if entry.is_dir())
    agencies: list[dict[str, Any]] = [
        {"code": code, "title": organisations[code].en, "says": "decides later", "plan": _PLAN}
        for code in codes
    ]
    traders = [person for person in cast.console["person"] if person["organisation"].startswith("party/")]
    return replace(cast, agencies=tuple(agencies), console={"agency": "", "person": traders})


def _build_stage(home: Path, real_url: str | None) -> Stage:
    check_home(home)
    home.mkdir(parents=True, exist_ok=True)
    lines = ["practice = true", *([f"real_url = {json.dumps(real_url)}"] if real_url else [])]
    stage = Stage(home, _make_cast(), password=secrets.token_urlsafe(_PASSWORD), console_lines=lines)
    stage.build()
    saved = {"ports": stage.ports, "password": stage.password}
    (home / _PORTS).write_text(json.dumps(saved), encoding="utf-8")
    return stage


def _open_stage(home: Path, ports_file: Path) -> Stage:
    """Return the stage of a home that was made before, with its ports."""
    try:
        saved = json.loads(ports_file.read_text(encoding="utf-8"))
        return Stage(home, _make_cast(), password=saved["password"], ports=saved["ports"])
    except (ValueError, KeyError, OSError) as wrong:
        raise GatewayError(MISUSE, "this is no home of a practice hub", str(ports_file)) from wrong


def _list_stage_values(stage: Stage) -> dict[str, Any]:
    folder = stage.get_partner_folder("broker")
    return {
        "console": f"{stage.console_url}/console/",
        "hub": stage.hub_url,
        "people": [
            {"name": person["name"], "organisation": person["organisation"]}
            for person in stage.cast.console["person"]
        ],
        "password": stage.password,
        "key": str(folder / "broker.key.pem"),
        "certificate": str(folder / "broker.cert.pem"),
    }


def _describe_stage(stage: Stage) -> Iterator[str]:
    yield from describe_sign_in(stage.console_url, stage.cast.console["person"], stage.password)
    folder = stage.get_partner_folder("broker")
    yield "sign what you file with the key of the practice hub's trader:"
    yield (
        f"  gateway sign submission.xml --key {folder / 'broker.key.pem'}"
        f" --certificate {folder / 'broker.cert.pem'}"
    )
    yield "declarant: 6N001; Ctrl-C ends the practice hub, and its home stays"
