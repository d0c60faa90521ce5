"""Sees what a process opens and whom it calls: audit events of Python, and canaries for what C does unseen.

libxml2 opens files and sockets without a word to Python's audit hooks.  Hence canaries: a
file that inotify watches, and a listener that counts who comes.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["AUDITED", "Canaries", "Ear", "foreign"]

#: Events by which Python code reaches files, the net, other programs and other code.
AUDITED = frozenset(
    {
        *(
            "open",
            "os.listdir",
            "os.scandir",
            "os.chdir",
            "os.rename",
            "os.remove",
            "os.mkdir",
            "os.link",
            "os.symlink",
        ),
        *(
            "socket.connect",
            "socket.getaddrinfo",
            "socket.gethostbyname",
            "socket.gethostbyaddr",
            "socket.sendto",
        ),
        *(
            "socket.bind",
            "socket.sendmsg",
            "subprocess.Popen",
            "os.exec",
            "os.posix_spawn",
            "os.spawn",
            "os.system",
        ),
        *(
            "os.fork",
            "os.forkpty",
            "pty.spawn",
            "import",
            "ctypes.dlopen",
            "urllib.Request",
            "http.client.connect",
        ),
        *(
            "ftplib.connect",
            "smtplib.connect",
            "sqlite3.connect",
            "shutil.copyfile",
            "tempfile.mkstemp",
            "tempfile.mkdtemp",
        ),
        *("pickle.find_class", "webbrowser.open"),
    }
)
_IN_ACCESS, _IN_OPEN, _IN_NONBLOCK = 0x1, 0x20, 0o4000


class Ear:
    """Hears the audit events of this process while it listens; a hook cannot be taken away again.

    Without `hears_all_threads` it hears the thread alone that lets it listen: a hub that another test keeps
    open in the same process has threads that go on with their work.
    """

    def __init__(self, *, hears_all_threads: bool = True) -> None:
        self.heard: list[tuple[str, str]] = []
        self._listening = False
        self._hears_all_threads = hears_all_threads
        self._thread_id = 0
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        is_heard_thread = self._hears_all_threads or threading.get_ident() == self._thread_id
        if self._listening and event in AUDITED and is_heard_thread:
            self._listening = False  # what the words of an argument cost is not listened to
            try:
                self.heard.append((event, repr(args[:1])[1:-2][:300] if args else ""))
            finally:
                self._listening = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        self._thread_id = threading.get_ident()
        self._listening = True
        try:
            yield
        finally:
            self._listening = False


def foreign(event: str, what: str, home: str) -> bool:
    """Tell whether an event is anything but the database, or one of its marks, being used, in `home`."""
    path = what.strip("'\"").removeprefix("b'")
    if event == "open" and path.isdigit():
        return False  # a descriptor: what it was opened for was heard then
    file_name = path.rpartition("/")[2] if path.startswith(home) else ""
    is_mark = file_name.startswith(("acknowledged.json", "database-mark")) and event in ("open", "os.rename")
    return not (is_mark or (event in ("open", "sqlite3.connect") and ".sqlite" in file_name))


@dataclass
class Canaries:
    """A file, a folder and a listener that nobody has a reason to touch."""

    folder: Path
    callers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = self.folder / "canary.xml"
        self.file.write_text("<canary/>", encoding="utf-8")
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._answer, daemon=True).start()
        library = ctypes.CDLL(None, use_errno=True)
        self._notes = library.inotify_init1(_IN_NONBLOCK)
        for path in (self.folder, self.file):
            watched = library.inotify_add_watch(self._notes, os.fsencode(path), _IN_ACCESS | _IN_OPEN)
            if self._notes < 0 or watched < 0:
                raise OSError(ctypes.get_errno(), "no inotify")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the names by which messages ask for a canary; the last host exists nowhere."""
        local = f"127.0.0.1:{self.port}"
        return (
            self.file.as_uri(),
            str(self.file),
            f"http://{local}/canary.xml",
            f"https://{local}/canary.xml",
            f"ftp://{local}/canary.xml",
            "http://canary.invalid/canary.xml",
            f"\\\\{local}\\canary.xml",
        )

    def some(self, every: int) -> tuple[str, ...]:
        """Return all addresses, or where not every case is played a file and a listener."""
        return self.addresses if every == 1 else (self.addresses[0], self.addresses[2])

    def touched(self) -> list[str]:
        """Return who touched a canary since the last time that this was asked."""
        found = [f"connection from {one}" for one in self.callers]
        self.callers.clear()
        try:
            octets = os.read(self._notes, 1 << 16)
        except BlockingIOError:
            return found
        position = 0
        while position < len(octets):
            _, mask, _, length = struct.unpack_from("iIII", octets, position)
            name = octets[position + 16 : position + 16 + length].rstrip(b"\0").decode()
            found.append(f"{'opened' if mask & _IN_OPEN else 'read'} {name or self.file.name}")
            position += 16 + length
        return found

    def close(self) -> None:
        self._server.close()
        os.close(self._notes)

    def _answer(self) -> None:
        while True:
            try:
                connection, peer = self._server.accept()
            except OSError:
                return
            self.callers.append(f"{peer[0]}:{peer[1]}")
            connection.close()
