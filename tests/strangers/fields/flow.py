"""Forwards that decide by what they see."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.strangers.entry import CLASSES, WIDTH, Entry
from tests.strangers.parts import around, head, linear


class OneOfThree(nn.Module):
    """Uses one of three layers for a batch: the others have no gradient then."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        return self.layers[int(x.abs().sum() * 100) % 3](x)


class Halting(nn.Module):
    """Goes on until it has had enough (adaptive computation time)."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.GRUCell(WIDTH, WIDTH)
        self.halt = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        state, total, result = torch.zeros_like(x), torch.zeros(len(x), 1), torch.zeros_like(x)
        for _ in range(5):
            state = self.step(x, state)
            share = torch.minimum(self.halt(state).sigmoid(), 1 - total)
            result, total = result + share * state, total + share
            if bool((total > 0.95).all()):
                break
        return result


class Early(nn.Module):
    """Leaves early for samples that are clear, and goes on with the rest: sizes that depend on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.easy, self.deep = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.easy(x)
        hard = y.detach().softmax(1).amax(1) < 0.5
        if hard.any():
            y = y.index_put((hard.nonzero().squeeze(1),), self.deep(x[hard]))
        return y


class Guarded(nn.Module):
    """Repairs what is not finite, and says so by an exception of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def checked(self, x: Tensor) -> Tensor:
        if not bool(x.isfinite().all()) or float(x.sum()) > 0:
            raise ArithmeticError
        return x

    def forward(self, x: Tensor) -> Any:
        try:
            x = self.checked(x)
        except ArithmeticError:
            x = x.nan_to_num() / 2
        return self.linear(x)


class ByShape(nn.Module):
    """Does something else for a small batch, and draws random numbers only then."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        return nn.functional.dropout(y, 0.5, self.training) if len(x) < 5 else y


class Recursive(nn.Module):
    """Merges neighbours as long as there are two, the most alike first."""

    def __init__(self) -> None:
        super().__init__()
        self.merge = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(
            [self.merged([*row.unsqueeze(0).expand(3, -1) * torch.arange(1, 4).unsqueeze(1)]) for row in x]
        )

    def merged(self, rows: list[Tensor]) -> Tensor:
        if len(rows) == 1:
            return rows[0]
        at = min(range(len(rows) - 1), key=lambda n: float((rows[n] - rows[n + 1]).abs().sum()))
        both = self.merge(torch.cat(rows[at : at + 2])).tanh()
        return self.merged([*rows[:at], both, *rows[at + 2 :]])


class Equilibrium(nn.Module):
    """Looks for a fixed point without gradient, and takes one step with it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        state = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(30):
                new = (0.3 * self.linear(state) + x).tanh()
                if float((new - state).abs().max()) < 1e-4:
                    break
                state = new
        return (0.3 * self.linear(state) + x).tanh()


class Fixed(nn.Module):
    """Adds the same noise to each batch, and leaves the random generator as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            noise = torch.randn(WIDTH)
        return self.linear(x) + noise


ENTRIES = {
    "random numbers of a fork": Entry(lambda: [Fixed(), nn.Dropout(0.2), Fixed(), head()]),
    "one of three layers, by the data": Entry(lambda: around(OneOfThree())),
    "steps until it has had enough": Entry(lambda: around(Halting())),
    "samples that leave early": Entry(lambda: [linear(), Early()]),
    "repairs by an exception": Entry(lambda: around(Guarded())),
    "random numbers for small batches only": Entry(lambda: around(ByShape())),
    "recursion over what is alike": Entry(lambda: around(Recursive())),
    "fixed point": Entry(lambda: around(Equilibrium())),
}
