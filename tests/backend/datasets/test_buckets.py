"""What pictures become, beside sizes worked out with ai-toolkit's rule by hand."""

import pytest

from backend.datasets.buckets import crop_for


@pytest.mark.parametrize(
    ("picture", "resolution", "multiple", "size"),
    [
        ((1024, 1024), 1024, 16, (1024, 1024)),
        ((4000, 3000), 1024, 16, (1152, 832)),
        ((3000, 4000), 1024, 16, (832, 1152)),
        ((4000, 3000), 512, 16, (576, 416)),
        ((1920, 1080), 1024, 8, (1344, 768)),
        ((256, 256), 1024, 16, (256, 256)),  # never enlarged
        ((640, 640), 128, 16, (128, 128)),
        ((9000, 100), 128, 16, (1024, 16)),
    ],
)
def test_a_picture_goes_to_the_shape_that_cuts_least(
    picture: tuple[int, int], resolution: int, multiple: int, size: tuple[int, int]
) -> None:
    crop = crop_for(*picture, resolution, multiple)
    assert (crop.width, crop.height) == size


def test_what_stands_out_is_cut_off_evenly_on_both_sides() -> None:
    crop = crop_for(2000, 1000, 1024, 16)
    assert crop.left == pytest.approx((1 - crop.across) / 2)
    assert crop.across * 2000 / (crop.down * 1000) == pytest.approx(crop.width / crop.height)
    assert crop.lost == pytest.approx(1 - crop.across * crop.down)


def test_every_picture_finds_a_size() -> None:
    for width in range(64, 3000, 157):
        for height in range(64, 3000, 163):
            crop = crop_for(width, height, 768, 16)
            assert crop.width % 16 == crop.height % 16 == 0
            assert 0 < crop.across <= 1
            assert 0 < crop.down <= 1
