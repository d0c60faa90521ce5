"""Runs a gateway in a network namespace without routes, and the hostile corpus against it.

A process of its own (``python -m tests.flows.hostile.outbound_inside FOLDER``), since nobody leaves
a namespace again.  What the gateway's processes open, connect to and execute is seen by
strace where it is installed, and by audit hooks in every one of them.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.xmlsec import sign_document
from gateway_conformance.hostile import (
    Answer,
    AttackerKit,
    AttackRunner,
    HttpRequest,
    UrlTarget,
    read_attacker_kit,
)
from gateway_conformance.hostile.exchange import NotOfferedError, Step
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.flows.hostile.outbound_audit import played_all
from tests.flows.hostile.outbound_plays import documents, fetching, knocking, submitted
from tests.flows.hostile.outbound_watch import Canaries, foreign
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.served import wait_until_ready

#: Where the suite's agreements say that the members are: nobody listens there.
AGREED = "127.0.0.1:9"
_NEW_NET, _NEW_USER = 0x40000000, 0x10000000
_SET_FLAGS, _UP = 0x8914, 0x1
#: So long, in seconds, nothing is done after all that has come was begun: then the work is over.
_SETTLE = 2.5
#: So long a busy machine may take to come to rest.
_REST_WITHIN = 120.0
#: So long strace may take to write its last lines.
_FLUSHED = 2.0
#: What C libraries and the server look up about the machine, whatever comes in.
_MACHINE = frozenset(
    {"/dev/fd", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu/online", "/dev/urandom"}
)
#: The process that judges certificates is asked by its parent: octets, a moment, a use.  It answers in JSON.
#: Some versions of Python write the use, a member of an enumeration, by `getattr` of `builtins`.
_QUESTION = frozenset(
    {"builtins", "datetime", "gateway.pki.certificate_validation", "gateway.pki.trust_store"}
)
_TRACED = "trace=connect,open,openat,openat2,creat,execve,execveat"
_CALL = re.compile(r"^\d+ +(\d+\.\d+) (\w+)\((.*)$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PEER = re.compile(r'sin6?_port=htons\((\d+)\).*?"([^"]*)"')


def main() -> None:
    place, every = Path(sys.argv[1]), int(sys.argv[2])
    namespace = enter_namespace()
    told = _attacked(place, every)
    routes = Path("/proc/self/net/route").read_text(encoding="ascii").splitlines()[1:]
    print(json.dumps({"namespace": namespace, "routes": len(routes), **told}))


def enter_namespace() -> bool:
    """Enter a network namespace with nothing but the loopback; return False where none is allowed."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_NEW_NET) != 0 and library.unshare(_NEW_USER | _NEW_NET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
    return True


@dataclass(frozen=True)
class _Seen:
    """What the processes of the gateway did: by the kernel's word, and by that of their own hooks."""

    strace: Path | None
    hooks: Path

    def between(self, moments: tuple[float, float], home: str) -> list[list[str]]:
        """Return what was done in that time and is no part of the work."""
        first, last = moments
        found = {
            ("hook", event, what)
            for at, event, what in self._hooked()
            if first <= at <= last and _odd(event, what, home)
        }
        found |= {
            ("strace", call, what)
            for at, call, what in self._traced()
            if first <= at <= last and _strange(call, what, home)
        }
        return [list(one) for one in sorted(found)]

    def count_events(self, home: str) -> int:
        """Return how many times something was done that is no part of the work, by the word of the hooks."""
        return sum(_odd(event, what, home) for _, event, what in self._hooked())

    def connections(self) -> dict[str, int]:
        """Return how often whom was connected to, by the kernel's word or else the hooks'."""
        peers = [what for _, call, what in self._traced() if call == "connect"]
        peers = peers or [what for _, event, what in self._hooked() if event == "socket.connect"]
        return {one: peers.count(one) for one in sorted(set(peers))}

    def _hooked(self) -> Iterator[tuple[float, str, str]]:
        text = self.hooks.read_text(encoding="utf-8") if self.hooks.exists() else ""
        # The last line may be on its way.
        for line in text.rpartition("\n")[0].splitlines():
            at, event, what = json.loads(line)
            yield at, event, what

    def _traced(self) -> Iterator[tuple[float, str, str]]:
        lines = self.strace.read_text(encoding="utf-8", errors="replace").splitlines() if self.strace else ()
        for line in lines:
            found = _CALL.match(line)
            if found:
                yield float(found[1]), found[2], _what(found[2], found[3])


