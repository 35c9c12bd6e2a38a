"""Whose rows the mixture sees, and which prototypes a call sees. The plugin is echo.ts: after a step, its
prototypes are the rows that it was sent, so every expectation here is about what really crossed the wire."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import mixhead
from mixhead.bridge.codec import decode
from mixhead.dino import DINOHead
from mixhead.dropin.registry import mixture
from mixhead.lightly import DINOProjectionHead

IN, DIM, K = 12, 6, 40

#: The plugin is a file, so what it gives is looked at, which on a device is said to cost something.
pytestmark = pytest.mark.filterwarnings("ignore:.*reads values from the device")

Pair = tuple[DINOProjectionHead, DINOProjectionHead]


def pair(**options: object) -> Pair:
    student = DINOProjectionHead(IN, 16, DIM, K, prototypes="online-gmm", **options)
    teacher = copy.deepcopy(student)
    teacher.requires_grad_(False)
    return student, teacher


@pytest.fixture
def heads(echo: Callable[..., None]) -> Pair:
    echo()
    return pair()


def rows(head: torch.nn.Module, *views: Tensor) -> Tensor:
    """The unit rows that a head makes of views, in order."""
    with torch.no_grad():
        return torch.cat([F.normalize(head.layers(view), dim=-1) for view in views])


def views(count: int, size: int = 5) -> list[Tensor]:
    return [torch.randn(size, IN) for _ in range(count)]


def steps_taken() -> int:
    return mixture("default").save()[1].step


def assert_seen(expected: Tensor) -> None:
    """The heads use prototypes that are these rows, the first ones."""
    torch.testing.assert_close(mixhead.prototypes()[: len(expected)], expected, rtol=0, atol=1e-6)
    axis = F.one_hot(torch.zeros(K - len(expected), dtype=torch.long), DIM).float()
    assert torch.equal(mixhead.prototypes()[len(expected) :], axis)


def test_teacher_rows_of_one_step_are_one_batch_and_reach_the_heads_at_the_next(heads: Pair):
    student, teacher = heads
    previous = torch.empty(0, DIM)
    for _ in range(3):
        crops = views(4)
        with torch.no_grad():
            seen = [teacher(crop) for crop in crops[:2]]
        assert_seen(previous)
        outputs = [student(crop) for crop in crops]
        assert_seen(previous)
        torch.testing.assert_close(outputs[0], rows(student, crops[0]) @ mixhead.prototypes().T)
        torch.testing.assert_close(seen[0], rows(teacher, crops[0]) @ mixhead.prototypes().T)
        sum(output.sum() for output in outputs).backward()
        previous = rows(teacher, *crops[:2])
    assert steps_taken() == 3


def test_one_call_on_all_crops_as_metas_wrapper_makes_them(echo: Callable[..., None]):
    echo()
    student = DINOHead(IN, K, hidden_dim=16, bottleneck_dim=DIM, prototypes="online-gmm")
    teacher = DINOHead(IN, K, hidden_dim=16, bottleneck_dim=DIM, prototypes="online-gmm")
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    previous = torch.empty(0, DIM)
    for _ in range(3):
        crops = torch.randn(20, IN)
        teacher_output = teacher(crops[:10])
        assert_seen(previous)
        student(crops).sum().backward()
        assert_seen(previous)
        previous = F.normalize(teacher.mlp(crops[:10]), dim=-1)
        assert teacher_output.shape == (10, K)
    assert steps_taken() == 3


def test_a_script_that_runs_the_student_first_has_the_same_prototypes_for_both(heads: Pair):
    student, teacher = heads
    previous = torch.empty(0, DIM)
    for _ in range(3):
        crops = views(3)
        loss = sum(student(crop).sum() for crop in crops)
        assert_seen(previous)
        for crop in crops[:2]:
            teacher(crop)
        assert_seen(previous)
        loss.backward()
        previous = rows(teacher, *crops[:2])
    assert mixture("default").save()[1].step == 3


def test_targets_before_the_student_is_called_again_end_the_step_too(echo: Callable[..., None]):
    echo(targets={"balance": "none", "temperature": 0.1})
    student, teacher = pair()
    for _ in range(3):
        crop = views(1)[0]
        student(crop)
        of_student = mixhead.prototypes()
        teacher(crop)
        assert torch.equal(mixhead.prototypes(), of_student)
        assert mixhead.targets().shape == (5, K)
    assert steps_taken() == 3


def test_a_batch_without_rows_is_no_step(heads: Pair):
    student, teacher = heads
    for count in (5, 0, 5):
        teacher(torch.randn(count, IN))
        student(torch.randn(count, IN)).sum().backward()
    assert steps_taken() == 2


@pytest.mark.parametrize("nothing", [torch.zeros(5, IN), torch.zeros(0, IN)], ids=["padding", "empty"])
@pytest.mark.filterwarnings("ignore:.*so they are padding")
def test_after_a_step_that_feeds_nothing_the_teacher_still_leads(heads: Pair, nothing: Tensor):
    """DINOv2's batches without a masked patch, before two calls of the student."""
    student, teacher = heads
    previous = torch.empty(0, DIM)
    for crop in (torch.randn(5, IN), nothing, torch.randn(5, IN), torch.randn(5, IN)):
        teacher(crop)
        assert_seen(previous)
        sum(student(each).sum() for each in views(2)).backward()
        assert_seen(previous)
        previous = previous if crop is nothing else rows(teacher, crop)
    assert steps_taken() == 3


