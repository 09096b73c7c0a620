"""The image-generation worker: a prompt and LoRAs in storage become pictures in storage."""
