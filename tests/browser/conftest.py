"""Real browsers against real servers."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.chromium import chromium
from support.fixtures import node, pytest_runtest_makereport, server

__all__ = ["browser", "node", "pytest_runtest_makereport", "server"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium."""
    async with chromium() as browser:
        yield browser
