"""A run that isn't finished: how far it has come, and the file from which it can go on."""

import io
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnistlab.data.digits import Digits
from mnistlab.hardware import describe
from mnistlab.paths import written_whole
from mnistlab.runs import weights_md5
from mnistlab.training.config import TrainConfig
from mnistlab.training.workers import from_first, workers


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to try."""


class Interrupted(KeyboardInterrupt):
    """A training that was interrupted. In a notebook it shows itself as one line, not as a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


class State:
    """How far a run of `steps` steps has come. If `path` exists, the run goes on from there; None keeps nothing.

    parts: the network and its optimizers.  identity: what the file must agree with.  save_every: seconds between saves.
    step: the number of steps done.  history: its rows so far.  best: the weights of the best epoch, where they are
    kept.  Of several processes, rank 0 alone reads and writes.
    Raises TrainingError if the file belongs to another run, or if nothing can be written to its folder.
    """

    def __init__(
        self,
        path: str | Path | None,
        parts: list[nn.Module | torch.optim.Optimizer],
        identity: dict[str, str],
        steps: int,
        save_every: float,
    ) -> None:
        self.path = Path(path) if path and workers().rank == 0 else None
        self.parts, self.identity, self.steps, self.save_every = parts, identity, steps, save_every
        found = from_first(self._read(self.path) if self.path else None)
        found = found or {"step": 0, "seconds": 0.0, "history": [], "parts": [], "best": {}}
        for part, theirs in zip(parts, found["parts"], strict=False):
            part.load_state_dict(theirs)
        self.step: int = found["step"]
        self.history: list[dict[str, Any]] = found["history"]
        self.best: dict[str, Tensor] = found["best"]
        self._saved = time.perf_counter()
        self._started: float = self._saved - found["seconds"]

    def __enter__(self) -> "State":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """An interruption says how the run goes on."""
        if kind is not KeyboardInterrupt:
            return
        said = f"Interrupted after step {self.step:,} of {self.steps:,}."
        if self.path is None:
            raise Interrupted(
                f"{said} With fit(…, state='run.state') it would have been kept, to go on from."
            ) from None
        kept, goes = "Nothing was kept yet", "starts anew"
        if self.path.exists():
            kept, goes = f"{self.path} keeps it", "goes on from there"
        raise Interrupted(f"{said} {kept}: the same call, with a new network, {goes}.") from None

    @property
    def seconds(self) -> float:
        """Of training so far, including those before an interruption."""
        return time.perf_counter() - self._started

    def keep(self, finished: bool) -> None:
        """Save if the last save is long enough ago or the run is finished; a warning says where that fails."""
        now = time.perf_counter()
        if self.path is None or (not finished and now - self._saved < self.save_every):
            return
        self._saved = now
        parts = [part.state_dict() for part in self.parts]
        state = {"identity": self.identity, "parts": parts, "best": self.best, "step": self.step}
        content = io.BytesIO()  # because torch.save's own error on a full disk doesn't speak of the disk
        torch.save(state | {"history": self.history, "seconds": self.seconds}, content)
        try:
            with written_whole(self.path) as part:
                part.write_bytes(content.getbuffer())
        except OSError as error:
            warnings.warn(f"The run goes on, but could not be kept at step {self.step}: {error}", stacklevel=3)

    def _read(self, path: Path) -> dict[str, Any] | None:
        """What `keep` wrote, or None where there is nothing yet."""
        found: dict[str, Any] | None = None
        if path.exists():
            try:
                found = torch.load(path, map_location="cpu", weights_only=True)
                theirs = found["identity"]
            except Exception as error:  # a damaged pickle can end in almost any of them
                raise TrainingError(
                    f"{path} is not an unfinished run ({error}). Move it away, or name another file."
                ) from error
            both = [(name, theirs.get(name), value) for name, value in self.identity.items()]
            if other := [f"{name} ({there} there, {here} here)" for name, there, here in both if there != here]:
                raise TrainingError(
                    f"{path} belongs to another run: it differs in {'; '.join(other)}. "
                    f"Name another file, or delete this one to start anew."
                )
        if found is None or found["step"] < self.steps:
            try:  # it's better to hear now than in an hour that nothing can be written there
                path.parent.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=path.parent).close()
            except OSError as error:
                raise TrainingError(
                    f"No state can be kept in {path.parent} ({error.strerror}); name a folder of yours."
                ) from error
        return found


def identity(
    model: nn.Module, train: Digits, val: Digits | None, config: TrainConfig, device: torch.device
) -> dict[str, str]:
    """What must be equal for an unfinished run to go on as if nothing had happened."""
    return {name: repr(value) for name, value in asdict(config).items()} | {
        "epochs": f"{config.epochs:.15g}",  # 2 and 2.0 are one
        "initial weights (start from a new network, such as CNN(seed=…))": weights_md5(model.state_dict()),
        "training digits": train.md5,
        "validation digits": val.md5 if val is not None else "none",
        "torch": str(torch.__version__),
        "hardware": repr(describe(device, config.precision, workers().size)),
    }
