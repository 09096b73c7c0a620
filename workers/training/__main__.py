"""The training worker's RunPod handler: `python -m workers.training`."""

from backend.contract import TrainingRequest
from workers.runtime import serve
from workers.training.train import make_work

if __name__ == "__main__":
    serve("train", TrainingRequest, make_work)