def _what(call: str, rest: str) -> str:
    """Return the peer of a connection, or the path of a file."""
    if call == "connect":
        peer = _PEER.search(rest)
        return f"{peer[2]}:{peer[1]}" if peer else rest[:120]
    path = _QUOTED.search(rest)
    return path[1] if path else rest[:120]


def _odd(event: str, what: str, home: str) -> bool:
    if event == "socket.connect":
        return f"'{AGREED.partition(':')[0]}', {AGREED.partition(':')[2]}" not in what
    if event == "socket.getaddrinfo":
        return AGREED.partition(":")[0] not in what
    if event == "pickle.find_class":
        return what.strip("'") not in _QUESTION
    return what.strip("'") not in _MACHINE and foreign(event, what, home)


def _strange(call: str, what: str, home: str) -> bool:
    if call == "connect":
        return what != AGREED
    # SQLite opens the folder of its database to make the name of its log durable.
    return what not in _MACHINE and what != home and foreign("open", what, home)


def _attacked(place: Path, every: int) -> dict[str, Any]:
    home, aside = place / "home", place / "aside"
    aside.mkdir()
    canaries, port = Canaries(aside), find_free_port()
    invite_suite(make_suite_home(home, f"[http]\nport = {port}\nprocesses = 1\n"), home / "partner")
    bench = read_attacker_kit(home / "partner")
    seen = _Seen(place / "strace.log" if _strace_works() else None, place / "hooks.jsonl")
    with _running(home, place, port, seen):
        target = _Posts(UrlTarget(f"http://127.0.0.1:{port}", bench.faces))
        _warm(bench, target)
        _await_rest(home, seen)
        canaries.touched()
        began = time.time()
        played = _play(bench, target, every)
        asked = _ask(bench, target, canaries, every)
        _await_rest(home, seen)
        moments = (began, time.time())
    touched = canaries.touched()
    return {
        "strace": seen.strace is not None,
        "cases": played,
        "fetching": asked,
        "requests": target.sent,
        # The hub asks its own port whether it is ready, and the system for the name of its account.
        "connections": {
            peer: number
            for peer, number in seen.connections().items()
            if peer != f"127.0.0.1:{port}" and "nscd/socket" not in peer
        },
        "heard": seen.between(moments, str(home)),
        "canaries": touched,
        "controls": _controls(seen, canaries, place),
    }


def _await_rest(home: Path, seen: _Seen) -> None:
    """Wait until a worker has tried to admit every message that came, and no process does anything more."""
    end, quiet, last = time.monotonic() + _REST_WITHIN, time.monotonic(), -1
    while (now := time.monotonic()) < end and now - quiet < _SETTLE:
        time.sleep(0.2)
        done = seen.count_events(str(home))
        if done != last or _count_open_admissions(home):
            quiet, last = time.monotonic(), done


def _count_open_admissions(home: Path) -> int:
    # One that was tried, and is tried again later, has loaded what it needs.
    open_states = "(state = 'ACTIVE' OR state = 'QUEUED' AND attempt = 0)"
    statement = f"SELECT count(*) FROM deliveries WHERE agent = 'local' AND {open_states}"
    with closing(sqlite3.connect(f"file:{home / 'gateway.sqlite3'}?mode=ro", uri=True, timeout=30)) as conn:
        return int(conn.execute(statement).fetchone()[0])


@dataclass
class _Posts:
    """A target that is sent requests in good form; attacks on HTTP itself take time, and carry no address."""

    inner: UrlTarget
    sent: int = 0

    @property
    def name(self) -> str:
        return self.inner.name

    def send(self, step: Step) -> Answer:
        if not isinstance(step, HttpRequest):
            raise NotOfferedError("not for here")
        self.sent += 1
        return self.inner.send(step)


