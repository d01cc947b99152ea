"""Batches come in order or shuffled, and a loader goes on exactly where its state was taken."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from akkordeon.datasets import Images, Loader, Text

SAMPLES, SIZE, BATCHES = 10, 3, 4


def pictures(samples: int = SAMPLES) -> Images:
    pixels = torch.arange(samples, dtype=torch.uint8).reshape(-1, 1, 1).expand(samples, 2, 3).clone()
    pixels[0, 0, 0] = 255
    return Images(pixels, torch.arange(samples))


def order(loader: Loader) -> list[int]:
    return [int(label) for _, labels in loader for label in labels]


def labels(batches: Iterator[tuple[Tensor, Tensor]]) -> list[list[int]]:
    return [target.tolist() for _, target in batches]


def test_batches_come_in_order_and_the_last_one_may_be_smaller() -> None:
    loader = Loader(pictures(), 4)
    assert [labels.tolist() for _, labels in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    assert len(Loader(pictures(8), 4)) == 2


def test_pixels_become_numbers_from_0_to_1_when_a_batch_is_made_and_stay_bytes_until_then() -> None:
    images = pictures()
    before = images.pixels.clone()
    (x, target), *_ = Loader(images, 4)
    assert (x.dtype, tuple(x.shape), target.dtype) == (torch.float32, (4, 2, 3), torch.int64)
    assert (x.min().item(), x.max().item()) == (0.0, 1.0)
    assert x[3, 0, 0].item() == pytest.approx(3 / 255)
    assert images.pixels.dtype == torch.uint8
    assert torch.equal(images.pixels, before)


def test_each_batch_is_made_of_new_tensors() -> None:
    images = pictures()
    loader = Loader(images, 4)
    for x, target in [*loader, *loader]:
        x.zero_()
        target.zero_()
    assert order(loader) == list(range(10))
    assert images.pixels.sum() > 0


def test_shuffling_gives_each_epoch_all_samples_in_another_order() -> None:
    loader = Loader(pictures(), 4, shuffle=True)
    first, second = order(loader), order(loader)
    assert sorted(first) == sorted(second) == list(range(10))
    assert len({tuple(first), tuple(second), tuple(range(10))}) == 3


def test_shuffling_depends_on_the_seed_alone() -> None:
    def orders(seed: int) -> list[list[int]]:
        loader = Loader(pictures(), 4, shuffle=True, seed=seed)
        return [order(loader), order(loader)]

    first = orders(5)
    torch.manual_seed(99)
    assert orders(5) == first
    assert orders(6) != first


def test_shuffling_leaves_the_generator_of_the_process_alone() -> None:
    before = torch.get_rng_state()
    order(Loader(pictures(), 4, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_and_labels_stay_together_when_shuffled() -> None:
    for x, target in Loader(pictures(), 3, shuffle=True):
        assert torch.equal((x[:, 1, 1] * 255).round().long(), target)


@pytest.mark.parametrize("size", [0, -4])
def test_a_batch_size_that_is_not_positive_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, not {size}"):
        Loader(pictures(), size)


# Where it is, saved and loaded


def shuffled(seed: int = 3) -> Loader:
    return Loader(pictures(), SIZE, shuffle=True, seed=seed)


def epochs(loader: Loader, num: int) -> list[list[int]]:
    """All batches of so many epochs, in one list."""
    return [batch for _ in range(num) for batch in labels(iter(loader))]


def go_on(state: dict[str, Any]) -> Loader:
    """A new loader of the same arguments but another seed, which the state overrules."""
    loader = shuffled(seed=99)
    loader.load_state_dict(state)
    return loader


@pytest.mark.parametrize("epoch", range(3))
@pytest.mark.parametrize("given", range(1, BATCHES))
def test_a_state_taken_within_an_epoch_goes_on_with_the_next_batch_and_later_epochs_are_the_same(
    epoch: int, given: int
) -> None:
    whole = epochs(shuffled(), 6)
    loader = shuffled()
    epochs(loader, epoch)
    iterator = iter(loader)
    labels(islice(iterator, given))
    state = loader.state_dict()
    done = epoch * BATCHES + given
    other = go_on(state)
    assert labels(iter(other)) == whole[done : (epoch + 1) * BATCHES]
    assert epochs(other, 3) == whole[(epoch + 1) * BATCHES :][: 3 * BATCHES]


@pytest.mark.parametrize("epoch", range(3))
def test_a_state_taken_between_two_epochs_begins_the_next(epoch: int) -> None:
    whole = epochs(shuffled(), 5)
    loader = shuffled()
    epochs(loader, epoch)
    assert epochs(go_on(loader.state_dict()), 2) == whole[epoch * BATCHES :][: 2 * BATCHES]


def test_a_state_taken_after_the_last_batch_but_before_the_end_is_noticed_begins_the_next_epoch() -> None:
    whole = epochs(shuffled(), 3)
    loader = shuffled()
    labels(islice(iter(loader), BATCHES))
    assert epochs(go_on(loader.state_dict()), 2) == whole[BATCHES:]


def test_a_state_taken_when_an_epoch_has_begun_and_given_nothing_begins_that_epoch() -> None:
    whole = epochs(shuffled(), 3)
    loader = shuffled()
    epochs(loader, 1)
    iter(loader)
    assert epochs(go_on(loader.state_dict()), 2) == whole[BATCHES:]


def test_taking_a_state_and_going_on_disturb_neither() -> None:
    whole = epochs(shuffled(), 4)
    loader = shuffled()
    states, given = [], []
    for _ in range(3):
        for _, target in loader:
            given.append(target.tolist())
            states.append(loader.state_dict())
    assert given == whole[: 3 * BATCHES]
    for done, state in enumerate(states, start=1):
        other = go_on(state)
        assert labels(iter(other))[0] == whole[done]


def test_a_state_can_be_loaded_and_taken_again_before_anything_is_given() -> None:
    loader = shuffled()
    labels(islice(iter(loader), 2))
    state = loader.state_dict()
    again = go_on(state).state_dict()
    assert again.keys() == state.keys()
    assert torch.equal(again["generator"], state["generator"])
    assert (again["batch"], again["batches"]) == (state["batch"], state["batches"]) == (2, BATCHES)
    assert labels(iter(go_on(again))) == labels(iter(go_on(state)))


def test_a_state_taken_after_going_on_counts_from_the_beginning_of_the_epoch() -> None:
    whole = epochs(shuffled(), 2)
    loader = shuffled()
    labels(islice(iter(loader), 1))
    loader = go_on(loader.state_dict())
    labels(islice(iter(loader), 2))
    loader = go_on(loader.state_dict())
    assert labels(iter(loader)) == whole[3:BATCHES]
    assert labels(iter(loader)) == whole[BATCHES:]


def test_a_state_can_be_loaded_into_the_loader_that_it_is_of() -> None:
    loader = shuffled()
    iterator = iter(loader)
    labels(islice(iterator, 1))
    state = loader.state_dict()
    rest = labels(iterator)
    epochs(loader, 2)
    loader.load_state_dict(state)
    assert labels(iter(loader)) == rest


def test_an_epoch_that_was_left_is_over() -> None:
    loader = shuffled()
    labels(islice(iter(loader), 1))
    assert len(labels(iter(loader))) == BATCHES


def test_a_loader_that_does_not_shuffle_goes_on_too() -> None:
    loader = Loader(pictures(), SIZE)
    labels(islice(iter(loader), 2))
    other = Loader(pictures(), SIZE)
    other.load_state_dict(loader.state_dict())
    assert labels(iter(other)) == [[6, 7, 8], [9]]
    assert labels(iter(other))[0] == [0, 1, 2]


def test_windows_of_a_text_go_on_too() -> None:
    def make() -> Loader:
        return Loader(Text(torch.arange(100, dtype=torch.uint8)).windows(7), 2, shuffle=True)

    loader = make()
    iterator = iter(loader)
    labels(islice(iterator, 3))
    other = make()
    other.load_state_dict(loader.state_dict())
    assert labels(iter(other)) == labels(iterator)
    assert labels(iter(other)) == labels(iter(loader))


def test_a_state_is_plain_whole_numbers_and_one_tensor_of_bytes() -> None:
    state = shuffled().state_dict()
    generator = state.pop("generator")
    assert (generator.dtype, state) == (torch.uint8, {"batch": 0, "batches": BATCHES})


def test_what_a_state_holds_does_not_change_when_its_loader_goes_on() -> None:
    loader = shuffled()
    labels(islice(iter(loader), 1))
    state = loader.state_dict()
    before = state["generator"].clone()
    epochs(loader, 2)
    assert torch.equal(state["generator"], before)
    assert state["batch"] == 1


def test_the_state_of_a_loader_with_other_batches_is_refused() -> None:
    state = Loader(pictures(), 5).state_dict()
    with pytest.raises(ValueError, match="a loader with 2 batches per epoch, and this one has 4; use the same samples"):
        shuffled().load_state_dict(state)
