#!/bin/sh
# Starts the image-generation worker: links what the volume holds into ComfyUI's folders, then takes jobs.
set -eu

cd "$(dirname "$0")/../.."
# A volume that lacks a model, or has a broken one, is no reason not to serve the others: the request that needs it says so.
"$ATELIER_PYTHON" -m workers.image_generation.links || echo "The volume's models could not be linked; see above." >&2
# The worker is this process itself, so that the platform's SIGTERM reaches it.
exec "$ATELIER_PYTHON" -u -m workers.image_generation
