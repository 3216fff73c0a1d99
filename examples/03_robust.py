"""Robust scaling: five rows of numbers, then the delays of flights from scaled and from raw inputs."""

import numpy as np
from real_data import flights
from side_by_side import Arm, compare, hidden_layers, rows

import streamnorm as sn

data = np.array([[1, 2], [3, 4], [5, 6], [7, 8], [100, 200]])
scaler = sn.RobustScaler()
scaled_data = scaler.fit_transform(data)
print("Scaled Data:\n", scaled_data)

raw, scaled = flights(None, rows(5000)), flights(sn.RobustScaler(), rows(5000))
network = hidden_layers(raw.train.x.shape[1])
arms = [Arm("raw inputs", network, raw), Arm("robust inputs", network, scaled)]
compare(__file__, "flights", arms, optimizer="Adam", rates=(0.0003, 0.001, 0.003, 0.01))
compare(__file__, "flights", arms, optimizer="SGD", rates=(1e-7, 1e-6, 1e-5, 0.001, 0.01, 0.1))