def test_steps_can_be_ended_by_hand_if_calls_alternate(heads: Pair):
    student, teacher = heads
    mixhead.step()
    previous = torch.empty(0, DIM)
    for _ in range(3):
        crops = views(2)
        for crop in crops:
            student(crop).sum().backward()
            teacher(crop)
            assert_seen(previous)
        mixhead.step()
        previous = rows(teacher, *crops)
    assert steps_taken() == 3
    student(crops[0])
    assert_seen(previous)


@pytest.mark.parametrize("early", ["targets", "state"])
@pytest.mark.parametrize("led", [False, True], ids=["by teacher", "by student"])
def test_rows_sent_early_in_a_manual_step_reach_the_heads_too(
    attach: Callable[..., None], early: str, led: bool
):
    """Answers hold the rows that changed alone: none may be left out."""
    attach(plugin={"cutoff": 1e-3}, targets={"balance": "none"})
    student, teacher = pair()
    if led:
        student(views(1)[0])
    mixhead.step()
    for _ in range(4):
        before = None
        for crop in views(2):
            teacher(crop)
            before = mixhead.prototypes() if before is None else before
            student(crop)
            if early == "targets":
                assert mixhead.targets().shape == (len(crop), K)
            else:
                student.state_dict()
            assert torch.equal(mixhead.prototypes(), before)
        mixhead.step()
    student(views(1)[0])
    state = mixture("default").save()[1]
    assert state.step == 8
    saved = torch.from_numpy(state.tensors["plugin.prototypes"])
    torch.testing.assert_close(mixhead.prototypes(), saved, rtol=0, atol=1e-6)


