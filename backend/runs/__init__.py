"""Runs: requests handed to RunPod, and what has become of them."""
