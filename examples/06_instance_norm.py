"""Instance normalization in a network for regression: on random data, then on the delays of flights, beside none."""

import numpy as np
from real_data import flights
from side_by_side import Arm, compare, hidden_layers, rows

import streamnorm as sn
from streamnorm import nn

NORMS = ("no norm", None), ("instance norm", nn.InstanceNorm)

model = nn.Sequential([
    nn.Dense(10, 64, random_state=0),
    nn.ReLU(),
    nn.InstanceNorm(64),
    nn.Dense(64, 64, random_state=1),
    nn.ReLU(),
    nn.InstanceNorm(64),
    nn.Dense(64, 1, random_state=2),
])  # fmt: skip
model.compile(optimizer="adam", loss="mean_squared_error")

rng = np.random.default_rng(0)
X = rng.random((1000, 10))
y = rng.random((1000, 1))
history = model.fit(X, y, epochs=10, batch_size=32, random_state=0)
print("Loss by epoch:", " ".join(f"{loss:.3f}" for loss in history["loss"]))

parts = flights(sn.StandardScaler(), rows(5000))
inputs = parts.train.x.shape[1]
bare, normalized = (Arm(name, hidden_layers(inputs, norm), parts) for name, norm in NORMS)
compare(__file__, "flights, 2 hidden layers", [bare, normalized])

parts = flights(sn.StandardScaler(), rows(5000, 20_000))
bare, normalized = (Arm(name, hidden_layers(inputs, norm, 12), parts) for name, norm in NORMS)
he = Arm("no norm, He's first weights", hidden_layers(inputs, None, 12, he=True), parts)
compare(__file__, "flights, 12 hidden layers", [bare, he, normalized], optimizer="SGD", rates=(0.001, 0.01, 0.03))
