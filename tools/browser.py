"""The browser that tests, tools and benchmarks open pages in."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NONE_HERE = "There is no Chromium here: install one, or name it in MNISTLAB_CHROMIUM."


def chromium() -> str | None:
    """The Chromium that MNISTLAB_CHROMIUM names, else the machine's own; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("MNISTLAB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def launched() -> "Iterator[Browser]":
    """A headless Chromium, which ends with the `with`. RuntimeError where there is none.

    While it runs, playwright's loop runs in this thread: what needs asyncio.run needs a thread of its own.
    """
    from playwright.sync_api import sync_playwright

    program = chromium()
    if program is None:
        raise RuntimeError(NONE_HERE)
    # Chromium's sandbox does not start for root, as in a container; the pages are our own.
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser,
    ):
        yield browser
