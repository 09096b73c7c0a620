"""Which size a picture is trained at, and in which order."""

import pytest
import torch
from PIL import Image

from backend.base_models import load_base_model
from backend.diffusers_options import options_of
from workers.training.engines.diffusers_child.buckets import Batches, BucketSize, bucket_sizes, fit, nearest
from workers.training.engines.diffusers_child.learner import draw_noise_levels
from workers.training.engines.diffusers_child.trainer import learning_rate_at


@pytest.mark.parametrize(
    ("picture", "bucket"),
    [((1000, 1000), (1024, 1024)), ((3000, 2000), (1248, 832)), ((500, 2000), (656, 1584)), ((640, 480), (1184, 880))],
)
def test_the_bucket_has_the_shape_of_the_picture(picture: tuple[int, int], bucket: tuple[int, int]) -> None:
    sizes = bucket_sizes(1024, load_base_model("flux1-dev"), declared_only=False)
    chosen = nearest(*picture, sizes)
    assert chosen == bucket
    assert all(side % 16 == 0 for side in chosen)


def test_a_model_that_knows_few_sizes_is_trained_at_those() -> None:
    sizes = bucket_sizes(128, load_base_model("tiny-flux"), declared_only=True)
    assert set(sizes) == {(128, 128), (160, 96), (96, 160)}
    assert nearest(1200, 800, sizes) == (160, 96)


def test_a_picture_is_covered_and_cut_in_the_middle() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    assert fit(image, BucketSize(64, 64)).getpixel((1, 30))[2] > 240


def test_every_picture_comes_once_before_any_comes_again() -> None:
    batches, random = Batches([[0, 1, 2, 3, 4, 5]], 2), torch.Generator().manual_seed(1)
    for _ in range(4):
        assert sorted(item for _ in range(3) for item in batches.draw(random)) == [0, 1, 2, 3, 4, 5]


def test_a_batch_keeps_to_one_bucket() -> None:
    batches, random = Batches([[0, 1, 2], [3, 4]], 4), torch.Generator().manual_seed(1)
    drawn = [tuple(sorted(batches.draw(random))) for _ in range(40)]
    assert set(drawn) == {(0, 1, 2), (3, 4)}


def test_batches_go_on_where_they_were() -> None:
    first, random = Batches([[0, 1, 2], [3, 4]], 2), torch.Generator().manual_seed(1)
    first.draw(random)
    second, copy = Batches([[0, 1, 2], [3, 4]], 2), torch.Generator()
    second.restore(first.state())
    copy.set_state(random.get_state())
    assert [first.draw(random) for _ in range(9)] == [second.draw(copy) for _ in range(9)]


def test_the_rate_rises_and_falls() -> None:
    spec = load_base_model("tiny-flux")
    rates = [learning_rate_at(step, spec.training, options_of(spec)) for step in range(spec.training.steps)]
    assert rates[0] < rates[5] < rates[10] > rates[150] > rates[299] > 0


def test_noise_is_never_all_or_nothing() -> None:
    levels = draw_noise_levels(5000, options_of(load_base_model("tiny-flux")), torch.Generator().manual_seed(0))
    assert 0 < levels.min() < 0.05
    assert 0.95 < levels.max() <= 1
