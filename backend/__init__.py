"""What the studio does: datasets, runs, LoRAs and pictures, over object storage and RunPod."""
