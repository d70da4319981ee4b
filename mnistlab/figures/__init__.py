"""Colours, and the figures that several notebooks share."""
