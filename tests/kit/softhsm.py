"""A PKCS#11 token made of files (SoftHSM 2), which a test can pull and put back."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.pki import PrivateKey, TokenKeyLocation, encode_key_pem

__all__ = ["SoftHsm"]

_PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
_NUMBERS = itertools.count(1)
PIN = b"1234"
SO_PIN = "56785678"


def module() -> str:
    """Return the library; SoftHSM 2 is one of the packages that tests need."""
    found = next((place for place in _PLACES if Path(place).exists()), None)
    assert found, "SoftHSM 2 is not installed: apt-get install softhsm2"
    return found


@dataclass(frozen=True)
class SoftHsm:
    """One token in a folder of its own; the process finds it by the variable SOFTHSM2_CONF."""

    folder: Path
    label: str

    @classmethod
    def make(cls, folder: Path, monkeypatch: pytest.MonkeyPatch, label: str = "") -> SoftHsm:
        """Make a token, and let this process see no other."""
        # No two alike: a process remembers the sessions it has with the tokens it saw.
        made = cls(folder, label or f"hub {next(_NUMBERS)}")
        made.tokens.mkdir(parents=True)
        made.conf.write_text(
            f"directories.tokendir = {made.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        monkeypatch.setenv("SOFTHSM2_CONF", str(made.conf))
        made._tool("--init-token", "--free", "--label", made.label, "--pin", PIN.decode(), "--so-pin", SO_PIN)
        return made

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def conf(self) -> Path:
        return self.folder / "softhsm2.conf"

    def key(self, label: str = "signing") -> TokenKeyLocation:
        """Return where a key of this token is."""
        return TokenKeyLocation(module(), self.label, label)

    def put(self, key: PrivateKey, label: str = "signing", number: str = "01") -> None:
        """Put a private key into the token."""
        file = self.folder / "key.pem"
        file.write_bytes(encode_key_pem(key))
        self._tool(
            "--import",
            str(file),
            "--token",
            self.label,
            "--label",
            label,
            "--id",
            number,
            "--pin",
            PIN.decode(),
        )
        file.unlink()

    def pull(self) -> None:
        """Take the token away, as it is."""
        self.tokens.rename(self.folder / "pulled")
        self.tokens.mkdir()

    def put_back(self) -> None:
        """Put the token back that was pulled."""
        shutil.rmtree(self.tokens)
        (self.folder / "pulled").rename(self.tokens)

    def _tool(self, *arguments: str) -> None:
        environment = {**os.environ, "SOFTHSM2_CONF": str(self.conf)}
        words = ["softhsm2-util", "--module", module(), *arguments]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
