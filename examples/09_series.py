"""Series: two LSTMs with batch norm, on random numbers, then on the weather, beside none and beside raw inputs."""

from collections.abc import Callable

import numpy as np
from real_data import weather
from side_by_side import Arm, compare, options

from streamnorm import nn

model = nn.Sequential([
    nn.LSTM(1, 64, return_sequences=True, random_state=0),
    nn.BatchNorm(64, channel_axis=-1),
    nn.LSTM(64, 64, random_state=1),
    nn.BatchNorm(64),
    nn.Dense(64, 1, random_state=2),
])  # fmt: skip
model.compile(optimizer="adam", loss="mean_squared_error")

rng = np.random.default_rng(0)
X = rng.random((1000, 10, 1))
y = rng.random((1000, 1))
history = model.fit(X, y, epochs=10, batch_size=32, random_state=0)
print("Loss by epoch:", " ".join(f"{loss:.3f}" for loss in history["loss"]))


def recurrent(inputs: int, norm: bool, width: int = 32) -> Callable[[int], nn.Sequential]:
    """The same in small."""

    def make(seed: int) -> nn.Sequential:
        rng = np.random.default_rng(seed)
        layers: list[nn.Module] = []
        for fan_in, sequences in (inputs, True), (width, False):
            layers.append(nn.LSTM(fan_in, width, return_sequences=sequences, random_state=rng))
            layers += [nn.BatchNorm(width, channel_axis=-1)] if norm else []
        return nn.Sequential([*layers, nn.Dense(width, 1, random_state=rng)])

    return make


stride = 24 if options().quick else 6
raw, scaled = weather(None, stride), weather("standard", stride)
inputs = raw.train.x.shape[2]
arms = [
    Arm("raw inputs", recurrent(inputs, norm=False), raw),
    Arm("z-scores", recurrent(inputs, norm=False), scaled),
    Arm("z-scores, batch norm", recurrent(inputs, norm=True), scaled),
]
compare(__file__, "temperature in six hours", arms, optimizer="Adam", rates=(0.0003, 0.001, 0.003, 0.01))
compare(__file__, "temperature in six hours", arms, optimizer="SGD", rates=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0))
