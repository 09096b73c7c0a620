"""The training worker: from a request to a LoRA in storage."""
