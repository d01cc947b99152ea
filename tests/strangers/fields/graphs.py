"""Networks over graphs: adjacency that is sparse, dense, a list of edges, or a buffer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.strangers.entry import CLASSES, WIDTH, Chain, Entry, floats
from tests.strangers.parts import head

NODES = 6


class Convolution(nn.Module):
    """Takes features and adjacency, and passes both on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, adjacency = given
        return torch.sparse.mm(adjacency, self.linear(x)).relu(), adjacency


class Dense(Convolution):
    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, adjacency = given
        return (adjacency.float() @ self.linear(x)).relu(), adjacency


class Nodes(nn.Module):
    """Classes of nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, given: tuple[Tensor, Any]) -> Any:
        return self.read(given[0])


class Messages(nn.Module):
    """Sends messages along a list of edges, and drops some edges in training."""

    def __init__(self) -> None:
        super().__init__()
        self.message = nn.Linear(2 * WIDTH, WIDTH)
        self.update = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, edges = given
        source, to = edges[:, torch.rand(edges.shape[1]) > 0.2] if self.training else edges
        messages = self.message(torch.cat([x[source], x[to]], 1)).relu()
        return self.update(torch.zeros_like(x).index_add(0, to, messages), x), edges


class Attention(nn.Module):
    """Weighs edges by a softmax over those of each node."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.score = nn.Parameter(torch.randn(2 * WIDTH) * 0.3)

    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, edges = given
        x, (source, to) = self.linear(x), edges
        score = functional.leaky_relu(torch.cat([x[source], x[to]], 1) @ self.score).exp()
        total = torch.zeros(len(x)).index_add(0, to, score)
        weighted = x[source] * (score / total[to]).unsqueeze(1)
        return torch.zeros_like(x).index_add(0, to, weighted), edges


class Pooled(nn.Module):
    """One class for each of several graphs, told apart by a number for each node."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, given: dict[str, Tensor]) -> Any:
        graphs = int(given["graph"].max()) + 1
        return self.read(torch.zeros(graphs, WIDTH).index_add(0, given["graph"], given["x"]))


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**given, "x": self.linear(given["x"]).tanh()}


class Fixed(nn.Module):
    """One graph for all batches, sparse, in a buffer."""

    adjacency: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("adjacency", (torch.rand(WIDTH, WIDTH) < 0.4).float().to_sparse(), persistent=False)

    def forward(self, x: Tensor) -> Any:
        return torch.sparse.mm(self.adjacency, self.linear(x).t()).t()


def graph(form: Callable[[Tensor], Tensor]) -> Callable[[int], Any]:
    """Make features and an adjacency of that form; as many nodes as samples."""
    return lambda size: (torch.randn(size, WIDTH), form((torch.rand(size, size) < 0.4).float() + torch.eye(size)))


def as_edges(adjacency: Tensor) -> Tensor:
    return adjacency.nonzero().t().contiguous()


def several(size: int) -> dict[str, Tensor]:
    """Graphs of three nodes each."""
    return {"x": torch.randn(3 * size, WIDTH), "graph": torch.arange(size).repeat_interleave(3)}


def chain(layer: type[nn.Module]) -> Chain:
    return [layer(), layer(), Nodes()]


ENTRIES = {
    "adjacency in COO form": Entry(lambda: chain(Convolution), graph(Tensor.to_sparse)),
    "adjacency in CSR form": Entry(lambda: chain(Convolution), graph(Tensor.to_sparse_csr)),
    "dense adjacency": Entry(lambda: chain(Dense), graph(torch.clone)),
    "adjacency of booleans": Entry(lambda: chain(Dense), graph(Tensor.bool)),
    "messages along edges, some dropped": Entry(lambda: chain(Messages), graph(as_edges)),
    "attention over edges": Entry(lambda: chain(Attention), graph(as_edges)),
    "several graphs in a batch": Entry(lambda: [Embedded(), Embedded(), Pooled()], several),
    "sparse adjacency in a buffer": Entry(lambda: [Fixed(), Fixed(), head()], floats(WIDTH)),
}
