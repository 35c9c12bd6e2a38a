"""`mixhead.monitor`: what it says of a training, and that the training feels nothing of it."""

import copy
import logging
import random
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset

import mixhead
from mixhead.dropin.registry import mixture
from mixhead.monitoring import monitor as monitoring
from mixhead.monitoring.distinct import distinct
from mixhead.monitoring.images import Images
from mixhead.monitoring.measures import effective_rank

from .heads import IN, K, lightly_head

Attach = Callable[..., None]
CLASSES = 3


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No monitor outlives its test."""
    yield
    for each in monitoring._monitors.values():
        each.handle.remove()
    monitoring._monitors.clear()


class Noisy(Dataset[tuple[Tensor, int]]):
    """Images of a few classes, which lie apart; a look at one draws random numbers, as augmentation does."""

    def __init__(self, count: int = 120, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) * CLASSES // count  # sorted, as folders are
        centers = 3 * torch.randn(CLASSES, 3, 2, 2, generator=torch.Generator().manual_seed(1))
        self.images = centers[self.labels] + torch.randn(count, 3, 2, 2, generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        shift = torch.randn(()) + random.random() + np.random.rand()
        return self.images[place] + 0.01 * shift, int(self.labels[place])


class Training:
    """A small script: a backbone with a batch norm and dropout, a head, a loop."""

    def __init__(self, **options: object) -> None:
        torch.manual_seed(5)
        flat = nn.Sequential(nn.Flatten(), nn.Linear(12, IN), nn.BatchNorm1d(IN), nn.Dropout(0.1))
        self.backbone, self.head = flat, lightly_head(**options)
        self.teacher_backbone = copy.deepcopy(flat).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)
        self.teacher_backbone[3].eval()  # a mode of its own
        parameters = [*self.backbone.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(parameters, 0.05)
        self.loader = DataLoader(Noisy(), batch_size=20, shuffle=True)

    def run(self, epochs: int = 2) -> list[float]:
        losses = []
        for _ in range(epochs):
            for images, _ in self.loader:
                with torch.no_grad():
                    targets = self.teacher_head(self.teacher_backbone(images)).softmax(1)
                loss = -(targets * self.head(self.backbone(images)).log_softmax(1)).sum(1).mean()
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                losses.append(loss.item() + random.random() + np.random.rand())
        return losses


def state(training: Training) -> dict[str, Tensor]:
    parts = (training.backbone, training.head, training.teacher_backbone, training.teacher_head)
    return {
        f"{place}.{name}": each
        for place, part in enumerate(parts)
        for name, each in part.state_dict().items()
    }


def test_says_how_well_the_features_tell_classes_apart_and_how_prototypes_are_used(
    attach: Attach, caplog: pytest.LogCaptureFixture
):
    attach()
    training = Training()
    with caplog.at_level(logging.INFO, "mixhead"):
        mixhead.monitor(Noisy(), training.teacher_backbone, training.teacher_head, every=5)
        training.run()
    stats = mixhead.stats()
    assert stats["knn"] > 0.9
    assert 1 < stats["effective_rank"] <= IN
    assert 0 < stats["used_by_images"] <= 1 <= stats["perplexity"] <= K
    assert 0 < stats["distinct_used_by_images"] <= stats["used_by_images"]
    assert stats["used_by_images"] * K == pytest.approx(round(stats["used_by_images"] * K))
    lines = [record.getMessage() for record in caplog.records if "knn" in record.getMessage()]
    assert [line.split(":")[0] for line in lines] == ["step 1", "step 5", "step 10"]
    assert f"knn {stats['knn']:.4g}" in lines[-1]
    assert mixhead.scalars()["mixhead/knn"] == stats["knn"]


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("same", [True, False], ids=["the training's loader", "a loader of its own"])
def test_a_training_is_bit_for_bit_the_same_with_a_monitor(attach: Attach, norm: str | None, same: bool):
    ways = []
    for watched in (False, True):
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)
        attach()
        training = Training(norm=norm)
        if watched:
            images = training.loader if same else DataLoader(Noisy(seed=3), batch_size=16, shuffle=True)
            mixhead.monitor(images, training.teacher_backbone, training.teacher_head, every=2)
        losses = training.run()
        modes = [part.training for part in training.teacher_backbone.modules()]
        ways.append(
            (losses, modes, state(training), torch.get_rng_state(), mixture("default").save()[1].step)
        )
        del training
    (losses, modes, states, generator, steps), (losses_, modes_, states_, generator_, steps_) = ways
    assert losses == losses_
    assert modes == modes_
    assert states.keys() == states_.keys()
    assert all(torch.equal(states[name], states_[name]) for name in states)
    assert torch.equal(generator, generator_)
    assert steps == steps_ == 12


@pytest.mark.parametrize("placement", ["host"])
def test_watches_joint_heads_too(attach: Attach):
    training = Training(prototypes="joint")
    mixhead.monitor(Noisy(), training.teacher_backbone, training.teacher_head)
    training.run()
    assert mixhead.stats()["knn"] > 0.9
    assert 0 < mixhead.stats()["distinct_used_by_images"] <= mixhead.stats()["used_by_images"] <= 1


@pytest.mark.parametrize("epsilon", [0.025, 0.5])
def test_distinct_prototypes_are_those_that_a_walk_in_index_order_keeps(epsilon: float):
    torch.manual_seed(3)
    centers = torch.randn(30, 4).repeat(80, 1)
    rows = 5 * (centers + 0.1 * torch.randn(2400, 4))  # over several blocks
    unit = torch.nn.functional.normalize(rows.double(), dim=1).numpy()
    kept: list[np.ndarray] = []
    for row in unit:
        if all(1 - row @ other >= epsilon for other in kept):
            kept.append(row)
    assert 1 < len(kept) < len(rows)
    assert distinct(rows, epsilon) == len(kept)


class Fixed(nn.Module):
    """A head whose last layer a wrapper has by another name."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.out = nn.Linear(weight.shape[1], len(weight), bias=False)
        self.out.weight.data.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


