"""What comes of a dataset record or an archive, hostile ones included. The storage is real."""

import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from backend.base_models import load_base_model
from backend.contract import Dataset, DatasetImage, TrainingRequest, new_id, new_run_id
from backend.errors import Cancelled, DatasetRejected, NotFound
from backend.keys import RunKeys
from backend.settings import Settings
from backend.storage import Storage
from workers.report import Report
from workers.runtime import Run
from workers.training.dataset import fetch_pictures, with_trigger
from workers.training.engines import TrainingPicture

Fetch = Callable[..., list[TrainingPicture]]


def picture(colour: str = "red", width: int = 80, height: int = 80, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, kind, **options)
    return buffer.getvalue()


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.fixture
def make_run(storage: Storage, storage_settings: Settings, owner: str, tmp_path: Path) -> Callable[..., Run]:
    def make(key: str | None, trigger: str = "zorbot", **settings: object) -> Run:
        keys = RunKeys(owner, new_run_id("train"))
        request = TrainingRequest(base_model="tiny-flux", lora_name="Z", dataset_key=key, trigger_word=trigger)
        folder = tmp_path / keys.run_id
        folder.mkdir()
        return Run(
            request=request,
            spec=load_base_model("tiny-flux"),
            keys=keys,
            settings=storage_settings.model_copy(update=settings),
            storage=storage,
            report=Report(keys, 1),
            folder=folder,
        )

    return make


@pytest.fixture
def from_zip(storage: Storage, owner: str, make_run: Callable[..., Run]) -> Fetch:
    """Put an archive into storage and fetch it."""

    def fetch(data: bytes, log: list[str] | None = None, **settings: object) -> list[TrainingPicture]:
        key = f"datasets/{owner}/mine.zip"
        storage.loras.put(key, data)
        lines: list[str] = [] if log is None else log
        return fetch_pictures(make_run(key, **settings), threading.Event(), lines.append)

    return fetch


def test_captions_go_with_pictures_by_stem(from_zip: Fetch) -> None:
    files = {
        "deep/in/a.png": picture("red"),
        "deep/in/a.txt": b"a red [trigger]",
        "b.jpg": picture("blue", kind="JPEG"),
        "b.txt": "a caf\xe9 zorbot".encode("latin-1"),
        "c.png": picture("green"),
        "d.png": picture("black"),
        "d.txt": b"in the dark",
        "__MACOSX/._a.png": b"litter",
        "._c.png": b"litter",
        ".DS_Store": b"litter",
        "readme.md": b"# hello",
    }
    log: list[str] = []
    assert [found.caption for found in from_zip(packed(files), log)] == [
        "a red zorbot",
        "a café zorbot",
        "zorbot",
        "zorbot, in the dark",
    ]
    assert log == ["left out readme.md: it is neither a picture nor a .txt caption"]


