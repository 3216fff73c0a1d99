"""Layer normalization in a network for regression: on random data, then on the delays of flights, beside none."""

import numpy as np
from side_by_side import compare_norm

from streamnorm import nn

model = nn.Sequential([
    nn.Dense(10, 64, random_state=0),
    nn.ReLU(),
    nn.LayerNorm(64),
    nn.Dense(64, 64, random_state=1),
    nn.ReLU(),
    nn.LayerNorm(64),
    nn.Dense(64, 1, random_state=2),
])  # fmt: skip
model.compile(optimizer="adam", loss="mean_squared_error")

rng = np.random.default_rng(0)
X = rng.random((1000, 10))
y = rng.random((1000, 1))
history = model.fit(X, y, epochs=10, batch_size=32, random_state=0)
print("Loss by epoch:", " ".join(f"{loss:.3f}" for loss in history["loss"]))

compare_norm(__file__, "layer norm", nn.LayerNorm)
