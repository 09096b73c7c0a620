"""A client of the endpoints written with RunPod's SDK alone. It prints what it saw as one line of JSON."""

import json
import sys
import time

import runpod

key = sys.argv[1]
training = runpod.Endpoint("training", api_key=key)
streaming = runpod.Endpoint("image_generation", api_key=key)
seen = {}

job = training.run({"input": {"say": "one"}})
output = job.output(timeout=30)
seen["run"] = [job.status(), output["echo"]]
seen["run_sync"] = training.run_sync({"say": "two"}, timeout=30)["echo"]

failed = training.run({"input": {"do": "raise", "say": "broken"}})
failed.output(timeout=30)
seen["failed"] = [failed.status(), failed.output()]

slow = training.run({"input": {"do": "sleep", "seconds": 60}})
while slow.status() != "IN_PROGRESS":
    time.sleep(0.05)
slow.cancel()
seen["cancelled"] = slow.status()

seen["stream"] = [piece["number"] for piece in streaming.run({"input": {"count": 3}}).stream()]
seen["purged"] = training.purge_queue()["status"]
seen["ready"] = training.health()["workers"]["ready"]
print(json.dumps(seen))
