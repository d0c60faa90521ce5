"""``python -m tests.load.beside_phase4 --vectors DIR``: our hub and phase4 in one run, in turns.

Both run all the time; one is sent messages while the other is idle. A batch begins when nothing is left to do
of the one before, for which Java takes a second. Ours is durable; phase4 keeps nothing.
Prints messages a second of both, the ratio, and the receive path beside its floor. Needs Java 17 and Maven.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tests.kit.paths import ROOT
from tests.load import as4_receiving
from tests.load.as4_receiving import AGREEMENT, As4Broker, agree
from tests.load.as4_serving import frame_message
from tests.load.encrypted import Encrypting, set_up_encryption
from tests.load.generator import write_frames
from tests.load.place import Place, make_place
from tests.load.serving import KEEP, PAYLOAD, Load, describe_rate, gateway
from tests.load.stopwatch import machine, say, tree_cpu
from tests.system.interop.phase4 import build_phase4

#: Each kind with what phase4 is told to send, and how many times as fast as phase4 we have to be.
KINDS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "signed": ((), 3.0),
    "encrypted": (("--encrypt", "yes", "--peer-cert", "phase4-peer.pem"), 2.0),
}
SECRET = AGREEMENT.replace(
    b"  compression: none ",
    b"  encryption: {algorithms: [aes128-gcm, rsa-oaep]}\n  compression: none ",
)
_FLOOR_RATIO = 2.0
#: A side is idle when it uses no more than this part of a processor for so many seconds; the longest wait.
_IDLE = 0.05
_REST = 0.4
_LONGEST_REST = 20.0


class SecretBroker(Encrypting, As4Broker):
    """A broker that encrypts what it sends by AS4."""

    algorithms = ("aes128-gcm", "rsa-oaep")


@dataclass
class Side:
    """One of both: where it serves, by which process, its batches, and what came of them."""

    name: str
    port: int
    pid: int
    files: list[Path]
    rates: list[float] = field(default_factory=list)
    refused: int = 0
    connected: int = 0

    def send(self, number: int, connections: int) -> float:
        """Send one batch; return the messages a second."""
        words = [str(self.files[number]), str(self.port), str(connections), "600", str(KEEP)]
        program = [sys.executable, "-m", "tests.load.generator", *words]
        done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        report = json.loads(done.stdout)
        if report["refused"]:
            say(f"{self.name}: an answer that is no receipt:\n{report['refused'][0]}")
        self.refused += len(report["moments"]) - report["receipted"]
        self.connected += report["connected"]
        return float(describe_rate([report], Load(warm_up=0))["http_messages_per_s"])


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print one JSON object; return 1 where a ratio is not reached."""
    arguments = _parse_arguments(words)
    program = build_phase4(arguments.vectors)
    folder = Path(tempfile.mkdtemp(prefix="gateway-beside-", dir=arguments.folder))
    found: dict[str, Any] = {"machine": machine(folder)}
    try:
        for kind in arguments.only or KINDS:
            found[kind] = _compare_kind(kind, program, folder / kind, arguments)
        floor = as4_receiving.measure(make_place(folder / "floor"), arguments.samples)
        found["receive"] = {**floor, "wanted": _FLOOR_RATIO, "reached": floor["as4_ratio"] <= _FLOOR_RATIO}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=1, default=float))
    return 0 if all(one["reached"] for name, one in found.items() if name != "machine") else 1


def _parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.beside_phase4", description=__doc__)
    parser.add_argument("--vectors", type=Path, required=True, help="the folder with peers/phase4")
    parser.add_argument("--only", action="append", choices=tuple(KINDS), help="only this kind; repeatable")
    parser.add_argument("--rounds", type=int, default=5, help="batches of each side that count")
    parser.add_argument("--messages", type=int, default=800, help="messages of one batch")
    parser.add_argument("--warm-up", type=int, default=4000, help="messages before, until Java is warm")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--samples", type=int, default=600, help="messages beside the floor")
    parser.add_argument("--folder", default=None, help="where the files are put: a real disk, not memory")
    return parser.parse_args(words)


