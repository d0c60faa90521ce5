"""The hostile corpus in this process, with an ear on Python's audit events and an eye on canaries."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from lxml import etree

from gateway.errors import GatewayError
from gateway.web import build_application
from gateway.xmlsec import sign_document
from gateway_conformance.hostile import (
    Answer,
    AttackerKit,
    AttackRunner,
    Target,
    WsgiTarget,
    read_attacker_kit,
    select_cases,
)
from gateway_conformance.hostile.exchange import NotOfferedError, Step
from gateway_conformance.hostile.runner import NOT_YET
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.flows.hostile.outbound_plays import documents, fetching
from tests.flows.hostile.outbound_watch import Canaries, Ear, foreign
from tests.fuzz.catalogue import targets
from tests.fuzz.certificates import full_certificate
from tests.fuzz.identities import NOW, signer

__all__ = ["audited", "played_all"]

_EAR: list[Ear] = []
#: The readers that are handed documents, answers and certificates beside what comes by the two doors.
_READERS = (
    "submission",
    "split",
    "xades-forged",
    "signature",
    "notice",
    "answer",
    "result",
    "xml",
    "pointers",
)


@dataclass
class _Watched:
    """A target that is listened to while it works, and while nothing else does."""

    target: Target
    ear: Ear
    sent: int = 0

    @property
    def name(self) -> str:
        return self.target.name

    def send(self, step: Step) -> Answer:
        self.sent += 1
        with self.ear.listening():
            return self.target.send(step)


def audited(every: int = 1) -> dict[str, Any]:
    """Play every `every`-th case and all that names a canary; return what was heard beside the database."""
    ear = _ear()
    with tempfile.TemporaryDirectory(prefix="gateway-outbound-") as place:
        home, aside = Path(place) / "home", Path(place) / "aside"
        aside.mkdir()
        canaries = Canaries(aside)
        controls = _controls(ear, canaries)
        settings = make_suite_home(home)
        invite_suite(settings, home / "partner")
        bench = read_attacker_kit(home / "partner")
        watched = _Watched(WsgiTarget(build_application(settings), bench.faces), ear)
        _warm(bench, watched)
        ear.heard.clear()
        canaries.touched()
        played = played_all(AttackRunner(bench, watched), every)
        asked = _ask(bench, watched, canaries, every)
        read = _read(ear, canaries, every)
        touched = canaries.touched()
        canaries.close()
        heard = sorted({one for one in ear.heard if foreign(*one, str(home))})
    return {
        "what": "in this process",
        "cases": played,
        "requests": watched.sent,
        "fetching": asked,
        "readers": read,
        "controls": controls,
        "heard": heard,
        "canaries": touched,
        "good": not heard and not touched and all(controls.values()),
    }


def played_all(runner: AttackRunner, every: int) -> int:
    """Play the corpus; how it is judged is not for here.  Returns how many cases could be played."""
    played = 0
    for case in select_cases(None)[::every]:
        # A case that cannot be made is the corpus' own mistake, and found by its own test.
        with suppress(GatewayError, LookupError):
            played += runner.run_case(case, probes_after=False).verdict != NOT_YET
    return played


def _ear() -> Ear:
    if not _EAR:
        _EAR.append(Ear())
    return _EAR[0]


def _controls(ear: Ear, canaries: Canaries) -> dict[str, bool]:
    """Do what must never be done: whether it is noticed says whether silence means anything."""
    noticed = {}
    ear.heard.clear()
    with ear.listening(), suppress(OSError):
        urlopen(canaries.addresses[2], timeout=5)
    noticed["Python calls a listener"] = any(event == "socket.connect" for event, _ in ear.heard)
    noticed["the listener counts it"] = any(one.startswith("connection") for one in canaries.touched())
    ear.heard.clear()
    with ear.listening():
        canaries.file.read_bytes()
    noticed["Python opens a file"] = any(foreign(*one, "/nowhere") for one in ear.heard)
    canaries.touched()
    naive = etree.XMLParser(resolve_entities=True, load_dtd=True, no_network=False)
    entity = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{canaries.file.as_uri()}">]><a>&e;</a>'
    etree.fromstring(entity.encode(), naive)
    noticed["libxml2 opens a file"] = any(one.startswith("opened") for one in canaries.touched())
    return noticed


def _warm(bench: AttackerKit, watched: _Watched) -> None:
    """Send what an honest partner sends, and what is plainly wrong: what is loaded once is loaded."""
    for post in (
        bench.build_message(),
        bench.build_call(),
        bench.build_message(bench.make_unit(action="Submit")),
        bench.build_message(bench.make_ping()),
    ):
        watched.send(post)
    for post in (
        bench.build_message(signed=False),
        bench.build_call(signed=False),
        bench.build_call(content="<x/>"),
    ):
        watched.send(post)
    for target in targets().values():
        for seed in target.seeds():
            with suppress(GatewayError):
                target.run(seed)
    with suppress(GatewayError):  # the judge of what is against its schema is loaded when it is needed
        targets()["submission"].run(b'<Submission xmlns="urn:single-window:submission:1"/>')


def _ask(bench: AttackerKit, watched: _Watched, canaries: Canaries, every: int) -> int:
    asked = 0
    for address in canaries.some(every):
        for _, post in fetching(bench, address):
            with suppress(NotOfferedError):
                watched.send(post)
                asked += 1
    return asked


def _read(ear: Ear, canaries: Canaries, every: int) -> int:
    """Hand documents and certificates that name a canary to the readers behind the doors."""
    read = 0
    for name, octets in _reading(canaries.some(every)):
        read += 1
        run = targets()[name].run
        with ear.listening(), suppress(GatewayError):
            run(octets)
    return read


def _reading(addresses: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for address in addresses:
        for name in _READERS:
            for seed in list(targets()[name].seeds())[:4]:
                for inject in _INJECTIONS:
                    yield name, inject(seed, address.encode())
        yield "certificate", full_certificate(address)
        for _, document in documents(address, _signed):
            yield "submission", document
            yield "signature", document


def _signed(root: etree._Element) -> object:
    return sign_document(root, signer("broker1"), now=NOW)


def _before_root(words: bytes) -> Callable[[bytes, bytes], bytes]:
    def inject(seed: bytes, address: bytes) -> bytes:
        place = max(seed.find(b"<"), 0)
        return seed[:place] + words.replace(b"ADDRESS", address) + seed[place:]

    return inject


def _in_root(words: bytes) -> Callable[[bytes, bytes], bytes]:
    def inject(seed: bytes, address: bytes) -> bytes:
        place = seed.find(b">", max(seed.find(b"<"), 0))
        place -= seed[place - 1 : place] == b"/"
        return seed[:place] + b" " + words.replace(b"ADDRESS", address) + seed[place:]

    return inject


def _everywhere(seed: bytes, address: bytes) -> bytes:
    """Write the address over every identifier that begins like one."""
    for beginning in (b"http://", b"urn:", b"cid:", b"#"):
        seed = seed.replace(b'="' + beginning, b'="' + address + b"?", 9)
    return seed


_INJECTIONS = (
    _before_root(b'<!DOCTYPE a SYSTEM "ADDRESS">'),
    _before_root(b'<!DOCTYPE a [<!ENTITY % p SYSTEM "ADDRESS"> %p;]>'),
    _before_root(b'<?xml-stylesheet href="ADDRESS"?>'),
    _in_root(b'xmlns:si="http://www.w3.org/2001/XMLSchema-instance" si:schemaLocation="urn:x ADDRESS"'),
    _in_root(b'xml:base="ADDRESS"'),
    _everywhere,
)
