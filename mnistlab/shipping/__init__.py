"""A run as files: the report of a training, and forms that others can run."""
