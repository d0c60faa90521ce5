"""`gateway check` warns where copies of the database leave large payloads behind, and names a dead bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.hub_findings import find_payload_copy_warnings
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import build_engine
from gateway.store import find_object_problems, get_database_state, migrate_schema, read_transaction
from tests.kit.ports import find_free_port

MOUNTS = """overlay / overlay rw 0 0
/dev/sdb /srv ext4 rw 0 0
hub:/x /srv/shared\\040folder nfs4 rw 0 0
/dev/sdc /srv/shared\\040folder/near xfs rw 0 0
broken
"""
AWAY = {
    "bucket": "gateway",
    "endpoint": "http://127.0.0.1:9",
    "access_key": {"env": "OBJECTS_KEY"},
    "secret_key": {"env": "OBJECTS_KEY"},
    "time_out": "1s",
}


def read_settings(home: Path, copies: int = 2, folder: str = "payloads", **payloads: object) -> Settings:
    terms = {
        "hub": {"home": str(home)},
        "database": {"copies": copies},
        "payloads": {"folder": folder, **payloads},
    }
    return Settings.model_validate(terms, context={"home": home})


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/payloads", "overlay"),
        ("/srv/payloads", "ext4"),
        ("/srv/shared folder/payloads", None),
        ("/srv/shared folder/near/payloads", "xfs"),
    ],
)
def test_a_local_folder_beside_copies_of_the_database_is_a_warning(
    tmp_path: Path, folder: str, kind: str | None
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    found = list(find_payload_copy_warnings(read_settings(tmp_path, folder=folder), mounts))
    expected = f"database.copies is 2, but payloads.folder is on a file system of this machine ({kind})"
    assert [one.split(":")[0] for one in found] == ([expected] if kind else [])
    assert not list(find_payload_copy_warnings(read_settings(tmp_path, copies=1, folder=folder), mounts))
    assert not list(find_payload_copy_warnings(read_settings(tmp_path, folder=folder, s3=AWAY), mounts))
    assert not list(find_payload_copy_warnings(read_settings(tmp_path, folder=folder), tmp_path / "none"))


@pytest.mark.parametrize("missing", ["endpoint", "access_key", "secret_key"])
def test_a_bucket_needs_its_server_and_both_keys(tmp_path: Path, missing: str) -> None:
    terms = {name: value for name, value in AWAY.items() if name != missing}
    with pytest.raises(ValueError, match="a bucket needs endpoint, access_key and secret_key"):
        read_settings(tmp_path, s3=terms)


def test_without_the_package_a_bucket_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.hub.database.find_spec", lambda _: None)
    with pytest.raises(GatewayError, match=r"GW801 S3 needs the package botocore: install .*\[s3\]"):
        build_engine(read_settings(tmp_path, copies=1, s3=AWAY))


@pytest.mark.night
def test_a_bucket_that_is_away_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBJECTS_KEY", "key\n")
    away = AWAY | {"endpoint": f"http://127.0.0.1:{find_free_port()}"}
    engine = build_engine(read_settings(tmp_path, copies=1, s3=away))
    migrate_schema(engine)
    with read_transaction(engine) as conn:
        (problem,) = find_object_problems(conn)
    assert problem.problem.id == "GW806"
    assert problem.location == "s3://gateway/"
    assert "key" not in repr(vars(get_database_state(engine).objects)["_access"]).replace("_key", "")
    engine.dispose()
