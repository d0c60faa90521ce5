"""Pods as the shipped Kubernetes manifests describe them, made of folders and processes of this machine.

Each pod has a root folder, in which its volumes are where the manifest mounts them. A volume that outlives
the pod is a folder beside it. The paths of arguments, settings and probes begin with the root folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.kit.paths import ROOT

__all__ = ["MANIFESTS", "Pod", "PodMaker", "read_manifests"]

MANIFESTS = sorted((ROOT / "gateway" / "share" / "install" / "kubernetes").iterdir())
#: The volume of a container path that no volume has.
_IMAGE: dict[str, Any] = {"image": {}}


def read_manifests(*, has_shared_folder: bool = False) -> list[dict[str, Any]]:
    """Return the documents of all manifests, changed for a shared folder by the command that they name."""
    texts = [file.read_text("utf-8") for file in MANIFESTS]
    if has_shared_folder:
        (words,) = re.findall(r"^#   sed (-e .*) -i settings\.yaml", "\n".join(texts), re.MULTILINE)
        command = f"sed {words}"
        texts = [
            subprocess.run(
                ["sh", "-c", command], input=one, capture_output=True, text=True, check=True
            ).stdout
            for one in texts
        ]
    return [one for text in texts for one in yaml.safe_load_all(text)]


@dataclass
class Pod:
    """One pod: its root folder, its container, and its volumes by the path where each is mounted."""

    name: str
    root: Path
    container: dict[str, Any]
    volumes: dict[str, dict[str, Any]]
    claims: list[Path] = field(default_factory=list)

    def find_volume(self, path: Path | str) -> dict[str, Any]:
        """Return the volume in which a path of the container lies."""
        mounts = [one for one in self.volumes if Path(path).is_relative_to(one)]
        return self.volumes[max(mounts, key=len)] if mounts else _IMAGE

    def translate(self, text: str) -> str:
        """Return a text in which the paths of the container are those of this machine."""
        mounts = "|".join(map(re.escape, sorted(self.volumes, key=len, reverse=True)))
        return re.sub(rf"(?<![\w./-])(?:{mounts})(?![\w.-])", lambda found: f"{self.root}{found[0]}", text)

    def get_path_in_container(self, path: Path) -> Path:
        """Return what a path of this machine is called in the container."""
        return Path("/", path.relative_to(self.root))

    @property
    def settings_file(self) -> Path:
        """The settings file that the arguments name."""
        words = self.container["args"]
        return Path(self.translate(words[words.index("--config") + 1]))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the gateway in this pod; without words that of the manifest."""
        command = self._get_command(*words)
        return subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False, timeout=180
        )

    @contextmanager
    def start(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run what the manifest says until the block ends; the log is beside the root folder."""
        with self.root.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                self._get_command(), cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(60)

    def probe(self, kind: str = "livenessProbe") -> int:
        """Run the command of a probe; return its exit status."""
        words = [self.translate(word) for word in self.container[kind]["exec"]["command"]]
        return subprocess.run(words, check=False, capture_output=True, timeout=60).returncode

    def remove(self) -> None:
        """Remove the pod with all its folders, and the volumes that are its own."""
        for folder in (*self.claims, self.root):
            shutil.rmtree(folder, ignore_errors=True)

    def _get_command(self, *words: str) -> list[str]:
        given = [*words, "--config", str(self.settings_file)]
        if not words:
            given = [self.translate(word) for word in self.container["args"]]
        return [sys.executable, "-m", "gateway", *given]

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.root / "tmp")}


@dataclass
class PodMaker:
    """Makes the pods of the manifests below a folder.

    `words` has the words in capitals with their values, `files` the files of the secret and of the config map
    that are not in the manifests, by the name of the volume. `more_settings` is added to the settings.
    """

    folder: Path
    words: Mapping[str, str]
    files: Mapping[str, Mapping[str, bytes]]
    more_settings: str = ""
    has_shared_folder: bool = False

    def make_pod(self, name: str, number: int = 0, changes: Mapping[str, str] | None = None) -> Pod:
        """Return a new pod of the workload `name`; `changes` replaces lines of its settings."""
        documents = read_manifests(has_shared_folder=self.has_shared_folder)
        (document,) = (
            one for one in documents if one["metadata"]["name"] == name and "template" in one.get("spec", {})
        )
        spec = document["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        by_name = {one["name"]: one for one in spec["volumes"]}
        for claim in document["spec"].get("volumeClaimTemplates", ()):
            home = claim["metadata"]["name"]
            by_name[home] = {"name": home, "volumeClaimTemplate": claim["spec"]}
        volumes = {one["mountPath"]: by_name[one["name"]] for one in container["volumeMounts"]}
        pod = Pod(f"{name}-{number}", self.folder / f"{name}-{number}", container, volumes)
        maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
        for mount, volume in volumes.items():
            place = self._mount(pod, mount, volume)
            for file, text in maps.get(volume.get("configMap", {}).get("name"), {}).items():
                (place / file).write_text(pod.translate(self._fill(text, changes or {})))
        return pod

    def _mount(self, pod: Pod, mount: str, volume: Mapping[str, Any]) -> Path:
        """Make the folder of a volume, with its files, and return where the pod sees it."""
        place = Path(f"{pod.root}{mount}")
        place.parent.mkdir(parents=True, exist_ok=True)
        name = pod.name if "volumeClaimTemplate" in volume else ""
        if "persistentVolumeClaim" in volume:
            name = volume["persistentVolumeClaim"]["claimName"]
        if name:
            claim = self.folder / "claims" / name
            claim.mkdir(parents=True, exist_ok=True)
            place.symlink_to(claim)
            if name == pod.name:
                pod.claims.append(claim)
            return place
        place.mkdir()
        for file, content in self.files.get(volume["name"], {}).items():
            (place / file).write_bytes(content)
            (place / file).chmod(0o600)
        return place

    def _fill(self, text: str, changes: Mapping[str, str]) -> str:
        for old, new in {**self.words, **changes}.items():
            assert old in text, old
            text = text.replace(old, new)
        return text + self.more_settings
