"""How a neural network reads a handwritten digit: the thin library behind the notebooks.

The names below are imported when they are first used (__init__.pyi says from where), so that `import mnistlab` and
`mnistlab --help` answer at once.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
