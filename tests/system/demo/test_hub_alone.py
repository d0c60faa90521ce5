"""A hub and a client on a machine that has `gateway` only, without the packages beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.kit.paths import ROOT
from tests.kit.town import Town
from tests.kit.waiting import until

#: The other packages of the distribution.
BESIDE = ("gateway_conformance", "gateway_workbench")
SAMPLE = ROOT / "conformance/samples/import-three-items.xml"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python with all libraries that has of this distribution the package `gateway` alone."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, symlinks=True, with_pip=False)
    place = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for library in Path(sysconfig.get_path("purelib")).iterdir():
        if library.name not in {"gateway", *BESIDE} and "singlewindow" not in library.name:
            (place / library.name).symlink_to(library)
    (place / "gateway").symlink_to(ROOT / "gateway")
    return folder / "bin" / "python"


def run(python: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a verb from a folder in which there is nothing to import."""
    command = [python, "-m", "gateway", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=python.parent, env=alone()
    )


def alone() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@contextmanager
def running_hub(python: Path, town: Town) -> Iterator[None]:
    """Run the hub of a town until the block ends; it must end by the signal, and well."""
    with (town.home / "alone.log").open("wb") as log:
        command = [python, "-m", "gateway", "run", "--home", town.home]
        hub = subprocess.Popen(command, stdout=log, stderr=log, cwd=python.parent, env=alone())

        def is_ready() -> bool:
            assert hub.poll() is None, (town.home / "alone.log").read_text()
            try:
                with urlopen(f"{town.hub_url}/status/ready", timeout=5) as answer:
                    return answer.status == 200
            except (URLError, ConnectionError, TimeoutError):
                return False

        try:
            until(is_ready)
            yield
        finally:
            hub.send_signal(signal.SIGTERM)
            assert hub.wait(60) == 0, (town.home / "alone.log").read_text()


def test_the_command_line_has_the_verbs_of_the_product_alone(python: Path) -> None:
    for package in BESIDE:
        probe = [python, "-c", f"import gateway, {package}"]
        absent = subprocess.run(
            probe, capture_output=True, text=True, check=False, cwd=python.parent, env=alone()
        )
        assert f"No module named '{package}'" in absent.stderr
    front = run(python, "--help")
    assert front.returncode == 0
    assert "\n  submit " in front.stdout
    assert "\n  check " in front.stdout
    for verb in ("demo", "practice", "conformance"):
        assert verb not in front.stdout
        refused = run(python, verb)
        assert refused.returncode == 2
        assert f"GW808 there is no verb '{verb}'" in refused.stderr
    listed = run(python, "map", "--help")
    assert "\n  check " in listed.stdout
    assert "import" not in listed.stdout
    refused = run(python, "map", "import", "inventory.yaml", "--out", "mappings")
    assert refused.returncode == 2
    # The tables of the profiles belong to the product.
    probe = [
        python,
        "-c",
        "from gateway.agreements.as4.profile_tables import *; read_profile(list_profiles()[0])",
    ]
    subprocess.run(probe, check=True, cwd=python.parent, env=alone())


@pytest.mark.long
def test_a_hub_serves_a_submission_from_the_receipt_to_the_result(python: Path, tmp_path: Path) -> None:
    town = Town(tmp_path / "town", f"sqlite:///{tmp_path / 'gateway.sqlite3'}")
    town.start_partners(KPTA={"behaviour": "immediate"}, NPQS={"behaviour": "immediate"})
    try:
        with running_hub(python, town):
            checked = run(python, "check", "--home", town.home)
            assert checked.returncode == 0, checked.stdout + checked.stderr
            partner = ("--as", "broker", "--partner", town.get_partner_folder("broker"), "--to", town.url)
            sent = run(python, "submit", SAMPLE, *partner, "--wait", "0", "--json")
            assert sent.returncode == 0, sent.stdout + sent.stderr
            assert json.loads(sent.stdout)["receipt_verified"] is True
            until(lambda: any(row["action"] == "Result" for row in town.received()))
        assert town.refusals() == []
    finally:
        town.close()
