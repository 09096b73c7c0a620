"""The screen: Gradio over the studio."""
