# The studio's page, for a Hugging Face Space or any container host. It runs nothing on a GPU: RunPod and R2 do the work.
#   docker build -t lora-atelier .
#   docker build --target demo -t lora-atelier-demo .    with the local machine and the tiny FLUX inside: no keys needed
# A Space builds the last stage and hands its variables to the build: ATELIER_IMAGE=demo makes it the demo.
# Keys are given when it runs; README.md names them.
ARG ATELIER_IMAGE=app

FROM python:3.11-slim AS base

# Letters of Asia and signs, for the sheets of grids: 10 MB. Any version will do, and Debian keeps only its newest.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends fonts-wqy-microhei fonts-symbola \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 atelier
WORKDIR /home/atelier/studio
COPY pyproject.toml constraints.txt README.md ./
COPY app app
COPY backend backend
COPY assets assets

# Gradio takes an app for a Space only when SYSTEM says so; elsewhere there is no SPACE_ID and it changes nothing.
# Many threads with an arena of memory each hold on to what they have freed: measured by tests/bench/two_hundred_people.py.
ENV SYSTEM=spaces \
    MALLOC_ARENA_MAX=2 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
CMD ["atelier", "serve", "--host", "0.0.0.0", "--port", "7860", "--no-open"]

FROM base AS demo
COPY workers workers
# Where to find the small torch without CUDA, as README.md explains.
ARG PIP_EXTRA_INDEX_URL=
RUN pip install --no-cache-dir "torch==2.13.0" \
    && pip install --no-cache-dir --constraint constraints.txt --editable ".[local]"
# Open to everybody, each with things of their own and little of it: all share one computer, which forgets at each start.
# Two runs at a time, so that a checkpoint can be prompted with while its training goes on.
ENV PUBLIC=true \
    ATELIER_MAX_RUNNING_JOBS=2 \
    ATELIER_MAX_RUNNING_JOBS_IN_ALL=6 \
    ATELIER_MAX_TRAINING_MINUTES=10 \
    ATELIER_MAX_PICTURES_A_DAY=20 \
    ATELIER_MAX_PICTURES_A_DAY_IN_ALL=400 \
    ATELIER_MAX_STORAGE_GB=0.25 \
    ATELIER_MAX_STORAGE_GB_IN_ALL=5
USER 1000

FROM base AS app
RUN pip install --no-cache-dir --constraint constraints.txt --editable .
USER 1000

# hadolint ignore=DL3006
FROM ${ATELIER_IMAGE}
