"""Trainings before they start: what to ask for, what it will take, and whether it can work."""
