"""The environment of ``gateway demo``: a home with keys, register, settings, and the processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cli.registration import read_party_id, register_certificate
from gateway.client import read_membership
from gateway.config import Settings, load_settings
from gateway.errors import MISUSE, UNREACHABLE, GatewayError
from gateway.hub import build_engine
from gateway.hub import get_current_time as clock
from gateway.operations import load_unchecked_agreement
from gateway.store import mark_new_store, migrate_schema, parties, write_transaction
from gateway_conformance import DATA_FOLDER
from gateway_conformance.free_ports import reserve_free_port
from gateway_conformance.pki import Sandbox, SandboxParty, make_sandbox
from gateway_conformance.verbs.demo_settings import (
    PROVIDER,
    add_people,
    list_console_settings,
    list_desk_settings,
    list_payment_settings,
    list_provider_arguments,
    write_payment_secret,
)
from gateway_conformance.verbs.forked_process import ForkedProcess, ForkServer

_READY_WITHIN: Final = 180.0
_END_WITHIN: Final = 15.0
_PARTNER: Final = "gateway_conformance.__main__"
#: The modules that are imported in the process from which the partners are forked.
_PRELOADED: Final = (_PARTNER, "gateway_conformance.partner_program", "gateway.pki.path_library")
_SHARED_FILES: Final = ("ca.pem", "crl.pem", "hub.cert.pem")


@dataclass(frozen=True, slots=True)
class Cast:
    """The participants of the demo, as in ``conformance/demo/cast.toml``."""

    sample: bytes
    attachments: Mapping[str, bytes]
    agreement: str
    outcome: str
    mandates: tuple[dict[str, Any], ...]
    parties: tuple[dict[str, Any], ...]
    agencies: tuple[dict[str, Any], ...]
    console: Mapping[str, Any] = field(default_factory=dict)
    #: Settings of the hub about documents that are missing.
    needs: Mapping[str, str] = field(default_factory=dict)
    tariffs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_cast() -> Cast:
    """Read the shipped participants and their sample submission."""
    home = DATA_FOLDER
    table = tomllib.loads(home.joinpath("demo", "cast.toml").read_text(encoding="utf-8"))

    def read_content(path: str) -> bytes:
        return home.joinpath(*path.split("/")).read_bytes()

    return Cast(
        sample=read_content(table["sample"]),
        attachments={
            attachment["cid"]: read_content(attachment["file"]) for attachment in table["attachment"]
        },
        agreement=home.joinpath("demo", "agreement.yaml").read_text(encoding="utf-8"),
        outcome=table["outcome"],
        parties=tuple(table["party"]),
        mandates=tuple(table.get("mandate", ())),
        agencies=tuple(table["agency"]),
        console=table["console"],
    )


@dataclass(slots=True)
class _StartedProcess:
    """One started process, and its error log."""

    name: str
    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path


@dataclass(slots=True)
class Stage:
    """A home folder and its processes; `close` ends every one of them.

    `options` has further options of partners by their names; the `absent` ones are not
    started. With a `password` the console is served for the people of the cast, and the
    agency that the cast names there has no system of its own. `console_lines` are further
    settings of the console.
    """

    home: Path
    cast: Cast
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    password: str = ""
    console_lines: Sequence[str] = ()
    ports: dict[str, int] = field(default_factory=dict)
    players: list[_StartedProcess] = field(default_factory=list)
    #: The process that the partners are forked from.
    fork_server: ForkServer | None = None

    @property
    def hub_url(self) -> str:
        """Return the base URL of the hub."""
        return f"http://127.0.0.1:{self.ports['hub']}"

    @property
    def console_url(self) -> str:
        """Return the URL of the console."""
        return f"http://localhost:{self.ports['console']}"

    @property
    def desk(self) -> str:
        """Return the agency whose officers decide at the console; empty when there is none."""
        return str(self.cast.console["agency"]) if self.password else ""

    def get_partner_folder(self, name: str) -> Path:
        """Return the folder of a partner."""
        return self.home / "partners" / name.lower()

    def build(self) -> None:
        """Make keys, settings, database and register, and a folder for each partner."""
        names = ["hub", "broker", "customs", *(agency["code"] for agency in self.cast.agencies)]
        services = ["console", *([PROVIDER] if self.cast.tariffs else [])]
        self.ports = {name: reserve_free_port() for name in [*names, *services]}
        sandbox = make_sandbox(self.home / "pki", self._list_certificate_orders(), clock())
        agreement = self.cast.agreement
        for name in ("broker", "hub"):
            agreement = agreement.replace(f"{{{name}}}", str(self.ports[name]))
        if self.cast.tariffs:
            write_payment_secret(self.home)
        (self.home / "gateway.toml").write_text(self._format_settings_file(), encoding="utf-8")
        for name in names[1:]:
            self._make_partner_folder(name)
        (self.get_partner_folder("broker") / "agreement.yaml").write_text(agreement, encoding="utf-8")
        self._fill_new_register(sandbox, agreement)

    def settings(self) -> Settings:
        """Return the settings of the home."""
        return load_settings(self.home / "gateway.toml", home=self.home)

    def _list_certificate_orders(self) -> list[SandboxParty]:
        orders = [
            SandboxParty(party["name"], f"CN={party['name']},O=Demo", key_kind=party["key"])
            for party in self.cast.parties
        ]
        codes = [agency["code"] for agency in self.cast.agencies]
        return orders + [SandboxParty(code.lower(), f"CN={code},O=Demo", key_kind="p-256") for code in codes]

    def _format_settings_file(self) -> str:
        lines = [
            "# Settings of a demo.",
            "[hub]",
            'party = "hub"',
            'home = "."',
            "[http]",
            f"port = {self.ports['hub']}",
            f'public_url = "{self.hub_url}"',
            "[delivery]",
            'first_retry = "1s"',
            "[customs]",
            f'endpoint = "http://127.0.0.1:{self.ports["customs"]}/soap"',
        ]
        for agency in self.cast.agencies:
            code = agency["code"]
            lines += (
                list_desk_settings(code)
                if code == self.desk
                else [f"[agency.{code}]", f'endpoint = "http://127.0.0.1:{self.ports[code]}/soap"']
            )
            if agency.get("payment_notices") and code != self.desk:
                lines.append("payment_notices = true")
        if self.cast.needs:
            lines += ["[needs]", *(f'{name} = "{value}"' for name, value in self.cast.needs.items())]
        if self.cast.tariffs:
            lines += list_payment_settings(self.ports[PROVIDER], self.cast.tariffs)
        if self.password:
            lines += [*list_console_settings(self.ports["console"]), *self.console_lines]
        return "\n".join(lines) + "\n"

    def _make_partner_folder(self, name: str) -> None:
        """Make a partner's folder with its own key and certificate, and the shared certificates."""
        folder, keys = self.get_partner_folder(name), self.home / "pki"
        folder.mkdir(parents=True)
        for file in (*_SHARED_FILES, f"{name.lower()}.cert.pem", f"{name.lower()}.key.pem"):
            target = folder / file
            target.touch(0o600)
            target.write_bytes((keys / file).read_bytes())

    def _fill_new_register(self, sandbox: Sandbox, agreement: str) -> None:
        engine = build_engine(self.settings())
        try:
            migrate_schema(engine)
            mark_new_store(engine, clock())
            with write_transaction(engine) as conn:
                self._register_parties(conn, sandbox)
                load_unchecked_agreement(conn, agreement.encode(), "agreement.yaml", clock())
        finally:
            engine.dispose()

    def _register_parties(self, conn: Connection, sandbox: Sandbox) -> None:
        now = clock()
        members = [
            (party["name"], party.get("title"), party["role"], party.get("ids", ()))
            for party in self.cast.parties
        ]
        members += [(agency["code"], agency.get("title"), "agency", ()) for agency in self.cast.agencies]
        for name, title, role, ids in members:
            parties.register_party(
                conn, name, title or name, role, now, [read_party_id(text) for text in ids]
            )
            register_certificate(conn, name, sandbox.signers[name.lower()].certificate.der, now)
        for mandate in self.cast.mandates:
            parties.insert_mandate(conn, mandate["holder"], mandate["principal"], now)
        if self.password:
            add_people(conn, self.cast.console["person"], self.password, now)

    def start(self) -> None:
        """Start every process that is not absent, and wait until each is ready."""
        end = time.monotonic() + _READY_WITHIN
        self._start_all_partners()
        partners = list(self.players)
        if "hub" not in self.absent:
            self._start_hub(("--home", str(self.home), "--config", str(self.home / "gateway.toml")))
        for player in partners:
            self._await_ready_line(player, end)
        if "hub" not in self.absent:
            self._await_ready_hub(end)
            if self.password:
                self._await_console(end)

    def _start_all_partners(self) -> None:
        for agency in self.cast.agencies:
            code = agency["code"]
            plan = self.get_partner_folder(code) / "plan.json"
            plan.write_text(json.dumps(agency["plan"]), encoding="utf-8")
            self._start_one_partner(
                "agency",
                code,
                ("--agency", code, "--hub", f"{self.hub_url}/soap/agency", "--plan", str(plan)),
            )
        self._start_one_partner("customs", "customs", ())
        # Where it pulls everything it runs no server.
        if read_membership(self.get_partner_folder("broker"), "broker").awaits_posts:
            self._start_one_partner("broker", "broker", ())
        if self.cast.tariffs:
            options = list_provider_arguments(self.home, self.ports[PROVIDER], self.hub_url)
            self._start_partner_process(PROVIDER, options)

    def _start_one_partner(self, partner_kind: str, name: str, extra_options: Sequence[str]) -> None:
        if name in self.absent or name == self.desk:
            return
        folder, extra_options = self.get_partner_folder(name), (*extra_options, *self.options.get(name, ()))
        arguments = (
            "--leash",
            "--port",
            str(self.ports[name]),
            "--partner",
            str(folder),
            "--name",
            name.lower(),
        )
        self._start_partner_process(
            name, (partner_kind, *arguments, "--folder", str(folder / "log"), *extra_options)
        )

    def _start_partner_process(self, name: str, arguments: Sequence[str]) -> None:
        """Fork a partner, which has read the program with all others."""
        environment = _make_child_environment()
        if self.fork_server is None:
            with (self.home / "partners.log").open("wb") as errors:
                self.fork_server = ForkServer(_PRELOADED, environment, errors)
        log = self.home / f"{name.lower()}.log"
        with log.open("wb") as errors:
            process = ForkedProcess(self.fork_server, _PARTNER, arguments, environment, errors, name.lower())
        self.players.append(_StartedProcess(name, process, log))

    def _start_hub(self, arguments: Sequence[str]) -> None:
        """Start the hub as operators do: from nothing."""
        log = self.home / "hub.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "gateway.cli.child_processes", "run", *arguments],
                stdin=subprocess.PIPE,  # the child ends when this process ends
                stdout=errors,
                stderr=errors,
                env=_make_child_environment(),
                start_new_session=True,
            )
        self.players.append(_StartedProcess("hub", process, log))

    def _await_ready_line(self, player: _StartedProcess, end: float) -> None:
        output = player.process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            ready = selector.select(max(0.0, end - time.monotonic()))
        if not (ready and output.readline().startswith(b"READY ")):
            raise _make_process_error(player)

    def _await_ready_hub(self, end: float) -> None:
        hub = self.players[-1]
        while hub.process.poll() is None and time.monotonic() < end:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports["hub"], timeout=5)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/status/ready")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.05)
        raise _make_process_error(hub)

    def _await_console(self, end: float) -> None:
        # The console has a process and a port of its own, which may be ready after the hub.
        hub = self.players[-1]
        while hub.process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.ports["console"]), 5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise GatewayError(UNREACHABLE, "the console of the hub is not ready", self.console_url)

    def check_alive(self) -> None:
        """Raise when a process has ended unexpectedly."""
        for player in self.players:
            if player.process.poll() is not None:
                raise _make_process_error(player)

    def count_processes(self) -> int:
        """Return the number of processes, including this one."""
        roots = {player.process.pid for player in self.players}
        if self.fork_server is not None:
            roots.add(self.fork_server.pid)
        return 1 + len(_find_descendant_processes(roots))

    def close(self) -> None:
        """End every process: terminate it first, then kill it with all its descendants."""
        for player in self.players:
            if player.process.poll() is None:
                player.process.terminate()
        end = time.monotonic() + _END_WITHIN
        for player in self.players:
            try:
                player.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                player.process.kill()
                player.process.wait()
            # Each process has its own session: remaining processes of that session have lost their parent.
            with contextlib.suppress(OSError):
                os.killpg(player.process.pid, signal.SIGKILL)
            for pipe in (player.process.stdin, player.process.stdout):
                if pipe is not None:
                    pipe.close()
        self.players.clear()
        if self.fork_server is not None:
            self.fork_server.close()
            self.fork_server = None


def _make_child_environment() -> dict[str, str]:
    """Return the environment of a child; the child finds the same code from any folder."""
    package = Path(__file__).resolve().parent.parent.parent
    paths = [str(package), os.environ.get("PYTHONPATH", "")]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return inherited | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
    }


def _make_process_error(player: _StartedProcess) -> GatewayError:
    status = player.process.poll()
    state = f"{player.name} is not ready" if status is None else f"{player.name} ended with status {status}"
    lines = player.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    return GatewayError(UNREACHABLE, f"{state}: {' / '.join(lines)[:500]}", str(player.log))


def _find_descendant_processes(roots: set[int]) -> set[int]:
    """Return these processes and their descendants, where the system provides this (/proc)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(entry.parent.name)] = int(fields[1])
    processes = set(roots)
    while children := {pid for pid, parent in parents.items() if parent in processes} - processes:
        processes |= children
    return processes


def check_home(home: Path) -> None:
    """Raise for a home folder that is not empty."""
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise GatewayError(MISUSE, "the home folder of a demo must be empty or new", str(home))