@contextmanager
def _running(home: Path, place: Path, port: int, seen: _Seen) -> Iterator[None]:
    (place / "sitecustomize.py").write_text(_HOOK, encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": f"{place}{os.pathsep}{ROOT}",
        "GATEWAY_OUTBOUND_HOOKS": str(seen.hooks),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [*_traced(seen.strace), sys.executable, "-m", "gateway", "run", "--home", str(home)]
    with (place / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until_ready(port, process, seconds=240)
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)
            time.sleep(_FLUSHED)


def _strace_works() -> bool:
    """Tell whether strace is here and may watch; where tracing is forbidden the hooks and canaries remain."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-f", "--seccomp-bpf", "-o", os.devnull, "true"], capture_output=True)
    return tried.returncode == 0


def _traced(log: Path | None) -> list[str]:
    """Return what stands before a command to be watched; -D makes strace its child, not its parent."""
    if log is None:
        return []
    return [
        *("strace", "-D", "-f", "--seccomp-bpf", "-qq", "-ttt", "-s", "400"),
        *("-e", _TRACED, "-o", str(log)),
    ]


def _warm(bench: AttackerKit, target: _Posts) -> None:
    """Send what honest partners send, and what is plainly wrong: what is loaded once is loaded then."""
    for _ in range(3):  # every thread of the server has connections of its own
        for post in (bench.build_message(), bench.build_call(), bench.build_message(bench.make_ping())):
            target.send(post)
        for post in (
            bench.build_message(signed=False),
            bench.build_call(signed=False),
            bench.build_call(content="<x/>"),
        ):
            target.send(post)
    for _, document in documents("urn:nowhere", _sign(bench)):
        target.send(submitted(bench, document))
    with suppress(OSError, HTTPException):
        target.inner.send(next(knocking("http://127.0.0.1/"))[1])


def _sign(bench: AttackerKit) -> Any:
    def sign(root: etree._Element) -> object:
        return sign_document(root, bench.get_signer("a"), now=bench.get_current_time())

    return sign


def _play(bench: AttackerKit, target: _Posts, every: int) -> int:
    return played_all(AttackRunner(bench, target), every)


def _ask(bench: AttackerKit, target: _Posts, canaries: Canaries, every: int) -> int:
    asked = 0
    for address in canaries.some(every):
        for _, post in fetching(bench, address):
            target.send(post)
            asked += 1
        for _, raw in knocking(address):
            target.inner.send(raw)
            asked += 1
    return asked


def _controls(seen: _Seen, canaries: Canaries, place: Path) -> dict[str, bool]:
    """Let a program do what the gateway must not, watched in the same way: is it noticed?"""
    traced = place / "control.log" if seen.strace else None
    hooks = place / "control.jsonl"
    code = (
        "import sys, contextlib, urllib.request\nfrom lxml import etree\n"
        "with contextlib.suppress(OSError): urllib.request.urlopen(sys.argv[1], timeout=5)\n"
        "p = etree.XMLParser(resolve_entities=True, load_dtd=True)\n"
        "etree.fromstring('<!DOCTYPE a [<!ENTITY e SYSTEM \"%s\">]><a>&e;</a>' % sys.argv[2], p)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(place), "GATEWAY_OUTBOUND_HOOKS": str(hooks)}
    words = [canaries.addresses[2], canaries.file.as_uri()]
    subprocess.run(
        [*_traced(traced), sys.executable, "-c", code, *words], env=environment, check=True, timeout=60
    )
    time.sleep(_FLUSHED)
    found = _Seen(traced, hooks).between((0.0, time.time()), "/nowhere")
    touched = canaries.touched()
    noticed = {
        "a hook sees a connection": any(one[:2] == ["hook", "socket.connect"] for one in found),
        "the listener counts it": any(one.startswith("connection") for one in touched),
        "libxml2 opens a file": any(one.startswith("opened") for one in touched),
    }
    if traced:
        name = canaries.file.name
        noticed["strace sees a connection"] = any(one[:2] == ["strace", "connect"] for one in found)
        noticed["strace sees what libxml2 opens"] = any(
            one[0] == "strace" and one[2].endswith(name) for one in found
        )
    return noticed


#: Runs in every Python process of the gateway before anything else does.
_HOOK = f"""
import json, os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from tests.flows.hostile.outbound_watch import AUDITED
_out = os.open(os.environ["GATEWAY_OUTBOUND_HOOKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_busy = False
def _hook(event, args):
    global _busy
    if event in AUDITED and not _busy:
        _busy = True
        try:
            what = repr(args)[:300] if event.startswith("socket") else repr(args[:1])[1:-2][:300]
            os.write(_out, (json.dumps([time.time(), event, what]) + "\\n").encode())
        finally:
            _busy = False
sys.addaudithook(_hook)
"""

if __name__ == "__main__":
    main()
