"""The subject of a change is found again, in the audit as a whole and in the evidence by its beginning."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.config import load_settings
from gateway.evidence import list_subject_leaves
from gateway.operations import Act, open_change
from gateway.store import read_transaction
from gateway.wire import shorten_to_octets
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.long_texts import make_text_of_octets


@BOTH
@pytest.mark.parametrize("octet_count", [1024, 1025, 20_000])
def test_a_change_of_trust_with_a_long_subject_is_recorded(
    engine: Engine, tmp_path: Path, octet_count: int
) -> None:
    subject = make_text_of_octets(octet_count)
    settings = load_settings(home=tmp_path, environ={})
    with open_change(engine, settings, Act("agreement load", "root"), "test") as change:
        change.record_trust_change(subject, after={"status": "ACTIVE"})
    with read_transaction(engine) as conn:
        (action,) = list_actions(conn, actor="root")
        (leaf,) = list_subject_leaves(conn, "register", shorten_to_octets(subject, 1024))
    assert action.object == subject
    assert leaf.kind == "register"