def test_each_micro_batch_of_an_accumulation_is_a_step(heads: Pair):
    student, teacher = heads
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    for step in range(4):
        crops = views(2)
        with torch.no_grad():
            teacher(crops[0])
        (student(crops[1]).sum() / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    assert steps_taken() == 4


def test_gradients_are_right_if_both_micro_batches_go_forward_before_one_backward(heads: Pair):
    student, teacher = heads
    crops, total, expected = views(4), 0, []
    for teacher_view, student_view in (crops[:2], crops[2:]):
        teacher(teacher_view)
        total = total + student(student_view).square().sum()
        expected.append((student_view, mixhead.prototypes()))
    total.backward()
    ours = [parameter.grad.clone() for parameter in student.parameters()]
    student.zero_grad()
    sum((F.normalize(student.layers(x), dim=-1) @ c.T).square().sum() for x, c in expected).backward()
    for got, parameter in zip(ours, student.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad)


def test_a_teacher_in_eval_mode_feeds_the_mixture(heads: Pair):
    student, teacher = heads
    teacher.eval()
    crops = views(2)
    teacher(crops[0])
    student(crops[1])
    teacher(crops[1])
    assert_seen(rows(teacher, crops[0]))


def test_evaluation_exchanges_nothing(heads: Pair):
    student, teacher = heads
    crops = views(2)
    teacher(crops[0])
    student(crops[1])
    assert steps_taken() == 1
    for module in heads:
        module.eval()
    for _ in range(3):
        with torch.no_grad():
            student(torch.randn(7, IN))
            teacher(torch.randn(7, IN))
    assert_seen(torch.empty(0, DIM))
    for module in heads:
        module.train()
    teacher(crops[1])
    assert_seen(rows(teacher, crops[0]))
    student(crops[1])
    assert steps_taken() == 2
    teacher(crops[0])
    assert_seen(rows(teacher, crops[1]))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("student_first", [True, False])
def test_a_student_under_checkpointing_does_not_feed_and_its_gradients_are_right(
    heads: Pair, reentrant: bool, student_first: bool
):
    student, teacher = heads
    for _ in range(3):
        crops = views(2)

        def run_student(crop: Tensor = crops[1]) -> Tensor:
            return checkpoint(student, crop.clone().requires_grad_(), use_reentrant=reentrant)

        output = run_student() if student_first else None
        with torch.no_grad():
            teacher(crops[0])
        output = run_student() if output is None else output
        seen = mixhead.prototypes()
        student.zero_grad()
        output.square().sum().backward()
        assert torch.equal(mixhead.prototypes(), seen)
        ours = [parameter.grad.clone() for parameter in student.parameters()]
        student.zero_grad()
        (F.normalize(student.layers(crops[1]), dim=-1) @ seen.T).square().sum().backward()
        for got, parameter in zip(ours, student.parameters(), strict=True):
            torch.testing.assert_close(got, parameter.grad)
    assert steps_taken() == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_teacher_in_inference_mode_feeds_the_same_rows(heads: Pair, dtype: torch.dtype):
    student, teacher = (head.to(dtype) for head in heads)
    crops = [crop.to(dtype) for crop in views(2)]
    for _ in range(3):
        with torch.inference_mode():
            teacher(crops[0])
        student(crops[1]).sum().backward()
    assert_seen(F.normalize(teacher.layers(crops[0]).float(), dim=-1))


def test_a_marked_head_is_the_teacher_whatever_its_parameters_require(echo: Callable[..., None]):
    echo()
    student = DINOProjectionHead(IN, 16, DIM, K, prototypes="online-gmm")
    teacher = DINOProjectionHead(IN, 16, DIM, K, prototypes="online-gmm")
    mixhead.teacher(torch.nn.Sequential(torch.nn.Identity(), teacher))
    crops = views(2)
    with torch.no_grad():
        teacher(crops[0])
    student(crops[1])
    with torch.no_grad():
        teacher(crops[1])
    assert_seen(rows(teacher, crops[0]))


def test_a_student_that_has_no_teacher_is_reported_at_its_first_backward_pass_and_once(heads: Pair):
    student, _ = heads
    with pytest.warns(UserWarning, match="no teacher head was called") as caught:
        for _ in range(3):
            student(torch.randn(2, IN)).sum().backward()
    assert len(caught) == 1


def test_a_student_whose_teacher_has_only_padding_gets_no_warning_that_it_has_none(heads: Pair):
    student, teacher = heads
    loss = student(torch.randn(2, IN)).sum()
    teacher(torch.zeros(2, IN))
    with pytest.warns(UserWarning, match="so they are padding") as caught:
        student.state_dict()
        loss.backward()
    assert len(caught) == 1


def test_skipped_and_repeated_steps_are_no_error(heads: Pair):
    student, teacher = heads
    crops = views(2)
    for skipped in (False, True, True, False, False):
        teacher(crops[0])
        if not skipped:
            student(crops[1]).sum().backward()
    teacher(crops[0])
    assert_seen(rows(teacher, crops[0]))
    assert steps_taken() == 3 + 1


def test_two_mixtures_in_one_script_go_their_own_ways(echo: Callable[..., None]):
    echo("dino")
    echo("ibot")
    dino, dino_teacher = pair(name="dino")
    ibot = DINOHead(IN, 9, hidden_dim=16, bottleneck_dim=3, prototypes="online-gmm", name="ibot")
    ibot_teacher = copy.deepcopy(ibot).requires_grad_(False)
    crops, patches = views(2), torch.randn(2, 3, IN)
    for _ in range(2):
        dino_teacher(crops[0])
        ibot_teacher(patches)
        dino(crops[1])
        assert ibot(patches).shape == (2, 3, 9)
    dino_teacher(crops[0])
    ibot_teacher(patches)
    torch.testing.assert_close(mixhead.prototypes("dino")[:5], rows(dino_teacher, crops[0]))
    expected = F.normalize(ibot_teacher.mlp(patches), dim=-1).flatten(0, 1)
    torch.testing.assert_close(mixhead.prototypes("ibot")[:6], expected)


def test_another_modules_output_feeds_the_mixture_if_marked(echo: Callable[..., None]):
    """As in MSN, whose loss takes the prototypes as an argument."""
    mixture("default").attachment.components = K
    echo()
    target = mixhead.teacher(torch.nn.Linear(IN, DIM))
    inputs = views(2)
    for step in range(2):
        target(inputs[step])
        assert_seen(torch.empty(0, DIM) if step == 0 else F.normalize(target(inputs[0]), dim=-1))
        if step == 0:
            mixhead.step()
    target.eval()
    target(inputs[0])
    assert len(mixture("default").steps._rows) == 2


def believe_elsewhere() -> None:
    """Lets the mixture believe that it was begun for rows on a GPU: there is none in these tests."""
    mixture("default").attachment.connection.device = torch.device("cuda:0")


@pytest.mark.parametrize("student_first", [False, True])
@pytest.mark.parametrize("placement", ["auto", "device"])
def test_a_mixture_that_began_before_its_heads_moved_follows_them_with_its_start(
    attach: Callable[..., None], student_first: bool
):
    attach()
    student, teacher = pair()
    teacher.load_state_dict(student.state_dict())  # as scripts do before they move the two
    student.load_state_dict(DINOProjectionHead(IN, 16, DIM, K).state_dict())
    seen, first = [mixhead.prototypes()], mixture("default").attachment.connection
    for step in range(3):
        for head in (student, teacher) if student_first else (teacher, student):
            if step == 0 and head is teacher:
                believe_elsewhere()
            head(views(1)[0])
            seen.append(mixhead.prototypes())
        assert torch.equal(seen[-1], seen[-2])
    torch.testing.assert_close(seen[1], seen[0])
    assert not torch.equal(seen[-1], seen[-3]) and not torch.equal(seen[3], seen[1])
    moved = mixture("default").attachment.connection
    assert moved is not first
    believe_elsewhere()
    for head in (student, teacher):
        head(views(1)[0])
    assert mixture("default").attachment.connection is moved, "after its first step it stays"


@pytest.mark.parametrize("placement", ["host"])
def test_a_mixture_in_node_is_unaffected_by_moving_its_heads(attach: Callable[..., None]):
    attach()
    student, teacher = pair()
    student.state_dict()
    first = mixture("default").attachment.connection
    believe_elsewhere()
    teacher(views(1)[0])
    student(views(1)[0])
    assert mixture("default").attachment.connection is first


@pytest.mark.parametrize("placement", ["device"])
@pytest.mark.parametrize("kind", ["online-gmm", "kmeans", "sinkhorn", "frozen"])
def test_a_step_on_the_device_is_one_small_message_each_way_and_reads_nothing(
    attach: Callable[..., None], monkeypatch: pytest.MonkeyPatch, kind: str
):
    attach(plugin={"kind": kind, "cutoff": 1e-3 if kind == "online-gmm" else 0})
    student, teacher = pair()
    mixhead.prototypes()
    client = mixture("default").attachment.connection._client
    send, arrived = client._link.send, client._link.arrived
    sizes: dict[str, list[int]] = {}

    def noted(frames: list | None) -> list | None:
        if frames is not None:
            sizes.setdefault(decode(frames)[0].kind, []).append(sum(map(len, frames)))
        return frames

    monkeypatch.setattr(client._link, "send", lambda frames: send(noted(frames)))
    monkeypatch.setattr(client._link, "arrived", lambda: noted(arrived()))
    for _ in range(13):
        teacher(views(1)[0])
        student(views(1)[0])
    assert client.reads <= 1, "uniqueness is measured now and then"
    assert sizes.keys() - {"ping", "pong", "execute", "values"} == {"embeddings", "targets"}
    assert [len(sizes[kind]) for kind in ("embeddings", "targets")] == [13, 12]
    assert max(*sizes["embeddings"], *sizes["targets"][2:]) < 1000, "the first answers bring programs"
