"""How much a picture looks, to a network, like the digits it learned from: a network is sure of letters, too."""

from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mnistlab.paths import written_whole


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Where the digits of each class lie among a network's last features, and how far from there is strange.

    means: (10, F), of the features that go into the last layer.  precision: (F, F), inverse of their covariance
    within the classes.  limit: the distance that one of a hundred unseen digits exceeds.
    Source: Lee et al., 2018, "A simple unified framework for detecting out-of-distribution samples".
    """

    means: Tensor
    precision: Tensor
    limit: float

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, limit: float = float("inf")) -> "Familiarity":
        """From the features (N, F) of the digits that were learned, and their labels."""
        means = torch.stack([features[labels == digit].mean(0) for digit in range(10)])
        covariance = torch.cov((features - means[labels]).T)
        calm = 1e-3 * torch.eye(features.shape[1])  # a feature that never stirs would count for ever
        return cls(means, torch.linalg.inv(covariance + calm), limit)

    def distance(self, features: Tensor) -> Tensor:
        """(N, F) → (N,): Mahalanobis distance, squared, to the nearest class."""
        away = features[:, None] - self.means
        return torch.einsum("nci,ij,ncj->nc", away, self.precision, away).amin(1)

    def save(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        tensors = {"means": self.means, "precision": self.precision, "limit": torch.tensor([self.limit])}
        with written_whole(path) as part:
            part.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))

    @classmethod
    def load(cls, path: Path) -> "Familiarity":
        """What `save` wrote; ValueError for anything else."""
        try:
            tensors = load_file(path)
            return cls(tensors["means"], tensors["precision"], float(tensors["limit"][0]))
        except (safetensors.SafetensorError, KeyError) as error:
            raise ValueError(f"{path} is damaged or something else ({error}). Fetch it again.") from error
