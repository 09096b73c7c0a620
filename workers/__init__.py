"""What a GPU does: the two RunPod workers, and the machine that runs them on one computer."""
