from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.kit.story import Story


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)
