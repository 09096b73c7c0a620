"""The ai_toolkit engine: ai-toolkit as it is published, followed from outside; see engine.py."""
