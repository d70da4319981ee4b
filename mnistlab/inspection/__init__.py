"""Looking into a network: one digit's way through it, which pixels decided, what cells do over many digits."""
