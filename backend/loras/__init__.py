"""LoRAs: what there is to prompt with, where each comes from, and its way to the Hub."""
