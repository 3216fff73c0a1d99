"""Images: a convolutional network on a folder of images, then digits with and without scaled pixels and batch norm."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from real_data import digits, write_digits
from side_by_side import Arm, compare, options, rows

import streamnorm as sn
from streamnorm import nn

model = nn.Sequential([
    nn.Conv2D(3, 32, (3, 3), random_state=0),
    nn.ReLU(),
    nn.BatchNorm(32, channel_axis=-1),
    nn.Conv2D(32, 64, (3, 3), random_state=1),
    nn.ReLU(),
    nn.BatchNorm(64, channel_axis=-1),
    nn.Flatten(),
    nn.Dense(60 * 60 * 64, 128, random_state=2),
    nn.ReLU(),
    nn.BatchNorm(128),
    nn.Dense(128, 10, random_state=3),  # the loss takes logits: there is no softmax here
])  # fmt: skip
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])

with tempfile.TemporaryDirectory() as folder:
    write_digits(Path(folder), slice(60))
    train_data = sn.ImageFolder(folder, size=(64, 64), batch_size=32, scaler="unit")
    history = model.fit(train_data, epochs=1 if options().quick else 10)
print("Accuracy by epoch:", " ".join(f"{share:.2f}" for share in history["accuracy"]))


def convolutional(norm: bool) -> Callable[[int], nn.Sequential]:
    """The same in small: images of 8 x 8 pixels, one channel."""

    def make(seed: int) -> nn.Sequential:
        rng = np.random.default_rng(seed)
        layers: list[nn.Module] = []
        for channels, filters in (1, 16), (16, 32):
            layers += [nn.Conv2D(channels, filters, random_state=rng), nn.ReLU()]
            layers += [nn.BatchNorm(filters, channel_axis=-1)] if norm else []
        layers += [nn.Flatten(), nn.Dense(4 * 4 * 32, 64, random_state=rng), nn.ReLU()]
        layers += [nn.BatchNorm(64)] if norm else []
        return nn.Sequential([*layers, nn.Dense(64, 10, random_state=rng)])

    return make


raw, unit = digits(None, rows(600)), digits("unit", rows(600))
arms = [
    Arm("pixels 0 to 255", convolutional(norm=False), raw),
    Arm("pixels 0 to 1", convolutional(norm=False), unit),
    Arm("pixels 0 to 1, batch norm", convolutional(norm=True), unit),
]
for optimizer, rates in ("Adam", (0.0001, 0.0003, 0.001, 0.003, 0.01)), ("SGD", (0.003, 0.01, 0.03, 0.1, 0.3, 0.5)):
    compare(__file__, "digits", arms, optimizer=optimizer, rates=rates, loss="softmax_cross_entropy")
