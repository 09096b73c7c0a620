#!/bin/sh
# Starts the image-generation worker: links what the volume holds into ComfyUI's folders, fetches what is missing of the
# base models it is meant for, and takes jobs meanwhile.
set -eu

cd "$(dirname "$0")/../.."
# A volume that lacks a model, or has a broken one, is no reason not to serve the others: the request that needs it says so.
"$ATELIER_PYTHON" -m workers.image_generation.links || echo "The volume's models could not be linked; see above." >&2
# In the background, as 34 GB take longer than the platform gives a worker to start. Files that the Hub holds in shards,
# as the trainer uses them, ComfyUI needs whole. A job that needs what is being fetched waits for it. Without a volume
# nothing is fetched ahead: it would be gone with this worker.
models=$(printf '%s' "${PREFETCH_MODELS-}" | tr ',' ' ')
if [ -n "$models" ] && [ -d "$ATELIER_VOLUME" ]; then
    # shellcheck disable=SC2086 # one word a base model
    "$ATELIER_PYTHON" -u -m workers.image_generation.links $models &
fi
# The worker is this process itself, so that the platform's SIGTERM reaches it.
exec "$ATELIER_PYTHON" -u -m workers.image_generation
