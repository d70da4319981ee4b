"""Pages in a browser that are watched for whatever must not happen in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request


@contextmanager
def watched(browser: Browser, *allowed: str, ignore: tuple[str, ...] = (), **options: Any) -> Iterator[Page]:
    """A page in a context of its own. At the end no script has failed, said or asked anything, and all that was fetched
    begins like one of `allowed`.

    ignore: kinds of messages on the console that don't count.  options: of the context.
    """
    seen: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type not in ignore:
            seen.append(f"console: {message.text}")

    def asked(dialog: Dialog) -> None:
        seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def fetched(request: Request) -> None:
        if not request.url.startswith(allowed):
            seen.append(request.url)

    with browser.new_context(**options) as context:
        page = context.new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("dialog", asked)
        page.on("request", fetched)
        yield page
    assert not seen
