"""``gateway check`` names contracts that have changed since their agency took its last call."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from gateway.cli import main
from gateway.config import AgencySettings, Settings
from gateway.harmonize import get_request_schema
from gateway.hub import load_rules, pack_mapping_folder
from gateway.operations import find_contract_changes
from gateway.share import get_data_folder
from gateway.store import mapping_bundles, read_transaction, write_transaction
from tests.flows.craft import reference
from tests.flows.test_pinned_mappings import restart
from tests.kit import house
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.kit.strict_agency import agree, older_template, own_wsdl

TEMPLATE = "agency-template.wsdl"


@pytest.fixture
def story(engine: Engine, tmp_path: Path) -> Story:
    """Return a story in which KPTA has taken an application by the older template."""
    made = Story(engine)
    # Its cases store the mappings that they pin, as in a hub of every day.
    restart(made, get_data_folder("mappings"))
    agree(made, own_wsdl(tmp_path, older_template()))
    made.submit()
    made.tick()
    assert made.request("KPTA").state == "ACKNOWLEDGED"
    return made


def name_settings(folder: Path, **kpta: Any) -> Settings:
    """Return settings with KPTA, of which the rest is as shipped, and with KFDA and customs as ever."""
    return Settings.model_validate(
        {
            "hub": {"home": folder},
            "share": {"folders": [folder]},
            "agency": {
                "KPTA": {"endpoint": "http://partner.example/KPTA", "wsdl": TEMPLATE, **kpta},
                "KFDA": {"endpoint": "http://partner.example/KFDA"},
            },
            "customs": {"endpoint": "http://partner.example/customs"},
        }
    )


def forget_digests(engine: Engine) -> None:
    """Leave of each delivery what an older version of the program has stored."""
    with write_transaction(engine) as conn:
        for number, parameters in conn.execute(text("SELECT id, parameters FROM deliveries")).all():
            known = json.loads(parameters) if isinstance(parameters, str) else dict(parameters)
            kept = {name: word for name, word in known.items() if not name.endswith("_sha256")}
            conn.execute(
                text("UPDATE deliveries SET parameters = :kept WHERE id = :number"),
                {"kept": json.dumps(kept), "number": number},
            )


def find(story: Story, settings: Settings) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        return list(find_contract_changes(conn, settings, story.clock()))


def digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("noted", [True, False])
def test_a_wsdl_that_has_changed_is_told_with_its_agency_and_what_is_new(
    story: Story, tmp_path: Path, noted: bool
) -> None:
    if not noted:
        forget_digests(story.house.engine)
    (warning,) = find(story, name_settings(tmp_path))
    now = digest(get_data_folder("wsdl").joinpath(TEMPLATE).read_bytes())
    then = digest(older_template()) if noted else "not noted"
    delivery = story.delivery(destination="KPTA").id
    assert warning.startswith(
        f"agency KPTA: its WSDL {TEMPLATE} has changed since delivery {delivery}, the last call "
        f"taken (SHA-256 {then} then, {now} now): SubmitApplication: Document/@items is new; "
        "SubmitApplication: Document/@laws is new. Who validates strictly refuses calls"
    )
    assert "set agency.KPTA.wsdl to the one that they have" in warning


@pytest.mark.night
@pytest.mark.parametrize("noted", [True, False])
def test_nothing_is_told_of_a_contract_that_is_the_same(story: Story, tmp_path: Path, noted: bool) -> None:
    if not noted:
        forget_digests(story.house.engine)
    own = own_wsdl(tmp_path, older_template())
    assert find(story, name_settings(tmp_path, wsdl=own.relative_path, wsdl_sha256=own.sha256)) == []


@pytest.mark.night
def test_a_change_of_what_was_not_sent_is_told_where_the_digest_is_noted(
    story: Story, tmp_path: Path
) -> None:
    """An element that may be absent: a call of another application may have it."""
    other = older_template().replace(
        b'<xs:element name="CaseNumber" type="a:Number"/>',
        b'<xs:element name="CaseNumber" type="a:Number"/>'
        b'<xs:element name="Note" type="a:Number" minOccurs="0"/>',
    )
    own = own_wsdl(tmp_path, other)
    settings = name_settings(tmp_path, wsdl=own.relative_path, wsdl_sha256=own.sha256)
    (warning,) = find(story, settings)
    assert f"{own.sha256} now). Who validates" in warning
    forget_digests(story.house.engine)
    assert find(story, settings) == []


@pytest.mark.night
def test_once_the_agency_takes_calls_by_it_nothing_is_told(story: Story, tmp_path: Path) -> None:
    agree(story, TEMPLATE)
    assert len(find(story, name_settings(tmp_path))) == 1
    story.submit(story.submission(reference("R-2")))
    story.tick()
    assert find(story, name_settings(tmp_path)) == []


@pytest.mark.night
def test_of_an_agency_at_the_console_or_without_calls_nothing_is_told(story: Story, tmp_path: Path) -> None:
    settings = name_settings(tmp_path)
    assert len(find(story, settings)) == 1
    key = {"signing_key": {"file": "k.pem"}, "signing_certificate": "c.pem"}
    console = AgencySettings.model_validate({"console": True, "pki": key})
    never_called = AgencySettings.model_validate({"endpoint": "http://partner.example/FITI"})
    agencies = {"KPTA": console, "FITI": never_called}
    assert find(story, settings.model_copy(update={"agency": agencies})) == []


@pytest.mark.night
def test_octets_that_retention_has_removed_are_not_compared(story: Story, tmp_path: Path) -> None:
    sent = story.delivery(destination="KPTA").payload_sha256
    with write_transaction(story.house.engine) as conn:
        conn.execute(
            text("UPDATE payloads SET content = '', purged_at = stored_at WHERE sha256 = :sent"),
            {"sent": sent},
        )
    (warning,) = find(story, name_settings(tmp_path))
    assert "Document/@items" not in warning
    forget_digests(story.house.engine)
    assert find(story, name_settings(tmp_path)) == []


PHARM = Path("agencies") / "KPTA" / "KPTA-PHARM-IMP.yaml"


def use_mappings(story: Story, folder: Path, longest: int) -> None:
    """Put mappings in force by which the importer's remarks have another length, in the same namespace."""
    place = folder / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), place)
    words = (place / PHARM).read_text("utf-8")
    assert words.count("1400") == 2
    (place / PHARM).write_text(words.replace("1400", str(longest)), "utf-8")
    digest_of_now = load_rules(place).bundle.digest
    with write_transaction(story.house.engine) as conn:
        mapping_bundles.store_bundle(conn, digest_of_now, pack_mapping_folder(place), story.clock())
        mapping_bundles.activate_bundle(conn, digest_of_now, story.clock(), "kim")


