"""`python -m workers.image_generation`: takes image-generation jobs until the platform stops it."""

from backend.contract import GenerationRequest
from workers.image_generation.generate import make_work
from workers.runtime import serve

if __name__ == "__main__":
    serve("image", GenerationRequest, make_work)
