"""Stands in for ai-toolkit's run.py: the same files, database rows and lines in the same order, and nothing learned.

It is run as `python run.py CONFIG` in a folder whose behaviour.json says what shall go wrong, and when.
"""

import json
import os
import signal
import sqlite3
import struct
import sys
import time
from pathlib import Path


def main() -> None:
    behaviour = json.loads(Path("behaviour.json").read_text())
    config = json.loads(Path(sys.argv[1]).read_text())
    process = config["config"]["process"][0]
    Path("seen.json").write_text(json.dumps({"config": config, "environment": dict(os.environ)}))
    job = Job(process, config["config"]["name"], behaviour)
    print("Running 1 job")
    try:
        job.run()
    except KeyboardInterrupt:
        job.row(status="stopped", info="Job stopped")
        print("\n========================================\nJob stopped\n========================================")
        sys.exit(0)
    except Exception as error:
        print(f"Error running job: {error}")
        if not job.stopping:
            job.row(status="error", info=str(error))
        raise


class Job:
    def __init__(self, process: dict, name: str, behaviour: dict) -> None:
        self.process, self.name, self.behaviour = process, name, behaviour
        self.folder = Path(process["training_folder"]) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.steps = process["train"]["steps"]
        self.step = 0
        self.stopping = False
        self.bar_counted_at = self.log_written_at = time.monotonic()
        self.unwritten: list[tuple[int, float]] = []  # steps and when they were logged
        self.database = process["sqlite_db_path"]
        print(f"Using SQLite database at {self.database}")
        (self.folder / "config.yaml").write_text("job: extension\n")

    def run(self) -> None:
        self.row(status="running", info="Starting")
        self.maybe_stop()
        self.row(info="Loading model")
        self.at("load")
        self.row(info="Loading Flux model")
        time.sleep(self.behaviour.get("load_s", 0.15))
        print("\x1b[A")
        print("Loading checkpoint shards: 100%|██████████| 3/3 [00:00<00:00, 12.00it/s]")
        self.resume()
        self.row(info="Loading dataset")
        self.at("cache")
        started_at = self.step
        if self.step <= 1 or self.process["train"]["force_first_sample"]:
            print("Generating baseline samples before training")
            self.sample(self.step)
        self.row(info="Training")
        for index in range(self.step, self.steps):
            self.step = index
            self.train_a_step(index)
            self.bar(index, loss_of=index)
            if index != started_at:
                if index % self.process["save"]["save_every"] == 0:
                    print(f"\nSaving at step {index}")
                    self.save(f"_{index:09d}")
                if index % self.process["sample"]["sample_every"] == 0:
                    self.sample(index)
                self.log(index)
            if time.monotonic() - self.bar_counted_at > 0.1:  # tqdm's mininterval
                self.bar(index + 1, loss_of=index)
                self.bar_counted_at = time.monotonic()
            self.step = index + 1
            self.row(step=self.step)
            self.maybe_stop()
            if self.wish("save_now"):
                self.row(save_now=0)
                print(f"\nSaving at step {self.step}")
                self.save(f"_{self.step:09d}")
            if self.wish("sample_now"):
                self.row(sample_now=0)
                print(f"\nSampling at step {self.step}")
                self.sample(self.step)
        self.save("")
        self.at("end")
        self.sample(self.step)
        self.write_log()
        if self.behaviour.get("without_status"):
            return
        self.row(status="completed", info="Training completed")

    def train_a_step(self, index: int) -> None:
        time.sleep(self.behaviour.get("step_s", 0.002))
        if index in self.behaviour.get("nan_at", []):
            print("loss is nan")
        if index in self.behaviour.get("skip_at", []):
            print("################################################")
            print("# OOM during training step, skipping batch 1/3 #")
        if wish := self.behaviour.get("waits_at", {}).get(str(index)):
            print(f"\nwaiting for {wish}")
            while not self.wish(wish):
                time.sleep(0.005)
        self.at(index)

    def at(self, where: str | int) -> None:
        """Do what shall happen here."""
        match self.behaviour.get("at", {}).get(str(where)):
            case None:
                return
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            case "interrupt":
                raise KeyboardInterrupt
            case "hang":
                print("\nhanging")
                time.sleep(60)
            case "out of memory":
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 23.6 GiB")
            case "out of memory unless lean":
                if not self.process["model"]["low_vram"]:
                    raise RuntimeError("OOM during training step 3 times in a row, aborting training")
            case text:
                raise RuntimeError(text)

    # ---------------------------------------------------------------------------- files

    def save(self, suffix: str) -> None:
        self.maybe_stop()
        self.row(info="Saving model")
        path = self.folder / f"{self.name}{suffix}.safetensors"
        path.write_bytes(lora(self.step))
        if suffix == "" and self.behaviour.get("cut_off"):
            path.write_bytes(lora(self.step)[:-3])
        print(f"Saved checkpoint to {path}")
        (self.folder / "optimizer.pt").write_bytes(b"optimizer at %d" % self.step)
        print(f"Saved optimizer to {self.folder / 'optimizer.pt'}")
        kept = sorted(self.folder.glob(f"{self.name}_*.safetensors"), key=os.path.getctime)
        for old in kept[: -self.process["save"]["max_step_saves_to_keep"]]:
            print(f"Removing old save: {old}")
            old.unlink()
        self.row(info="Training")

    def resume(self) -> None:
        found = sorted(self.folder.glob(f"{self.name}*.safetensors"), key=os.path.getctime)
        if not found or self.behaviour.get("forgets"):
            return
        print(f"#### IMPORTANT RESUMING FROM {found[-1]} ####")
        with found[-1].open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        self.step = json.loads(header["__metadata__"]["training_info"])["step"]
        print(f"Found step {self.step} in metadata, starting from there")
        optimizer = self.folder / "optimizer.pt"
        print(f"Loading optimizer state from {optimizer}")
        assert optimizer.read_bytes() == b"optimizer at %d" % self.step

    def sample(self, step: int) -> None:
        self.maybe_stop()
        prompts = self.process["sample"]["samples"]
        hidden = self.folder / "samples" / ".tmp"
        hidden.mkdir(parents=True, exist_ok=True)
        for index, _ in enumerate(prompts):
            self.row(info=f"Generating images - {index}/{len(prompts)}")
            self.at(f"sample {step}")
            name = f"{time.time_ns() // 1_000_000}__{step:09d}_{index}.{self.process['sample']['format']}"
            (hidden / name).write_bytes(b"RIFF a picture")
            (hidden / name).replace(hidden.parent / name)
            self.maybe_stop()
        self.row(info="Training")

    # ---------------------------------------------------------------------------- what is said

    def log(self, index: int) -> None:
        """Log a step. Written four times a second, as the real one does; the rest is lost when it is killed."""
        if self.behaviour.get("without_loss_log"):
            return
        self.unwritten.append((index, time.time()))
        if time.monotonic() - self.log_written_at > 0.25:
            self.write_log()

    def write_log(self) -> None:
        if not self.unwritten:
            return
        connection = sqlite3.connect(self.folder / "loss_log.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS steps (step INTEGER PRIMARY KEY, wall_time REAL NOT NULL)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS metrics (step INTEGER, key TEXT, value_real REAL, value_text TEXT)"
        )
        connection.execute("BEGIN")
        for index, at in self.unwritten:
            rows = [
                (index, "learning_rate", self.process["train"]["lr"], None),
                (index, "loss/loss", 1 / (index + 1), None),
            ]
            connection.execute("INSERT INTO steps VALUES (?, ?)", (index, at))
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        connection.close()
        self.unwritten, self.log_written_at = [], time.monotonic()

    def bar(self, counted: int, loss_of: int) -> None:
        values = f"lr: {self.process['train']['lr']:.1e} loss: {1 / (loss_of + 1):.3e}"
        percent, drawn = 100 * counted // self.steps, f"{counted}/{self.steps} [00:12<00:01,  4.00it/s, {values}]"
        sys.stdout.write(f"\r{self.name}: {percent:3d}%|████| {drawn}")
        sys.stdout.flush()

    def row(self, **values: str | int) -> None:
        connection = sqlite3.connect(self.database, timeout=30, isolation_level=None)
        for key, value in values.items():
            connection.execute(f"UPDATE Job SET {key} = ? WHERE id = ?", (value, os.environ["AITK_JOB_ID"]))  # noqa: S608
        connection.close()

    def wish(self, key: str) -> bool:
        connection = sqlite3.connect(self.database, timeout=30)
        query = f"SELECT {key} FROM Job WHERE id = ?"  # noqa: S608 - one of our own words
        found = connection.execute(query, (os.environ["AITK_JOB_ID"],)).fetchone()
        connection.close()
        return bool(found[0] == 1)

    def maybe_stop(self) -> None:
        if self.wish("stop"):
            self.row(status="stopped", info="Job stopped")
            self.stopping = True
            raise RuntimeError("Job stopped")


def lora(step: int) -> bytes:
    """Return a LoRA file of one small weight, with its step in the header."""
    header = {
        "__metadata__": {"training_info": json.dumps({"step": step, "epoch": 0})},
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": {
            "dtype": "F32",
            "shape": [2, 2],
            "data_offsets": [0, 16],
        },
    }
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + bytes(16)


if __name__ == "__main__":
    main()
