from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mixhead.mirror import Mirror
from mixhead.worker import checkpoint
from mixhead.worker.errors import WorkerError
from mixhead.worker.online import MEMORY, OnlineProbe
from mixhead.worker.randomness import generator
from mixhead.worker.state import State, choose_device, start
from mixhead.worker.step import finish, learn_online, measured, student_rows, teacher_pass
from tests.worker.runs import BATCH, Reply, clock, config, reply
from tests.worker.test_step import PROTOTYPES, assert_same, views_of

CLASSES = 5


def begin(classes: int = CLASSES, **changes: object) -> State:
    state = start(config(**changes), choose_device("cpu"), classes)
    if state.mirror is not None:
        state.mirror = Mirror(PROTOTYPES)
    return state


def take_step(state: State) -> torch.Tensor:
    """One step with random pictures, and labels that have nothing to do with them; the features."""
    views = views_of(state)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator(0, "labels", state.step))
    features, h = teacher_pass(state, views[:1])
    z = student_rows(state, views)
    learn_online(state, features, labels)
    finish(state, h, z, reply(state.step, h, PROTOTYPES) if state.mirror else Reply(clock(state.step)))
    return features


@pytest.mark.parametrize("arm", ["decoupled", "joint"])
def test_the_encoder_trains_bit_for_bit_as_without_the_probe(arm: str):
    random = torch.get_rng_state()
    probed = begin(prototypes=arm)
    plain = begin(prototypes=arm, train={"onlineProbe": False})
    assert plain.online is None
    for _ in range(3):
        take_step(probed)
        take_step(plain)
    assert 0 <= measured(probed)["online"] <= 1
    assert "online" not in measured(plain)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in probed.teacher.parameters())
    del probed.measured["online"]
    assert_same(probed, plain)


@pytest.mark.parametrize("arm", ["decoupled", "joint"])
def test_a_resumed_probe_is_bit_for_bit_the_one_that_was_never_interrupted(arm: str, tmp_path: Path):
    unbroken, resumed = begin(prototypes=arm), begin(prototypes=arm)
    for _ in range(3):
        take_step(unbroken)
    checkpoint.restore(resumed, checkpoint.save(unbroken, tmp_path))
    for _ in range(3):
        take_step(unbroken)
        take_step(resumed)
    assert unbroken.online is not None and resumed.online is not None
    assert torch.equal(unbroken.online.weight, resumed.online.weight)
    assert torch.equal(unbroken.online.accuracy, resumed.online.accuracy)
    assert unbroken.online.batches == resumed.online.batches == 6
    assert_same(unbroken, resumed)


def test_a_run_resumed_from_a_checkpoint_without_a_probe_starts_a_new_one(tmp_path: Path):
    old, state = begin(classes=0), begin()
    take_step(old)
    checkpoint.restore(state, checkpoint.save(old, tmp_path))
    take_step(state)
    assert state.step == 2 and state.online is not None and state.online.batches == 1


def test_a_checkpoint_of_other_classes_is_one_sentence(tmp_path: Path):
    state = begin()
    take_step(state)
    with pytest.raises(WorkerError, match="incomplete, or belongs to another configuration"):
        checkpoint.restore(begin(classes=7), checkpoint.save(state, tmp_path))


def blobs(step: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features that a plane separates, and their classes."""
    random = generator(0, "blobs", step)
    labels = torch.randint(CLASSES, (64,), generator=random)
    features = 4 * torch.eye(CLASSES, 12)[labels] + torch.randn(64, 12, generator=random)
    return scale * features, labels


def test_each_batch_is_classified_before_the_classifier_learns_from_it():
    probe, shares = OnlineProbe(12, CLASSES, torch.device("cpu")), []
    for step in range(4):
        features, labels = blobs(step)
        standard = (features - features.mean(dim=0)) / features.std(dim=0, correction=0)
        guesses = (standard @ probe.weight.detach().T + probe.bias.detach()).argmax(dim=1)
        shares.append((guesses == labels).float().mean().item())
        probe.learn(features, labels)
        assert float(probe.accuracy) == pytest.approx(sum(shares) / len(shares), abs=1e-6)
    assert shares[0] < 0.5, "before the first batch it can only guess"


def test_the_accuracy_is_a_running_mean_that_forgets_old_batches():
    probe = OnlineProbe(12, CLASSES, torch.device("cpu"))
    for step in range(4 * MEMORY):
        probe.learn(*blobs(step))
    assert float(probe.accuracy) > 0.9
    for step in range(3 * MEMORY):
        probe.learn(blobs(step)[0], blobs(step + 1)[1])
    assert float(probe.accuracy) < 0.4


def test_the_scale_of_the_features_does_not_matter():
    small, large = (OnlineProbe(12, CLASSES, torch.device("cpu")) for _ in range(2))
    for step in range(20):
        small.learn(*blobs(step))
        large.learn(*blobs(step, scale=1000))
    assert float(small.accuracy) == pytest.approx(float(large.accuracy), abs=0.01)


def test_it_learns_from_the_first_view_of_each_image(monkeypatch: pytest.MonkeyPatch):
    state, heard = begin(), []
    assert state.online is not None
    monkeypatch.setattr(state.online, "learn", lambda features, labels: heard.append((features, labels)))
    features = take_step(state)
    assert len(features) == 2 * BATCH
    assert torch.equal(heard[0][0], features[:BATCH]) and len(heard[0][1]) == BATCH
