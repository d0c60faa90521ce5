"""Each file of the folder `install` is judged by its own tool, and says what the program understands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import __version__
from gateway.share import get_data_folder
from tests.kit.paths import MANUAL, ROOT
from tests.kit.pods import MANIFESTS, read_manifests
from tests.test_named_commands import check_command

INSTALL = ROOT / "gateway" / "share" / "install"
UNITS = sorted((INSTALL / "systemd").iterdir())


def run(*words: str) -> str:
    """Run a tool that must be here, and return what it says; it must find nothing wrong."""
    beside = Path(sys.executable).with_name(words[0])
    program = str(beside) if beside.exists() else shutil.which(words[0])
    assert program, f"{words[0]} is not installed; .ci/run installs it"
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the commands that the files start."""
    for unit in UNITS:
        (line,) = re.findall(r"^ExecStart=/opt/gateway/bin/gateway (.*)$", unit.read_text(), re.MULTILINE)
        yield unit.name, line.split()
    for document in read_manifests():
        spec = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in spec.get("containers", ()):
            yield document["metadata"]["name"], container["args"]
    (line,) = re.findall(r"^CMD (.*)$", (INSTALL / "Containerfile").read_text(), re.MULTILINE)
    yield "Containerfile", json.loads(line)


@pytest.mark.parametrize(("where", "words"), list(commands()))
def test_what_is_started_is_a_verb_with_its_options(where: str, words: list[str]) -> None:
    assert len(words) > 2, where
    check_command(" ".join(["gateway", *words]), whole=True)


def test_a_new_hub_is_made_by_one_unit_and_one_manifest_alone() -> None:
    makes = {where for where, words in commands() if "--new" in words}
    assert makes == {"gateway-new.service", "gateway-new"}


def test_each_part_of_a_node_has_a_unit_that_is_started_as_often_as_it_ends() -> None:
    started: dict[str, dict[str, str]] = {}
    for unit in UNITS:
        lines = unit.read_text().splitlines()
        found = dict(line.split("=", 1) for line in lines if re.match("[A-Z][A-Za-z]+=", line))
        if found["Type"] != "oneshot":
            assert lines.index("StartLimitIntervalSec=0") < lines.index("[Service]"), unit.name
            started[found["ExecStart"].split()[1]] = found
    assert set(started) == {"serve", "work", "console", "api"}
    for found in started.values():
        assert (found["Restart"], found["OOMPolicy"], found["KillMode"]) == ("always", "continue", "mixed")


def test_the_manual_says_where_the_folder_is() -> None:
    page = (MANUAL / "cluster.md").read_text(encoding="utf-8")
    (words,) = re.findall(r'^python -c "(.*)"$', page, re.MULTILINE)
    told = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()) == INSTALL
    named = set(re.findall(r"`((?:[a-z]+/)?[A-Za-z]+\.(?:env|yml|yaml|cfg)|Containerfile)`", page))
    assert {name for name in named if not (INSTALL / name).is_file()} == set()


def test_the_folder_is_found_as_data() -> None:
    found = {one.name for one in get_data_folder("install").iterdir()}
    assert found == {"Containerfile", "etcd.env", "haproxy.cfg", "kubernetes", "patroni.yml", "systemd"}


def test_the_version_is_that_of_the_program() -> None:
    images = {
        container["image"]
        for document in read_manifests()
        for container in document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ())
    }
    assert images == {f"gateway:{__version__}"}
    assert f"singlewindow_gateway-{__version__}-py3" in (INSTALL / "Containerfile").read_text()


@pytest.mark.long
def test_systemd_finds_nothing_wrong_in_its_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # The program is not installed where the tests run.
        name = unit.name.replace("@.", "@1.")
        (tmp_path / name).write_text(unit.read_text().replace("/opt/gateway/bin/gateway", "/bin/true"))
    told = run("systemd-analyze", "verify", "--man=no", *(str(one) for one in sorted(tmp_path.iterdir())))
    assert not told.strip()
    wrong = tmp_path / "gateway-serve.service"
    wrong.write_text(wrong.read_text().replace("NoNewPrivileges=yes", "NoNewPrivileges=perhaps"))
    judged = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(wrong)], capture_output=True, text=True, check=False
    )
    assert "perhaps" in judged.stderr


@pytest.mark.long
def test_hadolint_finds_nothing_wrong_in_the_container_file() -> None:
    assert not run("hadolint", str(INSTALL / "Containerfile")).strip()


@pytest.mark.long
def test_the_manifests_follow_the_schemas_of_kubernetes(tmp_path: Path) -> None:
    file = INSTALL / "kubernetes" / "gateway.yaml"
    told = run("kubernetes-validate", "--strict", *(str(one) for one in MANIFESTS))
    assert told.count("passed for resource") == len(read_manifests())
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(file.read_text().replace("replicas: 3", "replica: 3"))
    judge = Path(sys.executable).with_name("kubernetes-validate")
    words = [str(judge) if judge.exists() else "kubernetes-validate", "--strict", str(wrong)]
    assert subprocess.run(words, capture_output=True, check=False).returncode != 0