def _compare_kind(kind: str, program: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    flags, wanted = KINDS[kind]
    sizes = [arguments.warm_up, *[arguments.messages] * arguments.rounds]
    folder.mkdir()
    keys = folder / "keys"
    subprocess.run([program / "make_keys.sh", keys], check=True, capture_output=True)
    chosen = tuple(str(keys / one) if one.endswith(".pem") else one for one in flags)
    say(f"{kind}: {sum(sizes)} messages of {PAYLOAD} octets for each side")
    theirs = _write_batches(
        folder / "theirs", _build_their_messages(program, keys, folder, sum(sizes), chosen), sizes
    )
    place = make_place(folder / "ours")
    ours = _write_batches(folder / "our", _seal_messages(place, kind, sum(sizes)), sizes)
    with gateway(place) as pid, _serve_phase4(program, keys, folder) as (port, their_pid):
        sides = (Side("gateway", place.port, pid, ours), Side("phase4", port, their_pid, theirs))
        restless = 0
        for number in range(len(sizes)):
            # The other one first every second time: what else the machine does hits both alike.
            for side in sides if number % 2 else reversed(sides):
                rests = _wait_until_idle(sides)
                restless += not rests
                rate = side.send(number, arguments.connections)
                say(f"{kind}: {side.name} {'warm-up' if number == 0 else number}: {rate:.0f} messages/s")
                if number:
                    side.rates.append(rate)
    rates = {side.name: statistics.median(side.rates) for side in sides}
    ratio = rates["gateway"] / rates["phase4"]
    return {
        **{f"{name}_messages_per_s": round(rate, 1) for name, rate in rates.items()},
        **{f"{side.name}_each": [round(one, 1) for one in side.rates] for side in sides},
        "not_receipted": {side.name: side.refused for side in sides},
        "ratio": round(ratio, 2),
        "wanted": wanted,
        "connected_again": {side.name: side.connected for side in sides},
        "begun_without_rest": restless,
        "reached": ratio >= wanted and not restless and not any(side.refused for side in sides),
    }


def _wait_until_idle(sides: Sequence[Side]) -> bool:
    """Wait until neither side works any more; return False where one does not rest.

    What a side does after its batch is no part of the next batch.
    """
    end = time.monotonic() + _LONGEST_REST
    while time.monotonic() < end:
        before = [tree_cpu(side.pid) for side in sides]
        time.sleep(_REST)
        if all(tree_cpu(side.pid) - used <= _IDLE * _REST for side, used in zip(sides, before, strict=True)):
            return True
    say("a side does not rest")
    return False


def _write_batches(path: Path, frames: Iterator[tuple[str, bytes]], sizes: Sequence[int]) -> list[Path]:
    files = [path.with_suffix(f".{number}") for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        write_frames(file, islice(frames, size))
    return files


def _seal_messages(place: Place, kind: str, count: int) -> Iterator[tuple[str, bytes]]:
    broker = As4Broker(place)
    if kind == "encrypted":
        secret = SecretBroker(place)
        secret.key, broker = set_up_encryption(place, SECRET), secret
    else:
        agree(place)
    return (frame_message(broker.seal_store(PAYLOAD)) for _ in range(count))


def _build_their_messages(
    program: Path, keys: Path, folder: Path, count: int, flags: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    """Yield messages that phase4 has built, each with another number in its payload."""
    token, source, made = "@" * 10, folder / "payload.xml", folder / "messages"
    row = "<item><code>0101.21</code><quantity unit='KGM'>1250.5</quantity><origin>NZ</origin></item>"
    source.write_text(f"<goods id='{token}'>{row * (PAYLOAD // len(row))}</goods>")
    words = ["send", "--build-only", "--quiet", "--count", str(count), "--parallel", "2", "--dump", made]
    words += ["--payload", source, "--number-token", token, *_name_keys(keys, "gateway"), *flags]
    subprocess.run([program / "phase4-peer", *words], check=True)
    for file in sorted(made.iterdir()):
        name = file.name.removesuffix(".http").partition("-")[2]
        yield name, b"POST /as4 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + file.read_bytes()
        file.unlink()


def _name_keys(keys: Path, party: str) -> list[str]:
    own = ["--keystore", str(keys / f"{party}.p12"), "--keystore-password", "secret", "--alias", party]
    return [*own, "--truststore", str(keys / "trust.p12")]


@contextmanager
def _serve_phase4(program: Path, keys: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Yield its port and the number of its process."""
    words = ["serve", "--port", "0", "--no-store", *_name_keys(keys, "phase4-peer")]
    with (folder / "phase4.log").open("wb") as log:
        command = [program / "phase4-peer", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                assert process.stdout is not None
                ready = process.stdout.readline().split()
                if ready[:1] != ["READY"]:
                    raise RuntimeError(f"phase4 did not start: {(folder / 'phase4.log').read_text()[-2000:]}")
                yield int(ready[1]), process.pid
            finally:
                process.terminate()


if __name__ == "__main__":
    sys.exit(main())
