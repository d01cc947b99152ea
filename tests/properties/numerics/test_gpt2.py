"""A GPT-2 of Hugging Face, cut into gates, trains as the whole does: bit for bit, with one batch in flight."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import GPT2Config, GPT2LMHeadModel

import akkordeon as ak
from akkordeon.actor import Engine
from tests.properties.numerics.loops import SEED, Batches, assert_same_tensors, train_as_network, train_plainly

VOCABULARY, LENGTH, UPDATES = 128, 16, 20
BLOCKS = ["transformer.h.1", "transformer.h.2", "transformer.h.3"]

adamw = partial(AdamW, lr=1e-3, weight_decay=0.1)


def gpt2(dropout: float = 0.0, **settings: Any) -> GPT2LMHeadModel:
    """With random weights: nothing is downloaded."""
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=32,
        n_embd=64,
        n_layer=4,
        n_head=4,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=0,
        eos_token_id=0,
        **settings,
    )
    return GPT2LMHeadModel(config)


def counting() -> Batches:
    """Sequences that count up from somewhere, so that the next token can be learned."""
    generator = torch.Generator().manual_seed(1)
    steps = torch.arange(LENGTH + 1)
    sequences = [
        (torch.randint(VOCABULARY, (size, 1), generator=generator) + steps) % VOCABULARY
        for size in [8] * (UPDATES - 1) + [5]
    ]
    return [(tokens[:, :-1], tokens[:, 1:]) for tokens in sequences]


def padded() -> Batches:
    """The same as keyword arguments, with a mask."""
    return [
        ({"input_ids": x, "attention_mask": (torch.arange(LENGTH) < LENGTH - len(x) % 8 - 1).expand_as(x).long()}, y)
        for x, y in counting()
    ]


def next_token(logits: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())


class Logits(nn.Module):
    """What a plain loop does around the model."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return (self.model(**x) if isinstance(x, dict) else self.model(x)).logits


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("data", [counting, padded])
def test_twenty_updates_in_four_gates_give_the_weights_of_the_whole(
    engine: Engine, data: Any, dropout: float, attention: str
) -> None:
    model = ak.untie(gpt2(dropout, attn_implementation=attention))
    batches = data()
    gates = ak.split(model, BLOCKS, sample=batches[0][0], optimizer=adamw)
    assert [gate.name for gate in gates] == ["transformer_wte", "transformer_h_1", "transformer_h_2", "transformer_h_3"]
    torch.manual_seed(SEED)
    ours = train_as_network(gates, engine, batches, loss=next_token)
    torch.manual_seed(SEED)
    losses = train_plainly(Logits(model), adamw, batches, epochs=1, loss=next_token)

    assert [gate.version for gate in ours.gates] == [UPDATES] * 4
    state = ours.model.state_dict()
    found = {name.partition(".")[2]: tensor for name, tensor in state.items()}
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    assert_same_tensors([found[name] for name in expected], list(expected.values()))
    assert ours.reports[0].loss == pytest.approx(losses[0], rel=1e-12)


def test_with_four_batches_in_flight_its_loss_falls(engine: Engine) -> None:
    model = ak.untie(gpt2(dropout=0.1))
    batches = counting()
    gates = ak.split(model, gates=4, sample=batches[0][0], optimizer=adamw)
    ours = train_as_network(gates, engine, batches, epochs=3, in_flight=4, loss=next_token)
    assert max(gate.staleness.max for gate in ours.gates) > 0
    assert ours.reports[-1].loss < 0.8 * ours.reports[0].loss


def test_a_tied_head_is_refused_until_it_is_untied() -> None:
    model = gpt2()
    message = r"'transformer.wte.weight' and 'lm_head.weight' are one parameter, .* with ak.untie\(model\), or cut"
    with pytest.raises(ak.WiringError, match=message):
        ak.split(model, BLOCKS, optimizer=adamw)
    ak.untie(model)
    model.tie_weights()  # as saving and loading do
    assert not model.config.tie_word_embeddings
    assert model.lm_head.weight is not model.transformer.wte.weight
    assert len(ak.split(model, BLOCKS, optimizer=adamw)) == 4


def test_what_was_trained_loads_into_an_ordinary_gpt2(engine: Engine) -> None:
    model = ak.untie(gpt2())
    batches = counting()
    gates = ak.split(model, BLOCKS, optimizer=adamw)
    trained = train_as_network(gates, engine, batches[:3], loss=next_token).model
    fresh: nn.Module = ak.untie(gpt2())
    state = [part.state_dict() for part in trained]
    assert fresh.load_state_dict({name: tensor for part in state for name, tensor in part.items()}).missing_keys == []
    x = batches[0][0]
    with torch.no_grad():
        assert torch.equal(fresh.eval()(x).logits, trained.eval()(x))
