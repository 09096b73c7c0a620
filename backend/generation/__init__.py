"""Generations before they start: prompts with their styles and wildcards, and pictures to start from."""
