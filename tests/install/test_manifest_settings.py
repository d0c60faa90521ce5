"""Each path of the settings of the manifests lies where it outlives the pod, or may be lost with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.config import load_settings
from gateway.config.settings import Settings
from tests.kit.pods import MANIFESTS, Pod, PodMaker, read_manifests

#: The files of the secret and of the config map that a person makes, by the name of their volume.
_VOLUMES = {"secrets": "generic gateway", "trust": "configmap gateway-trust"}
_WORDS = {
    "HUB_NAME": "hub.example",
    "CONSOLE_NAME": "console.example",
    "API_NAME": "api.example",
    "FRONT_ADDRESS": "192.0.2.10",
}
_BUCKET_WORDS = {"BUCKET_NAME": "payloads", "BUCKET_SERVER": "s3.example", "BUCKET_REGION": "eu-central-1"}
#: What may be in a folder that is gone with its pod, and why.
_MAY_BE_EMPTY = {
    "delivery.alive_folder": "it speaks of the processes of this pod alone",
    "payloads.folder": "with a bucket it has what arrives, and that is acknowledged when it is in the bucket",
    "hub.home": "in a job: a verb reads the mark of the database, and keeps none",
}
_WORKLOADS = ("serve", "work", "console", "api", "migrate", "new")


def find_files_to_make(volume: str) -> set[str]:
    """Return the names of the files that the head of the manifests tells a person to put into a volume."""
    text = "\n".join(file.read_text("utf-8") for file in MANIFESTS).replace("\\\n#", "")
    (words,) = re.findall(rf"kubectl create (?:secret )?{_VOLUMES[volume]} (.*)", text)
    return set(re.findall(r"--from-file=(\S+)", words))


def make_pod(folder: Path, role: str, *, has_shared_folder: bool) -> Pod:
    files = {volume: dict.fromkeys(find_files_to_make(volume), b"") for volume in _VOLUMES}
    files["secrets"]["database.url"] = b"postgresql://gateway@192.0.2.1/gateway"
    words = _WORDS | ({} if has_shared_folder else _BUCKET_WORDS)
    maker = PodMaker(folder, words, files, has_shared_folder=has_shared_folder)
    return maker.make_pod(f"gateway-{role}")


def walk_paths(values: Any, name: str = "") -> Iterator[tuple[str, Path]]:
    """Yield each path in the values of settings, with the name of its key."""
    if isinstance(values, Path):
        yield name, values
    elif isinstance(values, BaseModel):
        for key in type(values).model_fields:
            yield from walk_paths(getattr(values, key), f"{name}.{key}".strip("."))
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from walk_paths(value, f"{name}.{key}")
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from walk_paths(value, name)


def find_lost_paths(pod: Pod, settings: Settings) -> Iterator[str]:
    """Yield each key whose path is gone with the pod, or is a file that nobody makes."""
    for key, found in walk_paths(settings):
        path = pod.get_path_in_container(found)
        volume = pod.find_volume(path)
        if "configMap" in volume or "secret" in volume:
            if not found.is_file():
                yield f"{key}: nobody makes {path}"
        elif "volumeClaimTemplate" in volume:
            # A volume of this pod alone is for what the hub itself writes, and for no file of a person.
            if key != "hub.home":
                yield key
        elif "persistentVolumeClaim" not in volume:
            yield key


@pytest.mark.parametrize("has_shared_folder", [False, True], ids=["bucket", "shared folder"])
@pytest.mark.parametrize("role", _WORKLOADS)
def test_each_path_of_the_settings_outlives_the_pod(
    tmp_path: Path, role: str, has_shared_folder: bool
) -> None:
    pod = make_pod(tmp_path, role, has_shared_folder=has_shared_folder)
    settings = load_settings(pod.settings_file)
    may_be_empty = {
        "delivery.alive_folder": True,
        "payloads.folder": not has_shared_folder,
        "hub.home": role in ("migrate", "new"),
    }
    assert set(may_be_empty) == set(_MAY_BE_EMPTY)
    assert set(find_lost_paths(pod, settings)) == {key for key, is_so in may_be_empty.items() if is_so}
    assert bool(settings.payloads.s3.bucket) is not has_shared_folder
    if has_shared_folder:
        claim = pod.find_volume("/var/lib/gateway/payloads")["persistentVolumeClaim"]["claimName"]
        (made,) = (one for one in read_manifests(has_shared_folder=True) if one["metadata"]["name"] == claim)
        assert made["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("role", ["serve", "migrate"])
def test_a_default_of_the_settings_is_noticed_where_the_manifest_forgets_it(
    tmp_path: Path, role: str
) -> None:
    pod = make_pod(tmp_path, role, has_shared_folder=False)
    text = pod.settings_file.read_text()
    for line in (r"anchors = .*\n", r"crls = .*\n", r"webhook_key = .*\n", r"folder = .*\n"):
        text, count = re.subn(f"(?m)^{line}", "", text)
        assert count, line
    pod.settings_file.write_text(text)
    lost = set(find_lost_paths(pod, load_settings(pod.settings_file)))
    assert lost >= {"pki.anchors", "pki.crls", "api.webhook_key", "payloads.folder"}


def test_only_these_words_in_capitals_are_to_be_replaced() -> None:
    for has_shared_folder in (False, True):
        found = {
            word
            for document in read_manifests(has_shared_folder=has_shared_folder)
            for word in re.findall(r"\b[A-Z]+_[A-Z]+\b", str(document))
        }
        expected = {*_WORDS} | ({"STORAGE_CLASS"} if has_shared_folder else {*_BUCKET_WORDS})
        assert found == expected


@pytest.mark.parametrize("role", ["serve", "console", "api"])
def test_a_pod_listens_where_its_probes_ask(tmp_path: Path, role: str) -> None:
    pod = make_pod(tmp_path, role, has_shared_folder=False)
    settings = load_settings(pod.settings_file)
    listener = {"serve": settings.http, "console": settings.console, "api": settings.api}[role]
    (port,) = pod.container["ports"]
    # Every address: the probes and the service come to that of the pod.
    assert listener.host == str(IPv4Address(0))
    assert listener.port == port["containerPort"]
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        assert pod.container[kind]["httpGet"]["port"] == port["name"]


def test_all_pods_have_the_same_settings_and_the_same_payloads(tmp_path: Path) -> None:
    for has_shared_folder in (False, True):
        folder = tmp_path / str(has_shared_folder)
        pods = [make_pod(folder, role, has_shared_folder=has_shared_folder) for role in _WORKLOADS]
        for mount in ("/etc/gateway/settings", "/etc/gateway/trust", "/run/secrets/gateway"):
            assert len({str(pod.find_volume(mount)) for pod in pods}) == 1
        assert len({str(pod.find_volume("/var/lib/gateway/payloads")) for pod in pods}) == 1
        homes = {pod.name for pod in pods if "emptyDir" in pod.find_volume("/srv/gateway")}
        assert homes == {"gateway-migrate-0", "gateway-new-0"}
