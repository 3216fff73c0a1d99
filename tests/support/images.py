"""Small images on disk, for tests."""

import numpy as np
from PIL import Image

SEED = 20130103


def pattern(rng, height=24, width=20, channels=3):
    """A smooth image with some noise, of shape (height, width, channels) or (height, width)."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        rng.uniform(60, 190) + rng.uniform(10, 60) * np.sin(x / rng.uniform(3, 9)) * np.cos(y / rng.uniform(3, 9))
        for _ in range(channels)
    ]
    values = np.stack(planes, -1) + rng.normal(0, 5, (height, width, channels))
    return values.clip(0, 255).astype(np.uint8).squeeze()


def save(path, pixels, **options):
    """Write pixels to a file of the format that its name says, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def make_tree(root, counts=(("cats", 7), ("dogs", 5), ("eels", 3)), ext="png", height=24, width=20):
    """A folder for each class with so many images."""
    rng = np.random.default_rng(SEED)
    for name, count in counts:
        for i in range(count):
            save(root / name / f"{i:03d}.{ext}", pattern(rng, height, width))
    return root


def by_hand(path, size, mode="RGB"):
    """The values that a plain loop with Pillow finds, of shape (height, width, channels)."""
    with Image.open(path) as image:
        image = image.convert(mode)
        if image.size != size[::-1]:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(*size, -1)
