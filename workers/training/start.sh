#!/bin/sh
# Starts the training worker: fetches base models ahead of the first job, and takes jobs meanwhile.
set -eu

cd "$(dirname "$0")/../.."
if ! mountpoint -q "$ATELIER_VOLUME"; then
    echo "No network volume at $ATELIER_VOLUME: every new worker downloads its base models onto its own disk." >&2
    mkdir -p "$ATELIER_VOLUME"
fi

# In the background, because the platform gives a worker minutes to start and 34 GB can take longer. A job that needs
# what is being fetched waits for it; one whose model could not be fetched says why.
models=$(printf '%s' "${PREFETCH_MODELS-flux1-dev}" | tr ',' ' ')
if [ -n "$models" ]; then
    # shellcheck disable=SC2086 # one word a base model
    "$ATELIER_PYTHON" -u -m workers.weights $models &
fi

# The worker is this process itself, so that the platform's SIGTERM reaches it.
exec "$ATELIER_PYTHON" -u -m workers.training