def test_close_prototypes_that_win_images_count_once_and_idle_ones_do_not_count():
    weight = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [-1, -1], [0, -1]])
    images = torch.tensor([[1.0, -0.2], [1, 0.2], [0, 1], [0.1, 1]]).reshape(4, 1, 1, 2)
    stats = watch([images], head=Fixed(weight))
    assert stats["used_by_images"] == pytest.approx(3 / 5)
    assert stats["distinct_used_by_images"] == pytest.approx(2 / 5)


def test_a_head_with_unknown_prototypes_is_monitored_without_their_measures():
    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    stats = watch([torch.randn(8, 1, 1, 4)], head=Bare())
    assert "used_by_images" in stats and "distinct_used_by_images" not in stats


def watch(images: object, encoder: object = None, head: object = None, **options: object) -> dict[str, float]:
    """The figures after a first step."""
    encoder = encoder or nn.Flatten()
    mixhead.monitor(images, encoder, head, **options)
    optimizer_step()
    return monitoring.monitored("default")


def optimizer_step() -> None:
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    torch.optim.SGD([weight], 0.1).step()


def test_queries_may_be_other_images_than_the_references():
    batch = Noisy().images, Noisy().labels
    swapped = batch[0], 2 - batch[1]
    assert watch(([batch], [batch]))["knn"] > 0.9
    assert watch(([batch], [swapped]))["knn"] < 0.5


def test_labels_of_a_single_class_give_no_accuracy():
    images = Noisy().images
    for batch in (images, [images], (images, torch.zeros(120).long()), (images, -torch.ones(120).long())):
        assert watch([batch]).keys() == {"effective_rank"}


def test_an_image_without_a_label_neither_votes_nor_is_asked_for():
    data = Noisy()
    labels = data.labels.clone()
    labels[::2] = -1
    some, known = (
        watch([each])["knn"] for each in ((data.images, labels), (data.images[1::2], labels[1::2]))
    )
    assert some == known > 0.9


def test_effective_rank_is_exp_of_the_entropy_of_the_singular_values():
    rows = torch.randn(50, 6) * torch.tensor([9, 5, 3, 1, 0.1, 0])
    values = np.linalg.svd(nn.functional.normalize(rows.double(), dim=1).numpy(), compute_uv=False)
    shares = values[values > 1e-9] / values.sum()
    assert effective_rank(rows) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_rank(torch.ones(9, 4)) == pytest.approx(1)


def taken(source: object, limit: int) -> list[tuple[Tensor, Tensor | None]]:
    return list(Images(source, limit))


def count(source: object, limit: int) -> int:
    return sum(len(images) for images, _ in taken(source, limit))


def test_takes_at_most_the_given_number_of_images():
    data = TensorDataset(torch.arange(100).float().unsqueeze(1), torch.arange(100))

    class Endless(IterableDataset[tuple[Tensor, int]]):
        def __iter__(self) -> Iterator[tuple[Tensor, int]]:
            while True:
                yield torch.zeros(1), 0

    batches = [(torch.zeros(8, 1), torch.zeros(8).long())] * 10
    for source in (data, DataLoader(data, batch_size=16), DataLoader(Endless(), batch_size=16), batches):
        assert count(source, 30) == 30
    assert count(data, 1000) == 100
    by_batches = DataLoader(data, batch_sampler=torch.utils.data.BatchSampler(range(100), 7, False))
    assert [len(images) for images, _ in taken(by_batches, 14)] == [7, 7]


