"""Trains a small Hugging Face GPT-2, cut into four gates, to count."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from transformers import GPT2Config, GPT2LMHeadModel

import akkordeon as ak

config = GPT2Config(n_layer=4, n_embd=64, n_head=4, vocab_size=128, n_positions=32, bos_token_id=0, eos_token_id=0)
model = ak.untie(GPT2LMHeadModel(config))


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield 50 batches of eight sequences, each counting up from a random number."""
    for _ in range(50):
        tokens = (torch.randint(128, (8, 1)) + torch.arange(17)) % 128
        yield tokens[:, :-1], tokens[:, 1:]


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the cross entropy of logits, (batch, position, token), and tokens, (batch, position)."""
    return cross_entropy(logits.flatten(0, 1), target.flatten())


x, _ = next(batches())
gates = ak.split(model, gates=4, sample=x, optimizer=partial(AdamW, lr=1e-3))
with ak.launch(gates) as network:
    network.attach(ak.TrainingSentinel("train", batches, loss, in_flight=4, epochs=3))
    for report in network.watch():
        print(report)
    model.load_state_dict(network.state_dict())  # the weights have the model's names
