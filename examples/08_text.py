"""Texts: an embedding and two LSTMs with layer norm, on random words, then on carriers and airports, beside none."""

from collections.abc import Callable

import numpy as np
from real_data import texts
from side_by_side import Arm, compare, options, rows

from streamnorm import nn

model = nn.Sequential([
    nn.Embedding(10_000, 64, random_state=0),
    nn.LSTM(64, 64, return_sequences=True, random_state=1),
    nn.LayerNorm(64),
    nn.LSTM(64, 64, random_state=2),
    nn.LayerNorm(64),
    nn.Dense(64, 1, random_state=3),  # the loss takes logits: there is no sigmoid here
])  # fmt: skip
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

rng = np.random.default_rng(0)
X = rng.integers(0, 10_000, (1000, 100))
y = rng.integers(0, 2, 1000)
history = model.fit(X, y, epochs=2 if options().quick else 10, batch_size=32, random_state=0)
print("Accuracy by epoch:", " ".join(f"{share:.2f}" for share in history["accuracy"]))


def recurrent(words: int, norm: bool, width: int = 32) -> Callable[[int], nn.Sequential]:
    """The same in small, for a number instead of a class."""

    def make(seed: int) -> nn.Sequential:
        rng = np.random.default_rng(seed)
        layers: list[nn.Module] = [nn.Embedding(words, 16, random_state=rng)]
        for inputs, sequences in (16, True), (width, False):
            layers.append(nn.LSTM(inputs, width, return_sequences=sequences, random_state=rng))
            layers += [nn.LayerNorm(width)] if norm else []
        return nn.Sequential([*layers, nn.Dense(width, 1, random_state=rng)])

    return make


parts, words = texts(rows(1500, 20_000))
arms = [Arm("no norm", recurrent(words, norm=False), parts), Arm("layer norm", recurrent(words, norm=True), parts)]
compare(__file__, "time in the air from words", arms, optimizer="Adam", rates=(0.001, 0.003, 0.01, 0.03))
compare(__file__, "time in the air from words", arms, optimizer="SGD", rates=(0.01, 0.03, 0.1, 0.3, 1.0))
