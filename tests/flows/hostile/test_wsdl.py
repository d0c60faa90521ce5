"""A WSDL is what was agreed, octet for octet, and leads nowhere; calls go where the settings say."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.config import load_settings
from gateway.delivery import HttpClient, ServiceCall, build_partners, load_contract
from gateway.delivery.service_contracts import DIGESTS_FILE, ServiceContract, WsdlFile, read_wsdl_file
from gateway.delivery.soap_client import AnswerPolicy, SoapCaller, SoapDestination
from gateway.errors import GatewayError
from gateway.share import get_data_folder
from gateway_conformance.hostile import ReplyServer
from gateway_conformance.hostile.reply_attacks.hostile_partner import REPLIES
from gateway_conformance.hostile.reply_attacks.soap_replies import AgencyReplyForger
from tests.flows.hostile.neighbours import PATIENT, Trap, agency_forger, trap
from tests.flows.hostile.outbound_watch import Ear
from tests.kit.house import Clock, signer_named

TEMPLATE = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
DIGEST = hashlib.sha256(TEMPLATE).hexdigest()
CANCEL = ServiceCall("CancelApplication", "urn:uuid:1", "urn:to", {"ApplicationNumber": "A", "Reason": "r"})


def own(home: Path, data: bytes, name: str = "own.wsdl") -> Path:
    """Put a WSDL of one's own into a folder of share; returns that folder."""
    path = home / "share" / "wsdl" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return home / "share"


def refusal(file: WsdlFile) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        load_contract(file)
    assert caught.value.problem.id == "GW801"
    return caught.value


def test_every_shipped_wsdl_is_frozen() -> None:
    """After a change that is meant: cd wsdl && sha256sum agencies/*.wsdl *.wsdl > SHA256SUMS."""
    shipped = Path(str(get_data_folder("wsdl")))
    sums = dict(reversed(line.split()) for line in (shipped / DIGESTS_FILE).read_text().splitlines())
    files = {path.relative_to(shipped).as_posix(): path for path in shipped.rglob("*.wsdl")}
    assert sums == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert all(read_wsdl_file(WsdlFile(name)) == path.read_bytes() for name, path in files.items())


def test_a_shipped_wsdl_that_was_changed_is_not_called_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = TEMPLATE.replace(b"localhost", b"evil.host")
    (tmp_path / "agency-template.wsdl").write_bytes(changed)
    (tmp_path / DIGESTS_FILE).write_text(f"{DIGEST}  agency-template.wsdl\n")
    monkeypatch.setattr("gateway.delivery.service_contracts.get_data_folder", lambda _: tmp_path)
    with pytest.raises(GatewayError) as caught:
        read_wsdl_file(WsdlFile("agency-template.wsdl"))
    assert caught.value.problem.id == "GW801"
    assert DIGEST in caught.value.detail
    assert hashlib.sha256(changed).hexdigest() in caught.value.detail


def test_a_wsdl_of_ones_own_needs_its_digest_in_the_settings(tmp_path: Path) -> None:
    share = own(tmp_path, TEMPLATE)
    unpinned = refusal(WsdlFile("own.wsdl", None, (share,), "agency.X.wsdl_sha256"))
    assert f'agency.X.wsdl_sha256 = "{DIGEST}"' in unpinned.detail, "the line to write"
    assert load_contract(WsdlFile("own.wsdl", DIGEST, (share,))).description.operations
    own(tmp_path, TEMPLATE + b" ")
    after = refusal(WsdlFile("own.wsdl", DIGEST, (share, Path("/nowhere"))))
    assert DIGEST in after.detail
    assert hashlib.sha256(TEMPLATE + b" ").hexdigest() in after.detail


