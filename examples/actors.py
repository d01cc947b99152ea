"""A five-layer CNN on handwritten digits: `plain.py` trains it in a plain loop, `actors.py` as actors."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.utils.data import DataLoader, TensorDataset

import akkordeon as ak

torch.manual_seed(0)
pixels, digits = load_digits(return_X_y=True)
x, target = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(digits)
data = TensorDataset(x[300:], target[300:])
loader = DataLoader(data, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Takes pixels, (B, 1, 8, 8); returns scores, (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.linear1 = nn.Linear(128, 64)
        self.linear2 = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the score of each digit."""
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2)
        x = x + self.conv3(x).relu()
        return self.linear2(self.linear1(x.flatten(1)).relu())


model = Net()
gates = ak.split(model, at=["conv3", "linear1"], optimizer=lambda p: AdamW(p, lr=3e-3))
with ak.launch(gates) as network:
    network.attach(ak.TrainingSentinel(
        "train", lambda: loader, cross_entropy, in_flight=4, epochs=15))
    for report in network.watch(): print(report)
    model = network.model()

model.eval()
accuracy = (model(x[:300]).argmax(dim=1) == target[:300]).float().mean().item()
print(f"accuracy {accuracy:.4f}")
