"""Models of Hugging Face, made from small configurations: nothing is downloaded."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from tests.strangers.entry import CLASSES, TIME, WORDS, Chain, Entry, floats, words

SMALL = 16
"""Features of all models here."""


class Logits(nn.Module):
    """Takes keyword arguments or one input, and returns the logits alone."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return (self.model(**x) if isinstance(x, dict) else self.model(x)).logits


class Embedding(nn.Module):
    """The part of a GPT-2 before its blocks."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        body = model.transformer
        self.wte, self.wpe, self.drop = body.wte, body.wpe, body.drop

    def forward(self, x: Tensor) -> Any:
        return self.drop(self.wte(x) + self.wpe(torch.arange(x.shape[1])))


class Block(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Any:
        made = self.block(x)
        return made[0] if isinstance(made, tuple) else made


def gpt2(**settings: Any) -> GPT2LMHeadModel:
    sizes: dict[str, Any] = {"vocab_size": WORDS, "n_positions": 2 * TIME, "n_embd": SMALL, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, use_cache=False, **settings))


def gpt2_in_blocks() -> Chain:
    model = gpt2(tie_word_embeddings=False)
    body = model.transformer
    return [Embedding(model), *(Block(block) for block in body.h), nn.Sequential(body.ln_f, model.lm_head)]


def checkpointed(model: PreTrainedModel, *, reentrant: bool) -> Chain:
    """Switch on what saves memory there: parts of the forward run again in the backward."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})  # type: ignore[no-untyped-call]
    model.train()
    return [Logits(model)]


def llama() -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS,
            hidden_size=SMALL,
            intermediate_size=2 * SMALL,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=2 * TIME,
            use_cache=False,
        )
    ).train()


def bert() -> Chain:
    settings: dict[str, Any] = {"num_labels": CLASSES}
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=SMALL,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * SMALL,
        max_position_embeddings=2 * TIME,
        **settings,
    )
    return [Logits(BertForSequenceClassification(config).train())]


def t5() -> Chain:
    config = T5Config(
        vocab_size=WORDS, d_model=SMALL, d_kv=8, d_ff=2 * SMALL, num_layers=1, num_heads=2, use_cache=False
    )
    return [Logits(T5ForConditionalGeneration(config).train())]


def vit() -> Chain:
    settings: dict[str, Any] = {"num_labels": CLASSES}
    config = ViTConfig(
        hidden_size=SMALL,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * SMALL,
        image_size=8,
        patch_size=4,
        **settings,
    )
    return [Logits(ViTForImageClassification(config).train())]


def masked(size: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(WORDS, (size, TIME)), "attention_mask": torch.ones(size, TIME).long()}


def both_sides(size: int) -> dict[str, Tensor]:
    return {
        "input_ids": torch.randint(WORDS, (size, TIME)),
        "decoder_input_ids": torch.randint(WORDS, (size, TIME)),
    }


def next_words(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


adamw = partial(AdamW, lr=1e-3, weight_decay=0.1)
text = words(TIME)
Words = partial(Entry, x=text, target=text, loss=next_words, optimizer=adamw)

ENTRIES = {
    "GPT-2 in blocks": Words(gpt2_in_blocks),
    "GPT-2, tied": Words(lambda: [Logits(gpt2().train())]),
    "GPT-2, checkpointed": Words(lambda: checkpointed(gpt2(), reentrant=False)),
    "GPT-2, checkpointed the old way": Words(lambda: checkpointed(gpt2(), reentrant=True)),
    "Llama": Words(lambda: [Logits(llama())]),
    "Llama, checkpointed": Words(lambda: checkpointed(llama(), reentrant=False)),
    "BERT": Entry(bert, masked, optimizer=adamw),
    "T5": Words(t5, x=both_sides),
    "ViT": Entry(vit, floats(3, 8, 8), optimizer=adamw),
}
