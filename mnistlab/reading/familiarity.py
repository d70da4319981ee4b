"""How much a picture looks, to a network, like the digits it learned from: a network is sure of letters, too."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Where the digits of each class lie among a network's last features, and how far from there is strange.

    means: (C, F), of the features that go into the last layer.  precision: (F, F), inverse of their covariance
    within the classes.  limit: the distance that one of a hundred unseen digits exceeds.
    Source: Lee et al., 2018, "A simple unified framework for detecting out-of-distribution samples".
    """

    means: Tensor
    precision: Tensor
    limit: float

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, limit: float = float("inf")) -> "Familiarity":
        """From the features (N, F) of the digits that were learned, and their labels."""
        means = torch.stack([features[labels == digit].mean(0) for digit in range(int(labels.max()) + 1)])
        covariance = torch.cov((features - means[labels]).T)
        ridge = 1e-3 * torch.eye(features.shape[1])  # without it, a feature that is always equal has no inverse
        return cls(means, torch.linalg.inv(covariance + ridge), limit)

    def distance(self, features: Tensor) -> Tensor:
        """(N, F) → (N,): Mahalanobis distance, squared, to the nearest class."""
        away = features[:, None] - self.means
        return torch.einsum("nci,ij,ncj->nc", away, self.precision, away).amin(1)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it: "means" (C, F), "precision" (F, F) and "limit" (1,)."""
        return {"means": self.means, "precision": self.precision, "limit": torch.tensor([self.limit])}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Familiarity":
        """From what `tensors` gave; ValueError for anything else."""
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        width = shapes.get("precision", ())[-1:]
        count = shapes.get("means", ())[:1]
        if shapes != {"means": (*count, *width), "precision": (*width, *width), "limit": (1,)}:
            raise ValueError(f"familiarity needs means (C, F), precision (F, F) and limit (1,), not {shapes}")
        if not (tensors["means"].isfinite().all() and tensors["precision"].isfinite().all() and tensors["limit"] > 0):
            raise ValueError("familiarity holds numbers that are infinite or not a number")
        return cls(tensors["means"], tensors["precision"], float(tensors["limit"]))