def test_images_are_the_same_ones_at_every_pass_and_of_all_parts_of_a_sorted_set():
    images = Images(DataLoader(Noisy(), batch_size=16, shuffle=True), 60)
    first, second = (torch.cat([labels for _, labels in images]) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.bincount(first, minlength=CLASSES).min() > 10


def test_a_loader_of_a_part_of_the_data_gives_that_part():
    data = TensorDataset(torch.zeros(100, 1), torch.arange(100))
    part = DataLoader(data, sampler=SubsetRandomSampler(range(40, 60)), batch_size=8)
    assert sorted(torch.cat([labels for _, labels in taken(part, 100)]).tolist()) == list(range(40, 60))


def test_a_loader_in_the_middle_of_an_epoch_continues_there():
    data = TensorDataset(torch.arange(12).float().unsqueeze(1))
    loader = DataLoader(data, batch_size=2, num_workers=1, persistent_workers=True)
    seen = []
    for place, (batch,) in enumerate(loader):
        if place == 1:
            assert count(loader, 12) == 12
        seen.append(batch)
    assert torch.equal(torch.cat(seen), data.tensors[0])


def test_of_several_views_the_first_is_taken_and_dicts_are_read():
    images, labels = torch.randn(4, 3), torch.arange(4)
    for batch in (([images, -images], labels, ["name"] * 4), {"image": images, "label": labels}):
        ((given, known),) = taken([batch], 9)
        assert torch.equal(given, images) and torch.equal(known, labels)


def test_counts_the_steps_of_one_optimizer():
    calls = []
    encoder = nn.Flatten()
    encoder.register_forward_hook(lambda *_: calls.append(1))
    mixhead.monitor([torch.randn(8, 4)], encoder, every=2)
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for each in weights:
        each.grad = torch.ones(1)
    first, second = (torch.optim.SGD([each], 0.1) for each in weights)
    for _ in range(4):
        first.step()
        second.step()
    assert len(calls) == 3  # after steps 1, 2 and 4


def test_ends_when_its_handle_is_removed_and_a_second_one_replaces_it():
    images = [torch.randn(8, 4)]
    mixhead.monitor(images, nn.Linear(3, 3))  # would be an error at a step
    handle = mixhead.monitor(images, nn.Linear(3, 3))
    handle.remove()
    assert watch(images).keys() == {"effective_rank"}


def test_ends_with_the_training_that_it_watches():
    """Heads that it kept alive would be in the way of those of the next training."""
    calls = []
    encoder, head = nn.Flatten(), nn.Linear(4, 5)
    encoder.register_forward_hook(lambda *_: calls.append(1))
    gone = weakref.ref(head)
    assert "perplexity" in watch([torch.randn(8, 4)], encoder, head, every=1)
    del head
    assert gone() is None
    optimizer_step()
    assert len(calls) == 1


class Tokens(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"cls": self.cls(images)}

    def cls(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_an_encoder_may_be_a_method_of_a_module():
    assert watch([torch.randn(8, 4)], Tokens().cls).keys() == {"effective_rank"}


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: watch([torch.randn(8, 4)], Tokens()), TypeError, "the encoder makes a dict of 8 images"),
        (
            lambda: watch([torch.randn(8, 4)], lambda x: x),
            TypeError,
            "modules or methods of one; a func",
        ),
        (lambda: watch(iter([torch.randn(8, 4)])), TypeError, "cannot be passed over again"),
        (lambda: watch(3), TypeError, "images come from a int"),
        (lambda: watch([{"pixels": 3}]), TypeError, "a batch begins with a NoneType"),
        (lambda: watch([]), ValueError, "there are no images"),
        (lambda: watch([torch.full((8, 4), torch.nan)]), ValueError, "features are not finite"),
        (
            lambda: watch([torch.randn(8, 4)], every=0),
            ValueError,
            "every is 0; allowed: whole numbers from 1",
        ),
        (lambda: watch([torch.randn(8, 4)], limit=-1), ValueError, "limit is -1; allowed"),
    ],
)
def test_bad_input_is_one_sentence(call: Callable[[], object], error: type[Exception], sentence: str):
    with pytest.raises(error, match=f"^monitor: .*{sentence}") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_goes_wrong_later_ends_the_monitor_and_not_the_training():
    batches = [torch.randn(8, 4)]
    mixhead.monitor(batches, nn.Flatten(), every=1)
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    optimizer = torch.optim.SGD([weight], 0.1)
    optimizer.step()
    batches[0] = torch.full((8, 4), torch.nan)
    with pytest.warns(UserWarning, match="the monitor ends at step 2: .*features are not finite"):
        optimizer.step()
    optimizer.step()
    assert mixhead.stats()["effective_rank"] > 1
