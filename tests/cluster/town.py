"""Hub nodes, the front, and everyone around them, on the machines of a cluster."""

from __future__ import annotations

import http.client
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.client import EBMS2, SealedSubmission
from gateway.message_model import MemoryBody, Payload, StatusRequest, StatusResponse
from gateway.protocols import SOAP_ACTION, Parcel
from gateway.share import get_data_folder
from gateway_conformance.verbs.demo_stage import read_cast
from tests.cluster.database_members import Members, wait_for
from tests.cluster.network import Machine, Network
from tests.kit.gateway import post
from tests.kit.town import Town

__all__ = ["FRONT", "NODES", "ClusterTown"]

NODES = ("hub1", "hub2")
FRONT = "front"
PORT = 8080

#: The settings of a cluster that are the same on each node.
_SETTINGS = """
[database]
url = "{url}"
{database}
[payloads]
folder = "{payloads}"
"""


class ClusterTown(Town):
    """A town whose hub is two nodes behind a front, on a database of three members."""

    def __init__(self, network: Network, members: Members, database: str = "") -> None:
        self.network, self.members, self._database = network, members, database
        cast = read_cast()
        text = cast.agreement.replace("127.0.0.1:{broker}", f"{network.world}:{{broker}}")
        text = text.replace("127.0.0.1:{hub}", f"{network[FRONT].address}:{PORT}")
        store = "service: urn:single-window:services:declaration, action: Store}"
        text += f"  - {{id: cluster-store, from: applicant, to: hub, {store}\n"
        super().__init__(network.folder / "town", members.url(), cast=replace(cast, agreement=text))
        outside = ("--host", network.world)
        names = ("broker", "customs", *(one["code"] for one in self.cast.agencies))
        self.options = dict.fromkeys(names, outside)

    @property
    def hub_url(self) -> str:
        """Return where partners reach the hub: at the front."""
        return f"http://{self.network[FRONT].address}:{PORT}"

    def _format_settings_file(self) -> str:
        text = super()._format_settings_file().replace("127.0.0.1", self.network.world)
        text = text[: text.index("\n[database]")]
        # Above what a delivery takes on a machine that has much else to do.
        text = text.replace('lease = "2s"', 'lease = "15s"')
        text = re.sub(r"\[http\]\nport = \d+\n", f"[http]\nport = {PORT}\n", text)
        return text + _SETTINGS.format(
            url=self.database_url, database=self._database, payloads=self.home / "payloads"
        )

    def start_nodes(self, environment: dict[str, str] | None = None) -> None:
        """Start partners, hub nodes and the front, and wait until a message can be taken everywhere."""
        at_once = {"behaviour": "immediate"}
        self.start_partners(KPTA=at_once, KFDA=at_once, NPQS=at_once)
        for name in NODES:
            self.start_node(name, environment)
        self._start_front()
        for name in (*NODES, FRONT):
            wait_for(lambda name=name: self.is_ready(name), 120, f"{name} is not ready")  # type: ignore[misc]

    def start_node(
        self, name: str, environment: dict[str, str] | None = None, *, single: bool = False, prefix: Any = ()
    ) -> None:
        """Start a hub node: as it is installed, or as one process that a failpoint can end."""
        here = self.network[name]
        home = self._make_node_home(here)
        command = ["-m", "tests.kit.single", "both"] if single else ["-m", "gateway", "run"]
        here.start("hub", [*prefix, sys.executable, *command, "--home", str(home)], environment)

    def _make_node_home(self, here: Machine) -> Path:
        home = here.folder / "home"
        if not home.exists():
            shutil.copytree(self.home / "pki", home / "pki")
            text = (self.home / "gateway.toml").read_text()
            text = text.replace("[http]\n", f'[http]\nhost = "{here.address}"\n')
            text = text.replace("[hub]\n", f'[hub]\nnode = "{here.name}"\n')
            (home / "gateway.toml").write_text(text)
        return home

    def _start_front(self) -> None:
        here = self.network[FRONT]
        here.folder.mkdir(parents=True, exist_ok=True)
        text = get_data_folder("install").joinpath("haproxy.cfg").read_text(encoding="utf-8")
        # Partners of the suite speak plain HTTP; tests/system/tls tries the same file with TLS.
        text = re.sub(r"FRONT_PORT ssl .*", "FRONT_PORT", text)
        words = {"FRONT_ADDRESS": here.address, "FRONT_PORT": str(PORT)}
        words |= {f"{name.upper()}_ADDRESS": self.network[name].address for name in NODES}
        for word, value in words.items():
            text = text.replace(word, value)
        settings = here.folder / "haproxy.cfg"
        settings.write_text(text)
        here.start("haproxy", ["haproxy", "-db", "-f", str(settings)])

    def is_ready(self, name: str) -> bool:
        """Tell whether a node, or the front for one of them, says that it is ready."""
        return self.read_status(name) == 200

    def read_status(self, name: str, seconds: float = 4) -> int:
        """Return the status of ``/status/ready`` of a node or of the front; 0 without an answer."""
        connection = http.client.HTTPConnection(self.network[name].address, PORT, timeout=seconds)
        try:
            connection.request("GET", "/status/ready")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def plain_message(self, number: int) -> SealedSubmission:
        """Return a sealed message that is only to be kept."""
        context = self.member.build_context()
        message_id = context.make_message_id()
        content = f"<declaration n='{number}'>{'x' * 2000}</declaration>".encode()
        unit = self.member.make_user_message(
            "Store",
            message_id,
            context.now,
            payloads=(Payload(f"d.{message_id}", "application/xml", content),),
        )
        parcel = EBMS2.seal((unit,), self.member.get_outgoing_pmode("Store", context.now), context)
        sent = EBMS2.read_sent_unit(parcel, context.limits)
        return SealedSubmission(unit, f"KEEP-{number}", parcel, sent, self.hub_url)

    def ask_status(self, name: str, about: str) -> str:
        """Return what a node or the front says about a message, or how it did not say it."""
        context = self.member.build_context()
        pmode = self.member.get_outgoing_pmode("Store", context.now)
        request = StatusRequest(
            message_id=context.make_message_id(),
            conversation_id=f"status-{about}",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=context.now.replace(microsecond=0),
            queried_message_id=about,
            sync_reply=True,
        )
        parcel = EBMS2.seal((request,), pmode, context)
        url = f"http://{self.network[name].address}:{PORT}/msh/ebms2"
        answer = post(url, Parcel({"SOAPAction": SOAP_ACTION, **parcel.headers}, parcel.body))
        if answer is None or answer.status != 200:
            return f"no answer: {answer.status if answer else 'cut'}"
        headers = {"Content-Type": answer.headers["Content-Type"], "SOAPAction": SOAP_ACTION}
        opened = EBMS2.open_units(Parcel(headers, MemoryBody(answer.body)), self.member.build_context())
        return opened.unit.status if isinstance(opened.unit, StatusResponse) else type(opened.unit).__name__
