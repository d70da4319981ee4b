"""`mnistlab app` in a process of its own, and those who come to it over HTTP."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

META = {"_type": "gradio.FileData"}


class Served(NamedTuple):
    address: str
    process: subprocess.Popen
    uploads: Path
    log: Path


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A page whose uploads and whose log lie in `folder`; told to end at the end, it must, and well, within 30 s."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    own = {"GRADIO_TEMP_DIR": str(folder / "uploads"), "GRADIO_SHARE": "true", "GRADIO_ANALYTICS_ENABLED": "True"}
    command = [sys.executable, "-m", "mnistlab", "app", "--port", str(port)]
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=os.environ | own, stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            try:
                httpx.get(address, timeout=60)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise RuntimeError(f"The page does not answer: {log.read_text()}")
        yield Served(address, process, folder / "uploads", log)
        process.send_signal(signal.SIGTERM)
        if code := process.wait(30):
            raise RuntimeError(f"The page ended with {code}: {log.read_text()}")
    finally:
        process.kill()


def upload(address: str, content: bytes | Path, name: str = "some.png") -> str:
    """The path that the page gave it."""
    content = content if isinstance(content, bytes) else content.read_bytes()
    reply = httpx.post(f"{address}/gradio_api/upload", files={"files": (name, content)}, timeout=60)
    reply.raise_for_status()
    return reply.json()[0]


def call(address: str, endpoint: str, given: object) -> tuple[str, object]:
    """As curl would: the last event, "complete" or "error", and its data."""
    started = httpx.post(f"{address}/gradio_api/call/{endpoint}", json={"data": [given]}, timeout=60)
    started.raise_for_status()
    told = httpx.get(f"{address}/gradio_api/call/{endpoint}/{started.json()['event_id']}", timeout=120).text
    return _last_event(told)


def fetched(address: str, path: str | Path) -> int:
    """The status of a file asked for as it is written, dots and all, as no browser would."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("GET", f"/gradio_api/file={path}")
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def file_at(path: str | Path) -> dict:
    return {"path": str(path), "meta": META}


def other_address() -> str | None:
    """The address by which other machines know this one; None where there is none but the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))  # sends nothing, but chooses the address
        except OSError:
            return None
        host = one.getsockname()[0]
    return None if host.startswith("127.") else host


def crowd(address: str, pictures: list[bytes], visitors: int, seconds: float) -> tuple[list[float], list[str]]:
    """So many at once, each of whom uploads a picture and asks what it is, again and again.

    The seconds that each answer took, from the upload on, and what went wrong.
    """
    return asyncio.run(_crowd(address, pictures, visitors, seconds))


async def _crowd(address: str, pictures: list[bytes], visitors: int, seconds: float) -> tuple[list[float], list[str]]:
    times, faults, end = [], [], time.perf_counter() + seconds
    # A connection of one's own for every request: a kept one may be closed by the page just when it is used again.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)

    async def visit(number: int, client: httpx.AsyncClient) -> None:
        start = 0.0
        while start < end:  # each of them once at least
            start = time.perf_counter()
            picture = pictures[(number + len(times)) % len(pictures)]
            try:
                event, said = await _asked(client, picture)
            except (httpx.HTTPError, LookupError, ValueError) as error:
                event, said = "error", repr(error)
            times.append(time.perf_counter() - start)
            if event != "complete" or not isinstance(said[0]["digit"], int):
                faults.append(f"visitor {number}: {said}"[:300])

    async with httpx.AsyncClient(base_url=f"{address}/gradio_api", timeout=120, limits=limits) as client:
        await asyncio.gather(*(visit(number, client) for number in range(visitors)))
    return times, faults


async def _asked(client: httpx.AsyncClient, picture: bytes) -> tuple[str, object]:
    reply = await client.post("/upload", files={"files": ("mine.png", picture)})
    started = await client.post("/call/predict", json={"data": [file_at(reply.json()[0])]})
    return _last_event((await client.get(f"/call/predict/{started.json()['event_id']}")).text)


def _last_event(told: str) -> tuple[str, object]:
    event, data = re.findall(r"event: (\w+)\ndata: (.*)", told)[-1]
    return event, json.loads(data)


def memory(process: subprocess.Popen) -> float:
    """What it holds, in MB."""
    return psutil.Process(process.pid).memory_info().rss / 2**20
