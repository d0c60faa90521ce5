"""Stories in a browser run on PostgreSQL; that pages say the same on both is tried in `tests/web`."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.kit.story import Story


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    return postgresql_url


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)
