"""The networks, the arithmetic of their layers, and hooks to watch them."""
