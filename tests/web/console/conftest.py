from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.accounts import sign_in_proofs
from tests.kit.console import QUICK_HASHER, Console
from tests.kit.story import Story


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords at once; what a hash costs is tested with the accounts."""
    monkeypatch.setattr(sign_in_proofs, "_HASHER", QUICK_HASHER)
    monkeypatch.setattr(sign_in_proofs, "_DUMMY_HASH", QUICK_HASHER.hash("no password at all"))


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@pytest.fixture
def console(story: Story) -> Console:
    return Console(story.house.hub)
