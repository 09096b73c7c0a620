"""One machine that stands in for RunPod and R2: the same API, the same storage, the same workers."""
