from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.kit.console import Console
from tests.kit.story import Story


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@pytest.fixture
def console(story: Story) -> Console:
    return Console(story.house.hub)
