"""What the cells of a layer do over many digits."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mnistlab.data.digits import Digits, normalise
from mnistlab.networks.hooks import evaluating, recording

if TYPE_CHECKING:
    import pandas as pd


def activation_statistics(model: nn.Module, digits: Digits, batch_size: int = 250) -> "pd.DataFrame":
    """One row for every channel of every layer's output, over many digits.

    Columns: name, kind, channel, mean, zeros (share of its cells that are exactly zero), largest (over all digits:
    0 after a ReLU means that the channel is dead). A dense layer's channels are its units.
    """
    import pandas as pd

    sums: dict[str, list[Tensor]] = {}
    kinds: dict[str, str] = {}
    count: dict[str, int] = {}
    with evaluating(model), torch.no_grad():
        parameter = next(model.parameters())
        for images in digits.images.to(parameter.device).split(batch_size):
            with recording(model) as steps:
                model(normalise(images).to(parameter.dtype))
            for step in steps:
                cells = step.output.cpu()  # not every device computes in float64
                cells = cells.flatten(2) if cells.ndim > 2 else cells[..., None]
                new = [cells.double().sum((0, 2)), (cells == 0).sum((0, 2)).double(), cells.amax((0, 2))]
                if step.name in sums:
                    total, zeros, largest = sums[step.name]
                    new = [total + new[0], zeros + new[1], torch.maximum(largest, new[2])]
                sums[step.name], kinds[step.name] = new, step.kind
                count[step.name] = count.get(step.name, 0) + cells.shape[0] * cells.shape[2]
    tables = [
        pd.DataFrame(
            {
                "name": name,
                "kind": kinds[name],
                "channel": range(len(total)),
                "mean": (total / count[name]).cpu().numpy(),
                "zeros": (zeros / count[name]).cpu().numpy(),
                "largest": largest.cpu().numpy(),
            }
        )
        for name, (total, zeros, largest) in sums.items()
    ]
    return pd.concat(tables, ignore_index=True)


def top_digits(model: nn.Module, digits: Digits, name: str, count: int = 9, batch_size: int = 250) -> "pd.DataFrame":
    """For every channel of the layer `name`, the `count` digits in which some cell of it is largest.

    Columns: channel, rank (0 is the strongest), digit (its number in `digits`), value, row and column of the cell
    (0 for a dense layer).
    """
    import pandas as pd

    values, places = [], []
    width = 1
    with evaluating(model), torch.no_grad():
        parameter = next(model.parameters())
        for images in digits.images.to(parameter.device).split(batch_size):
            with recording(model, [name]) as steps:
                model(normalise(images).to(parameter.dtype))
            output = steps[0].output
            width = output.shape[3] if output.ndim == 4 else 1
            value, place = output.reshape(*output.shape[:2], -1).max(2)
            values.append(value.cpu())
            places.append(place.cpu())
    value, digit = torch.cat(values).T.sort(dim=1, descending=True, stable=True)
    value, digit = value[:, :count], digit[:, :count]
    place = torch.cat(places).T.gather(1, digit)
    channel, rank = torch.meshgrid(torch.arange(value.shape[0]), torch.arange(value.shape[1]), indexing="ij")
    columns = {
        "channel": channel,
        "rank": rank,
        "digit": digit,
        "value": value,
        "row": place // width,
        "column": place % width,
    }
    return pd.DataFrame({name: column.flatten().numpy() for name, column in columns.items()})
