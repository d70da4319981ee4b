"""What can be measured on a digit without reading it."""

import pandas as pd
import torch
import torch.nn.functional as F

from mnistlab.data.digits import Digits
from mnistlab.data.form import centre_of_mass


def measures(digits: Digits) -> pd.DataFrame:
    """What can be measured on a digit without reading it, one row a digit; nan for empty paper.

    slant: in degrees, above 0 to the right: of the straight line that fits its ink best, row by row.
    stroke width: in pixels: twice the area of the ink divided by the length of its outline, as for a long stroke.
    ink: its area, in pixels of full ink.
    """
    ink = F.pad(digits.images.float() / 255, (1, 1, 1, 1))[:, 0]
    area, centre = ink.sum((1, 2)), centre_of_mass(ink)
    up = centre[:, :1] - torch.arange(ink.shape[-2])
    right = torch.arange(ink.shape[-1]) - centre[:, 1:]
    both = torch.einsum("nhw,nh,nw->n", ink, up, right)
    slant = torch.rad2deg(torch.atan(both / torch.einsum("nhw,nh->n", ink, up.square())))
    # Summed over all pixels, the steps from each to its neighbours come to the outline's length.
    down, along = ink.diff(dim=1)[:, :, :-1], ink.diff(dim=2)[:, :-1]
    width = 2 * area / torch.hypot(down, along).sum((1, 2))
    return pd.DataFrame({"slant": slant.numpy(), "stroke width": width.numpy(), "ink": area.numpy()})
