"""Contestants side by side: each in a process of its own, each called in turn, so that noise falls on all alike."""

import gc
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch


class Contestant:
    """`prepare`, called once in a new process, returns the function that `call` will time there."""

    def __init__(self, prepare: Callable[[], Callable[..., Any]]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(prepare, theirs), daemon=True)
        self.process.start()

    def call(self, *arguments: Any) -> tuple[float, Any]:
        """(seconds, what the function returned) of one call in the contestant's process."""
        self.pipe.send(arguments)
        seconds, result = self.pipe.recv()
        if isinstance(result, Exception):
            raise result
        return seconds, result


@contextmanager
def contest(**prepares: Callable[[], Callable[..., Any]]) -> Iterator[dict[str, Contestant]]:
    """The contestants by name, ended together with the block."""
    contestants = {name: Contestant(prepare) for name, prepare in prepares.items()}
    try:
        yield contestants
    finally:
        for contestant in contestants.values():
            contestant.process.terminate()
            contestant.process.join()


def _serve(prepare: Callable[[], Callable[..., Any]], pipe: Connection) -> None:
    function = prepare()
    while True:
        arguments = pipe.recv()
        gc.collect()
        try:
            start = time.perf_counter()
            result = function(*arguments)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            pipe.send((time.perf_counter() - start, result))
        except Exception as error:
            pipe.send((0.0, error))
