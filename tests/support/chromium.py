"""Chromium, without a window: the small one without any, if it is there, or else the whole browser.

They are the same engine. For a page `chromium-headless-shell` takes a fifth of the time that `chromium` does.
"""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright import sync_api
from playwright.async_api import Browser, async_playwright

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str:
    """Where Chromium is; without it tests are skipped on a developer's machine, and fail where `CI` is set."""
    if CHROMIUM is not None:
        return CHROMIUM
    reason = "Chromium is needed: apt-get install chromium-headless-shell"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser."""
    path = executable()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@contextlib.contextmanager
def blocking_chromium() -> Iterator[sync_api.Browser]:
    """The same for tests without an event loop."""
    path = executable()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