def test_a_turned_photo_is_turned_once_and_transparency_is_white(from_zip: Fetch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    clear = io.BytesIO()
    Image.new("RGBA", (80, 80), (255, 0, 0, 0)).save(clear, "PNG")
    turned, page = from_zip(
        packed({"a.jpg": picture(width=120, height=80, kind="JPEG", exif=exif), "b.png": clear.getvalue()})
    )
    assert (turned.width, turned.height) == (80, 120)
    with Image.open(turned.path) as image:
        assert image.size == (80, 120)
        assert not image.getexif()
    with Image.open(page.path) as image:
        assert (image.mode, image.getpixel((5, 5))) == ("RGB", (255, 255, 255))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "mine.zip is empty"),
        ({"a.txt": b"caption"}, "mine.zip holds no pictures"),
        ({"a.png": b"I am text"}, r"a\.png is not a picture that can be read"),
        ({"a.png": picture(), "b.png": b"text"}, r"b\.png is not a picture"),
        ({"cut.jpg": picture(width=400, height=400, kind="JPEG")[:900]}, r"cut\.jpg is damaged"),
        ({"dot.png": picture(width=1, height=1)}, r"dot\.png is 1x1 pixels"),
        ({"huge.png": png_header_only(40_000, 40_000)}, r"huge\.png (is 40000x40000|has far more than)"),
        ({"../../evil.png": picture()}, r"\.\./\.\./evil\.png: its path leads out of the archive"),
        ({"/etc/evil.png": picture()}, "its path leads out of the archive"),
    ],
    ids=["empty", "no picture", "text", "one of two", "truncated", "1x1", "40000x40000", "dots", "absolute"],
)
def test_a_bad_archive_is_refused_in_words(from_zip: Fetch, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(DatasetRejected, match=said) as caught:
        from_zip(packed(files))
    assert caught.value.hint


def test_a_bomb_is_refused(from_zip: Fetch) -> None:
    bomb = packed({"a.png": picture(), "b.png": b"\0" * 30_000_000})
    assert len(bomb) < 100_000
    with pytest.raises(DatasetRejected, match=r"b\.png: it unpacks to more than 10 MB"):
        from_zip(bomb, max_upload_bytes=10 * 2**20)
    with pytest.raises(DatasetRejected, match="unpacks to 29 MB; the most is 20 MB"):
        from_zip(bomb, max_dataset_bytes=20 * 2**20)


def test_too_many_pictures_are_refused(from_zip: Fetch) -> None:
    files = {f"{index}.png": picture(width=80 + index) for index in range(4)}
    with pytest.raises(DatasetRejected, match="more than 3 pictures"):
        from_zip(packed(files), max_dataset_images=3)


def test_no_archive_at_all_is_refused(from_zip: Fetch) -> None:
    with pytest.raises(DatasetRejected, match="not a ZIP archive"):
        from_zip(b"hello")


def test_the_same_picture_twice_counts_once(from_zip: Fetch) -> None:
    assert len(from_zip(packed({"a.png": picture(), "b.png": picture()}))) == 1


def test_a_record_is_fetched_in_its_order(storage: Storage, owner: str, make_run: Callable[..., Run]) -> None:
    colours = ["red", "green", "blue", "black", "white", "pink", "gray", "brown", "cyan"]
    record = put_record(storage, owner, [picture(colour) for colour in colours])
    pictures = fetch_pictures(make_run(record), threading.Event(), print)
    assert [found.caption for found in pictures] == [f"zorbot number {index}" for index in range(9)]
    with Image.open(pictures[2].path) as image:
        assert image.getpixel((0, 0)) == (0, 0, 255)


def test_a_lost_picture_is_named(storage: Storage, owner: str, make_run: Callable[..., Run]) -> None:
    record = put_record(storage, owner, [picture("red"), picture("blue")])
    storage.loras.delete([f"datasets/{owner}/1.png"])
    with pytest.raises(NotFound, match=r"1\.png of the dataset 'Mine' is not in storage any more"):
        fetch_pictures(make_run(record), threading.Event(), print)


def test_fetching_stops_when_told(storage: Storage, owner: str, make_run: Callable[..., Run]) -> None:
    record = put_record(storage, owner, [picture()])
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        fetch_pictures(make_run(record), stopped, print)


@pytest.mark.parametrize(
    ("caption", "trigger", "expected"),
    [
        ("a [trigger] on a hill", "z0r", "a z0r on a hill"),
        ("a Z0R here", "z0r", "a Z0R here"),
        ("a robot", "z0r", "z0r, a robot"),
        ("", "z0r", "z0r"),
        ("a robot", "", "a robot"),
        ("", "", ""),
    ],
)
def test_the_trigger_word_is_in_every_caption(caption: str, trigger: str, expected: str) -> None:
    assert with_trigger(caption, trigger) == expected


def put_record(storage: Storage, owner: str, pictures: list[bytes]) -> str:
    images = []
    for index, data in enumerate(pictures):
        key = f"datasets/{owner}/{index}.png"
        storage.loras.put(key, data)
        images.append(
            DatasetImage(
                key=key,
                sha256="0" * 64,
                name=f"{index}.png",
                width=80,
                height=80,
                bytes=len(data),
                caption=f"zorbot number {index}",
            )
        )
    dataset = Dataset(id=new_id(), name="Mine", owner=owner, created_at=0, images=images)
    storage.loras.put_message(f"datasets/{owner}/dataset.json", dataset)
    return f"datasets/{owner}/dataset.json"


def test_a_cancel_ends_an_archive_on_its_way(make_run: Callable[..., Run], storage: Storage, owner: str) -> None:
    storage.loras.put(f"datasets/{owner}/long.zip", bytes(8 * 2**20))
    run, stopped = make_run(f"datasets/{owner}/long.zip"), threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        fetch_pictures(run, stopped, print)
    assert (run.folder / "dataset.zip").stat().st_size == 0
