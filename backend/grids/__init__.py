"""Grids: pictures that differ in up to three things, side by side."""
