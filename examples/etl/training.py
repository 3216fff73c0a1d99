"""A training loop of PyTorch over files of any size: ``python training.py flights.parquet``.

Batches come scaled, shuffled through a bounded buffer, and on the threads of the reader, so that the loop has but to
train. The scaler and the model are what is saved: whoever predicts needs both.
"""

from __future__ import annotations

import sys
import warnings

import torch
from torch import nn

import streamnorm as sn

FEATURES = ["dep_delay", "distance", "air_time"]
TARGET = "arr_delay"


def train(file: str, epochs: int = 2, batch_size: int = 256, seed: int = 0) -> tuple[nn.Module, list[float]]:
    """A network that says how late a flight arrives, and the mean loss of each epoch."""
    torch.manual_seed(seed)
    scaler = sn.fit(file, "standard", columns=FEATURES)
    target = sn.fit(file, "standard", columns=[TARGET])
    batches = sn.batches(file, scaler, batch_size, seed=seed, target=TARGET, target_scaler=target, columns=FEATURES)
    data = torch.utils.data.DataLoader(batches.to_torch(), batch_size=None)
    model = nn.Sequential(nn.Linear(len(FEATURES), 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(epochs):
        total = rows = 0.0
        for x, y in data:
            loss = nn.functional.mse_loss(model(x).squeeze(-1), y.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, rows = total + loss.item() * len(x), rows + len(x)
        losses.append(total / rows)
    return model, losses


if __name__ == "__main__":
    warnings.simplefilter("ignore", sn.StreamnormWarning)
    for number, loss in enumerate(train(sys.argv[1])[1], 1):
        print(f"epoch {number}: mean squared error {loss:.3f}, of 1 without a model")
