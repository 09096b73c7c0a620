"""Datasets: pictures with their captions, from a messy folder to what a training reads."""
