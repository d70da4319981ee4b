"""Every animation: what a network computes, and how it learns, frame by frame from its own numbers."""

from mnistlab.films.canvas import Film, kind_of
from mnistlab.films.learning import training
from mnistlab.films.scan import convolution_scan
from mnistlab.films.storyboard import forward

__all__ = ["Film", "convolution_scan", "forward", "kind_of", "training"]
