"""Machines of the cluster: network namespaces behind one router, or addresses of the loopback device.

A machine is a folder, an address, and the prefix of its commands.  Every process of a machine has its
folder as working folder (PostgreSQL's has one below it), so that they are found again, whoever is
their parent.  The router drops what is cut by rules of routing: no packet filter is needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.paths import ROOT

__all__ = ["Machine", "Network", "find_processes", "say_why_no_disk", "say_why_no_namespaces"]

#: Where the suite itself is: clients, partners, and who looks at the databases.
WORLD = "world"


@dataclass
class Machine:
    """One machine: what runs in its folder is what runs on it."""

    name: str
    address: str
    folder: Path
    prefix: tuple[str, ...] = ()
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    has_disk: bool = False

    def start(
        self, log: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process on this machine; its output goes to a file of this name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{log}.log").open("ab") as output:
            child = subprocess.Popen(
                [*self.prefix, *command],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def run(self, command: Sequence[str]) -> None:
        """Run a command on this machine to its end; it must succeed."""
        words = [*self.prefix, *command]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")

    def signal(self, number: int, names: Iterable[str] = ()) -> int:
        """Send a signal to every process, or to those whose command has one of these words."""
        words = [name.encode() for name in names]
        hit = 0
        for pid in find_processes(self.folder):
            if not words or any(word in _read_command(pid) for word in words):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                    hit += 1
        return hit

    def kill(self, names: Iterable[str] = ()) -> int:
        """Kill every process (or those named) until there is none, and return how many there were."""
        names, killed = tuple(names), 0
        while hit := self.signal(signal.SIGKILL, names):
            killed += hit
            self.reap()
            time.sleep(0.05)
        self.reap()
        return killed

    def mount_disk(self, mebibytes: int) -> None:
        """Give this machine a small disk of its own, in memory."""
        self.folder.mkdir(parents=True, exist_ok=True)
        size = f"size={mebibytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "gateway-cluster", str(self.folder)], check=True)
        self.has_disk = True

    def unmount_disk(self) -> None:
        """Take the small disk away, if there is one."""
        if self.has_disk:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
            self.has_disk = False

    def reap(self) -> None:
        """Forget the children that have ended."""
        self.children = [child for child in self.children if child.poll() is None]


def find_processes(folder: Path) -> list[int]:
    """Return the processes whose working folder is this one or below it."""
    top, found = str(folder), []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            place = os.readlink(entry / "cwd").removesuffix(" (deleted)")
            if place == top or place.startswith(top + "/"):
                found.append(int(entry.name))
    return [pid for pid in found if not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _read_command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def say_why_no_namespaces() -> str:
    """Return why no network namespace can be made here; nothing when one can be."""
    name = f"gwc{os.getpid()}-try"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "the program ip (iproute2) is not installed"
    if made.returncode:
        return made.stderr.strip().splitlines()[-1] if made.stderr.strip() else "ip netns add failed"
    try:
        commands = (
            f"-n {name} link set lo up",
            f"-n {name} link add try0 type veth peer name try1",
            f"-n {name} rule add from 192.0.2.1 to 192.0.2.2 blackhole",
        )
        for words in commands:
            tried = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
            if tried.returncode:
                return f"ip {words}: {tried.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


def say_why_no_disk() -> str:
    """Return why no small disk can be mounted here; nothing when one can be."""
    with tempfile.TemporaryDirectory(prefix="gateway-cluster-disk-") as place:
        words = ["mount", "-t", "tmpfs", "-o", "size=1m", "gateway-cluster", place]
        tried = subprocess.run(words, capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            subprocess.run(["umount", place], check=False)
        return tried.stderr.strip()


class Network:
    """The machines by name; with `namespaces` each is in a network of its own, and links can be cut."""

    def __init__(self, folder: Path, names: Sequence[str], *, namespaces: bool) -> None:
        self.namespaces = namespaces
        self.folder = folder
        self._tag = f"gwc{os.getpid()}"
        self._octet = 64 + os.getpid() % 128
        self._cut: list[str] = []
        self._made: list[str] = []
        self.machines = {name: self._describe(name, number) for number, name in enumerate(names, 1)}
        self.world = self._address(len(names) + 1) if namespaces else "127.0.0.1"

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def _address(self, number: int, last: int = 2) -> str:
        return f"10.{self._octet}.{number}.{last}"

    def _describe(self, name: str, number: int) -> Machine:
        if not self.namespaces:
            return Machine(name, f"127.{self._octet}.{number}.2", self.folder / name)
        space = f"{self._tag}-{name}"
        return Machine(name, self._address(number), self.folder / name, ("ip", "netns", "exec", space))

    def open(self) -> None:
        """Make the router, a namespace for each machine, and the way from here to all of them."""
        if not self.namespaces:
            return
        router = f"{self._tag}-router"
        self._make_space(router)
        _ip("netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number, name in enumerate(self.machines, 1):
            space = f"{self._tag}-{name}"
            self._make_space(space)
            self._link(router, number, ("-n", space), "eth0")
            _ip("-n", space, "route", "add", "default", "via", self._address(number, 1))
        number = len(self.machines) + 1
        outside = f"{self._tag}w"
        self._link(router, number, (), outside)
        _ip("route", "add", f"10.{self._octet}.0.0/16", "via", self._address(number, 1), "dev", outside)

    def _make_space(self, space: str) -> None:
        _ip("netns", "add", space)
        self._made.append(space)
        _ip("-n", space, "link", "set", "lo", "up")

    def _link(self, router: str, number: int, where: Sequence[str], device: str) -> None:
        there = ("netns", where[1] if where else "1")
        _ip("-n", router, "link", "add", f"m{number}", "type", "veth", "peer", "name", device, *there)
        _ip("-n", router, "addr", "add", f"{self._address(number, 1)}/30", "dev", f"m{number}")
        _ip("-n", router, "link", "set", f"m{number}", "up")
        _ip(*where, "addr", "add", f"{self._address(number)}/30", "dev", device)
        _ip(*where, "link", "set", device, "up")

    def address_of(self, name: str) -> str:
        """Return the address of a machine or of the world."""
        return self.world if name == WORLD else self.machines[name].address

    def cut(self, sender: str, receiver: str, *selectors: str) -> None:
        """Drop every packet from one machine to another; `selectors` of ``ip rule`` let others pass."""
        rule = ("from", self.address_of(sender), "to", self.address_of(receiver), *selectors, "blackhole")
        _ip("-n", f"{self._tag}-router", "rule", "add", *rule)
        self._cut.append(" ".join(rule))

    def separate(self, here: Iterable[str], there: Iterable[str]) -> None:
        """Cut two groups of machines off from each other, in both directions."""
        there = tuple(there)
        for one in here:
            for other in there:
                self.cut(one, other)
                self.cut(other, one)

    def heal(self) -> None:
        """Let every packet pass again."""
        while self._cut:
            _ip("-n", f"{self._tag}-router", "rule", "del", *self._cut.pop().split())

    def close(self) -> None:
        """Kill what runs on any machine and remove every namespace."""
        for machine in self.machines.values():
            machine.signal(signal.SIGCONT)
            machine.kill()
            machine.unmount_disk()
        while self._made:
            subprocess.run(["ip", "netns", "del", self._made.pop()], check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