@pytest.mark.night
@pytest.mark.parametrize("noted", [True, False])
def test_the_schema_of_a_document_that_has_changed_is_told(story: Story, tmp_path: Path, noted: bool) -> None:
    if not noted:
        forget_digests(story.house.engine)
    use_mappings(story, tmp_path, 2000)
    own = own_wsdl(tmp_path, older_template())
    (warning,) = find(story, name_settings(tmp_path, wsdl=own.relative_path, wsdl_sha256=own.sha256))
    former = get_request_schema(house.bundle(), house.bundle().documents["KPTA-PHARM-IMP"])
    assert warning.startswith(
        "agency KPTA: the schema of the requests of KPTA-PHARM-IMP has changed since delivery "
    )
    assert f"(SHA-256 {digest(former)} then, " in warning
    assert "2000" in warning


@pytest.mark.night
def test_a_schema_that_takes_less_than_before_is_no_matter(story: Story, tmp_path: Path) -> None:
    use_mappings(story, tmp_path, 1000)
    own = own_wsdl(tmp_path, older_template())
    assert find(story, name_settings(tmp_path, wsdl=own.relative_path, wsdl_sha256=own.sha256)) == []


@pytest.mark.night
def test_check_tells_it_before_the_database_is_migrated(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new version of the program looks at the database of the old one."""
    forget_digests(story.house.engine)
    with write_transaction(story.house.engine) as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0089'"))
    url = story.house.engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n[agency.KPTA]\nwsdl = "{TEMPLATE}"\n'
        'endpoint = "http://partner.example/KPTA"\n',
        encoding="utf-8",
    )
    capsys.readouterr()
    assert main(["check", "--home", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert "GW802" in {one["id"] for one in told["problems"]}
    (warning,) = [words for words in told["warnings"] if words.startswith("agency KPTA: its WSDL")]
    assert "Document/@items is new" in warning


@pytest.mark.night
def test_a_database_that_is_too_old_to_be_read_is_told(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with write_transaction(story.house.engine) as conn:
        conn.execute(text("DROP TABLE mapping_uses"))
        conn.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    url = story.house.engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n', "utf-8")
    capsys.readouterr()
    assert main(["check", "--home", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    unknown = "whether contracts of agencies have changed is not known: the database is too old to be read: "
    assert len([words for words in told["warnings"] if words.startswith(unknown)]) == 1
