"""Everything that lives in a browser."""
