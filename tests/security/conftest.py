"""One running gateway for the gates that need one; a wired one for each test of those that need no sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.conftest import fleet, gateway
from tests.support.wired import WiredGateway

__all__ = ["fleet", "gateway"]


@pytest.fixture
async def wired(tmp_path: Path) -> AsyncIterator[WiredGateway]:
    async with WiredGateway(tmp_path) as own:
        yield own