def test_the_settings_and_the_check_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own(tmp_path, TEMPLATE, "agencies/OFFICE.wsdl")
    settings = tmp_path / "gateway.toml"
    text = '[share]\nfolders = ["share"]\n[agency.OFFICE]\nendpoint = "http://office.example/"\n'
    settings.write_text(f'{text}wsdl_sha256 = "{"0" * 64}"\n')
    frozen = build_partners(load_settings(settings, home=tmp_path))["OFFICE"].wsdl
    assert isinstance(frozen, WsdlFile)
    assert frozen.relative_path == "agencies/OFFICE.wsdl", "found among our own"
    assert "0" * 64 in refusal(frozen).detail
    assert main(["check", "--home", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert re.search(rf"GW801 .*{DIGEST}.*{'0' * 64}.*agency\.OFFICE\.wsdl_sha256", said)
    settings.write_text(f'{text}wsdl_sha256 = "{DIGEST}"\n')
    assert load_contract(build_partners(load_settings(settings, home=tmp_path))["OFFICE"].wsdl)
    settings.write_text(f'{text}wsdl_sha256 = "short"\n')
    with pytest.raises(GatewayError, match="wsdl_sha256"):
        load_settings(settings, home=tmp_path)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x.wsdl", "agencies/../x", "a//b", "."])
def test_a_name_leads_out_of_no_folder(tmp_path: Path, name: str) -> None:
    refusal(WsdlFile(name, DIGEST, (tmp_path,)))


def swapped(old: bytes, new: bytes) -> bytes:
    assert old in TEMPLATE
    return TEMPLATE.replace(old, new, 1)


def imports(*lines: str) -> bytes:
    """Return the template with more lines in its schema."""
    start = b'elementFormDefault="qualified">'
    return swapped(start, start + "".join(lines).encode())


def definitions(*lines: str) -> bytes:
    return swapped(b"<wsdl:types>", "".join(lines).encode() + b"<wsdl:types>")


LAUGHS = "<!DOCTYPE x [<!ENTITY a0 'ha'>" + "".join(
    f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)
)
REFUSED: dict[str, Any] = {
    "wsdl:import over HTTP": lambda url: definitions(f'<wsdl:import namespace="urn:x" location="{url}"/>'),
    "wsdl:import of a file": lambda _: definitions(
        '<wsdl:import namespace="urn:x" location="file:///etc/passwd"/>'
    ),
    "10,000 wsdl:imports": lambda url: definitions(
        *(f'<wsdl:import namespace="urn:x{n}" location="{url}{n}"/>' for n in range(10_000))
    ),
    "xsd:include": lambda url: imports(f'<xs:include schemaLocation="{url}"/>'),
    "xsd:redefine": lambda url: imports(f'<xs:redefine schemaLocation="{url}"/>'),
    "another schema that includes": lambda url: swapped(
        b"<wsdl:types>",
        b'<wsdl:types><xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x">'
        b'<xs:include schemaLocation="' + url.encode() + b'"/></xs:schema>',
    ),
    "billion laughs": lambda _: LAUGHS.encode() + b"]>" + re.sub(rb"^<\?xml.*?\?>\s*", b"", TEMPLATE),
    "external entity": lambda url: (
        f'<!DOCTYPE x [<!ENTITY a SYSTEM "{url}">]>'.encode() + re.sub(rb"^<\?xml.*?\?>\s*", b"", TEMPLATE)
    ),
    "external subset": lambda url: (
        f'<!DOCTYPE x SYSTEM "{url}">'.encode() + re.sub(rb"^<\?xml.*?\?>\s*", b"", TEMPLATE)
    ),
    "style sheet": lambda url: (
        f'<?xml-stylesheet href="{url}"?>'.encode() + re.sub(rb"^<\?xml.*?\?>\s*", b"", TEMPLATE)
    ),
    "70,000 attributes": lambda _: definitions(
        "<wsdl:documentation " + " ".join(f'a{n}=""' for n in range(70_000)) + "/>"
    ),
    "too large": lambda _: TEMPLATE + b" " * (1024 * 1024),
}
TAKEN: dict[str, Any] = {
    # What it imports belongs to documents: left out before anything is asked to read it.
    "10,000 imports": lambda url: imports(
        *(f'<xs:import namespace="urn:x{n}" schemaLocation="{url}{n}"/>' for n in range(10_000))
    ),
    "import of a file": lambda _: imports(
        '<xs:import namespace="urn:x" schemaLocation="file:///etc/passwd"/>'
    ),
    "schema location": lambda url: swapped(
        b"<wsdl:types>",
        b'<wsdl:types xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:schemaLocation="urn:x '
        + url.encode()
        + b'">',
    ),
}


_EAR = Ear(hears_all_threads=False)
_REACHING = ("open", "socket.connect", "socket.getaddrinfo", "urllib.Request")


@pytest.fixture
def heard_events() -> Iterator[list[tuple[str, str]]]:
    """Give the audit events of the thread of the test from now on, each with what it is about."""
    _EAR.heard.clear()
    with _EAR.listening():
        yield _EAR.heard


@pytest.mark.parametrize("make", [*REFUSED.values(), *TAKEN.values()], ids=[*REFUSED, *TAKEN])
def test_a_hostile_wsdl_fetches_nothing(
    tmp_path: Path, make: Any, heard_events: list[tuple[str, str]]
) -> None:
    """Even one whose digest an operator has pinned."""
    with trap() as caught:
        data = make(caught.url)
        share = own(tmp_path, data)
        heard_events.clear()
        file = WsdlFile("own.wsdl", hashlib.sha256(data).hexdigest(), (share,))
        if make in REFUSED.values():
            refusal(file)
        else:
            assert load_contract(file).compose_envelope(CANCEL)
        assert caught.caught == 0
    outside = [
        (event, place)
        for event, place in heard_events
        if event in _REACHING and not re.search(r"own\.wsdl|site-packages|/gateway/|\.pyc?\b", place)
    ]
    assert outside == []


def test_a_file_that_another_thread_opens_is_not_heard(
    tmp_path: Path, heard_events: list[tuple[str, str]]
) -> None:
    mark = tmp_path / "acknowledged.json"
    writer = threading.Thread(target=lambda: mark.write_text("{}"))
    writer.start()
    writer.join()
    assert not any("acknowledged" in place for _, place in heard_events)
    mark.read_text()
    assert [place for event, place in heard_events if event == "open"] == [repr(str(mark))]


def test_an_address_changed_in_the_wsdl_changes_nothing(caught_by: Trap, tmp_path: Path) -> None:
    data = TEMPLATE.replace(b"http://localhost/agency", caught_by.url.encode())
    assert data != TEMPLATE
    file = WsdlFile("own.wsdl", hashlib.sha256(data).hexdigest(), (own(tmp_path, data),))
    (honest,) = (one for one in REPLIES if one.id == "APP-08.honest-answer")
    clock = Clock()
    forger: AgencyReplyForger = agency_forger(clock)
    server = ReplyServer(forger, lambda _: honest, elsewhere=caught_by.url)
    server.start()
    sender = HttpClient(PATIENT)
    agent = SoapCaller(sender, lambda: signer_named("hub"), clock)
    envelope = load_contract(file).compose_envelope(CANCEL)
    destination = SoapDestination(file, server.url, AnswerPolicy(lambda *_: None))
    agent.read_answer(agent.post_call(envelope, destination))
    sender.close()
    server.close()
    assert server.connections == 1
    assert caught_by.caught == 0
    assert caught_by.url.encode() not in envelope


@pytest.fixture
def caught_by() -> Any:
    with trap() as one:
        yield one


def test_a_contract_is_read_once(tmp_path: Path) -> None:
    """What changes on the disk while the gateway runs changes no call of this process."""
    share = own(tmp_path, TEMPLATE)
    file = WsdlFile("own.wsdl", DIGEST, (share,))
    first = load_contract(file)
    own(tmp_path, b"<evil/>")
    assert load_contract(WsdlFile("own.wsdl", DIGEST, (share,), "agency.Y.wsdl_sha256")) is first
    assert isinstance(first, ServiceContract)
