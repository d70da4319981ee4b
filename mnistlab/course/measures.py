"""What can be measured on a digit without reading it."""

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from mnistlab.data.form import centre_of_mass


def measures(images: Tensor) -> pd.DataFrame:
    """What can be measured on a digit without reading it, one row a digit; nan for empty paper.

    slant: how far it leans to the right, in degrees: of the straight line along which its rows of ink shift best.
    stroke_width: in pixels: twice the area of the ink by the length of its outline, as for a long stroke.
    ink: its area, in pixels of full ink.
    """
    ink = F.pad(images.float() / 255, (1, 1, 1, 1))[:, 0]
    area, centre = ink.sum((1, 2)), centre_of_mass(ink)
    up = centre[:, :1] - torch.arange(ink.shape[-2])
    right = torch.arange(ink.shape[-1]) - centre[:, 1:]
    both = torch.einsum("nhw,nh,nw->n", ink, up, right)
    slant = torch.rad2deg(torch.atan(both / torch.einsum("nhw,nh->n", ink, up.square())))
    # Summed over all pixels, the steps from each to its neighbours come to the outline's length.
    down, along = ink.diff(dim=1)[:, :, :-1], ink.diff(dim=2)[:, :-1]
    width = 2 * area / torch.hypot(down, along).sum((1, 2))
    return pd.DataFrame({"slant": slant.numpy(), "stroke_width": width.numpy(), "ink": area.numpy()})
