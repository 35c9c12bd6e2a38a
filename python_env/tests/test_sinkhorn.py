"""Sinkhorn-Knopp over more rows than the batch has: `losses.Sinkhorn` and its memory."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from mixhead.losses import Center, Sinkhorn, dino_loss, sinkhorn_targets, softmax_targets

N, K, TEMPERATURE = 8, 32, 0.1


def logits(rows: int, seed: int = 0) -> Tensor:
    """Cosines of which some prototypes have more than others."""
    random = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, K, generator=random) * 2 - 1) * 0.5 + torch.linspace(0, 0.5, K)


def mean_difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().sum(dim=1).mean().item()


def plain_targets(batches: list[Tensor], memory: int) -> list[Tensor]:
    """The mean over the batch and the rows before it, written out in float64."""
    sums, seen, targets = torch.ones(K, dtype=torch.float64), 0, []
    for q in (torch.exp(batch.double() / TEMPERATURE) for batch in batches):
        now = sums
        for _ in range(3):
            terms = q / (q / now).mean(dim=1, keepdim=True)
            now = (seen * sums + terms.sum(dim=0)) / (seen + len(q))
        targets.append((q / now) / (q / now).sum(dim=1, keepdim=True))
        sums, seen = now, min(seen + len(q), memory)
    return targets


def test_each_row_before_weighs_as_much_as_a_row_of_the_batch():
    batches = [logits(rows, seed) for seed, rows in enumerate([8, 8, 3, 20, 8])]
    balance = Sinkhorn(K, memory=24)
    for batch, expected in zip(batches, plain_targets(batches, 24), strict=True):
        torch.testing.assert_close(balance(batch, TEMPERATURE).double(), expected, rtol=1e-4, atol=1e-6)


def test_small_batches_with_a_memory_get_the_targets_of_all_rows_balanced_together():
    rows = logits(4096)
    together = sinkhorn_targets(rows, TEMPERATURE, iterations=50)
    balance = Sinkhorn(K, memory=2048)
    remembered = torch.cat([balance(batch, TEMPERATURE) for batch in rows.split(N)])
    alone = torch.cat([sinkhorn_targets(batch, TEMPERATURE) for batch in rows.split(N)])
    last = slice(2048, None)
    assert mean_difference(alone[last], together[last]) > 0.5
    assert mean_difference(remembered[last], together[last]) < 0.03
    torch.testing.assert_close(remembered[last].mean(dim=0), torch.full((K,), 1 / K), rtol=0.2, atol=0)
    torch.testing.assert_close(remembered.sum(dim=1), torch.ones(4096), rtol=1e-5, atol=1e-5)
    assert balance.log_sums.max() == 0, "their common scale would drift away over many steps"


def test_the_first_batch_is_balanced_by_itself():
    balanced = Sinkhorn(K, memory=64, iterations=50)(logits(N), TEMPERATURE)
    torch.testing.assert_close(balanced, sinkhorn_targets(logits(N), TEMPERATURE, 50), rtol=1e-3, atol=1e-5)


def test_the_memory_follows_prototypes_that_drift():
    balance, fresh = Sinkhorn(K, memory=64), Sinkhorn(K, memory=64)
    for seed in range(50):
        balance(logits(N, seed), TEMPERATURE)
    differences = []
    for seed in range(50, 150):
        turned = logits(N, seed).flip(1)
        differences.append(mean_difference(balance(turned, TEMPERATURE), fresh(turned, TEMPERATURE)))
    assert differences[0] > 1 and differences[-1] < 0.01


def test_without_a_memory_it_is_sinkhorn_over_the_batch_and_has_no_state():
    balance = Sinkhorn(K)
    for seed in range(3):
        assert torch.equal(
            balance(logits(N, seed), TEMPERATURE), sinkhorn_targets(logits(N, seed), TEMPERATURE)
        )
    assert balance.state_dict() == {}
    with pytest.raises(ValueError, match="memory is -1; allowed: a number of rows, 0 or more"):
        Sinkhorn(K, memory=-1)


def test_it_continues_from_its_state_bit_for_bit():
    unbroken, resumed = Sinkhorn(K, memory=64), Sinkhorn(K, memory=64)
    for seed in range(5):
        unbroken(logits(N, seed), TEMPERATURE)
    resumed.load_state_dict(unbroken.state_dict())
    for seed in range(5, 15):
        assert torch.equal(resumed(logits(N, seed), TEMPERATURE), unbroken(logits(N, seed), TEMPERATURE))
    assert unbroken.rows == 64


def test_a_batch_that_is_not_finite_leaves_the_memory_unchanged():
    balance = Sinkhorn(K, memory=64)
    balance(logits(N), TEMPERATURE)
    before = {name: tensor.clone() for name, tensor in balance.state_dict().items()}
    for wrong in (torch.nan, torch.inf):
        bad = logits(N)
        bad[3, 5] = wrong
        assert not balance(bad, TEMPERATURE).isfinite().all()
        assert all(torch.equal(tensor, before[name]) for name, tensor in balance.state_dict().items())
    assert balance(logits(N), TEMPERATURE).isfinite().all()


@pytest.mark.parametrize("temperature", [0.04, 0.001])
def test_extreme_logits_and_half_precision_keep_targets_and_memory_finite(temperature: float):
    balance, before = Sinkhorn(K, memory=1000), 0
    for hard in (torch.eye(K)[:1].expand(N, K), torch.eye(K), -torch.eye(K), logits(N)):
        targets = balance(hard.to(torch.float16), temperature)
        assert targets.isfinite().all() and balance.log_sums.isfinite().all()
        assert balance.rows == before + len(hard)
        before += len(hard)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(hard)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_digit(dtype: torch.dtype):
    results = []
    for enabled in (False, True):
        balance, student = Sinkhorn(K, memory=64), logits(2 * N).requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            targets = [balance(logits(N, seed), TEMPERATURE) for seed in range(2)]
            alone = sinkhorn_targets(logits(N), TEMPERATURE)
            loss = dino_loss(student, alone, 2, 0.1)
        results.append([*targets, alone, loss.detach(), *torch.autograd.grad(loss, student)])
    for plain, cast in zip(*results, strict=True):
        assert torch.equal(plain, cast)


def test_a_batch_without_a_row_has_no_targets_and_moves_nothing():
    none = torch.zeros(0, K)
    center, balance = Center(K), Sinkhorn(K, memory=64)
    center.targets(logits(N), TEMPERATURE)
    balance(logits(N), TEMPERATURE)
    before = center.value, balance.log_sums, balance.rows
    for make in (
        softmax_targets,
        sinkhorn_targets,
        center.targets,
        balance,
        Sinkhorn(K),
        Sinkhorn(K, memory=4),
    ):
        assert make(none, TEMPERATURE).shape == (0, K)
    for one, other in zip(before, (center.value, balance.log_sums, balance.rows), strict=True):
        assert torch.equal(one, other)


BATCHES = [logits(N, seed) for seed in range(4)]


def targets_of_a_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    shares = [batch[:5] if rank == 0 else batch[5:] for batch in BATCHES]
    shares[2] = BATCHES[2][: 0 if rank else N]  # one rank has no row
    balance, center = Sinkhorn(K, memory=16, across_ranks=True), Center(K, across_ranks=True)
    made = [
        torch.stack(
            [
                balance(share, TEMPERATURE),
                sinkhorn_targets(share, TEMPERATURE, across_ranks=True),
                center.targets(share, TEMPERATURE),
            ]
        )
        for share in shares
    ]
    torch.save((made, balance.state_dict()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_balance_and_remember_the_rows_of_both(tmp_path: Path):
    mp.spawn(targets_of_a_rank, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    balance, center = Sinkhorn(K, memory=16), Center(K)
    for batch, *shares in zip(BATCHES, *(made for made, _ in ranks), strict=True):
        expected = [
            balance(batch, TEMPERATURE),
            sinkhorn_targets(batch, TEMPERATURE),
            center.targets(batch, TEMPERATURE),
        ]
        torch.testing.assert_close(torch.cat(shares, dim=1), torch.stack(expected), rtol=1e-4, atol=1e-6)
    for _, state in ranks:
        torch.testing.assert_close(state["log_sums"], balance.log_sums, rtol=1e-4, atol=1e-4)
        assert torch.equal(state["log_sums"], ranks[0][1]["log_sums"])
