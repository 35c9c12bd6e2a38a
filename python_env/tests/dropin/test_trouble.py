"""Plugins and devices that fail in the middle of a training: one sentence, in time, and nothing stays."""

import copy
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import mixhead
from mixhead.bridge import BatchError, BridgeError, DeadlinePassed, PeerLost, Rejected
from mixhead.dropin import plugin_process
from mixhead.dropin.plugin_process import stop_plugins
from mixhead.dropin.registry import mixture
from mixhead.executor import Executor

from .heads import IN, lightly_head, with_teacher
from .test_life import ROOT, assert_ends, runs

Attach = Callable[..., None]

#: A plugin in a user's file, whose prototypes follow their rows; `{}` is what its steps from the second on do
#: before that.
SOURCE = """
import {{ directions, tf }} from "mixhead";
export default ({{ components, dim, seed }}) => {{
  let c = directions(components, dim, seed, "mine");
  const saved = async () => ({{ prototypes: {{ shape: [components, dim], data: await c.data() }} }});
  return {{
    name: "mine",
    components,
    dim,
    async step(h, clock) {{
      if (clock.step > 0) {{ {} }}
      const [responsibilities, next] = tf.tidy(() => {{
        const r = tf.softmax(tf.div(tf.matMul(h, tf.transpose(c)), 0.1));
        const moved = tf.add(tf.mul(c, 0.9), tf.mul(tf.matMul(tf.transpose(r), h), 0.1));
        return [r, tf.div(moved, tf.norm(moved, 2, 1, true))];
      }});
      c.dispose();
      c = next;
      return {{ responsibilities, touched: "all", scalars: {{}} }};
    }},
    prototypes: () => c,
    parameters: saved,
    state: saved,
    load: ({{ prototypes }}) => {{ c.dispose(); c = tf.tensor2d(prototypes.data, [components, dim]); }},
    dispose: () => c.dispose(),
  }};
}};
"""
ENDLESS = "while (true);"
ENDLESS_READS = "while (true) { const sum = tf.sum(c); await sum.data(); sum.dispose(); }"
READS = "for (let i = 0; i < 3; i++) await tf.tidy(() => tf.sum(tf.mul(c, i))).data();"

Mine = Callable[..., None]


@pytest.fixture
def mine(tmp_path: Path, placement: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mine]:
    """Attaches to a plugin process of this test's own, which runs a plugin file."""
    monkeypatch.delenv("MIXHEAD_ENDPOINT", raising=False)

    def mine(in_second_step: str, **config: object) -> None:
        file = tmp_path / "mine.ts"
        file.write_text(SOURCE.format(in_second_step))
        own = {"placement": placement, "backend": "wasm", "bridge": {"deadline": 20}}
        mixhead.attach(config=own | {"plugin": {"kind": str(file)}} | config)

    yield mine
    stop_plugins()


Pair = tuple[torch.nn.Module, torch.nn.Module]


@pytest.fixture
def pair() -> Pair:
    torch.manual_seed(3)
    return with_teacher(lightly_head())


def take_steps(pair: Pair, count: int = 4, size: int = 8) -> None:
    student, teacher = pair
    torch.manual_seed(4)
    for _ in range(count):
        teacher(torch.randn(size, IN))
        student(torch.randn(size, IN))


NO_ANSWER = r"(no sign of life for|\d+ runs came, but no answer within) 6 s$"


@pytest.mark.parametrize("does", [ENDLESS, ENDLESS_READS], ids=["computes", "reads"])
def test_a_plugin_that_hangs_is_killed_at_the_deadline(mine: Mine, pair: Pair, does: str):
    mine(does, bridge={"deadline": 6})
    with pytest.raises(
        DeadlinePassed, match=f"waited for targets of step 1 from the plugin at .*: {NO_ANSWER}"
    ):
        take_steps(pair)
    (plugin,) = (each for asked, each in plugin_process._started.items() if "bridge.deadline=6" in asked)
    with pytest.warns(UserWarning, match="saved without their mixture's state"):
        pair[0].state_dict()
    start = time.monotonic()
    stop_plugins()
    assert time.monotonic() - start < 10 and not plugin.running()


def test_a_script_ends_with_the_deadlines_sentence_and_takes_an_endless_plugin_along(tmp_path: Path):
    (tmp_path / "mine.ts").write_text(SOURCE.format(ENDLESS))
    script = f"""
import mixhead
from mixhead.dropin.plugin_process import _started
from tests.dropin.test_trouble import lightly_head, take_steps, with_teacher
mixhead.attach(config={{"placement": "device", "backend": "wasm", "bridge": {{"deadline": 6}},
                       "plugin": {{"kind": r"{tmp_path / "mine.ts"}"}}}})
pair = with_teacher(lightly_head())
take_steps(pair, 1)
print(*[plugin._process.pid for plugin in _started.values()], flush=True)
take_steps(pair)
"""
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MIXHEAD_ENDPOINT": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 1
    assert re.search(NO_ANSWER, process.stderr.splitlines()[-1]), process.stderr
    (pid,) = process.stdout.split()
    assert_ends(int(pid), 1)
    assert not runs(int(pid))


@pytest.mark.parametrize("placement", ["host"])
def test_a_plugin_file_takes_options_by_its_own_schema(mine: Mine, pair: Pair, tmp_path: Path):
    mine("throw new Error(`rate ${options.rate}`);")
    file = tmp_path / "mine.ts"
    schema = 'import { z } from "zod"; export const options = z.strictObject({ rate: z.number() });'
    file.write_text(schema + file.read_text().replace("seed })", "seed, options })"))
    mixhead.attach(config={"plugin": {"kind": str(file), "options": {"rate": 0.25}}, "backend": "wasm"})
    with pytest.raises(BatchError, match=r"mine\.ts, step 1: it failed: rate 0\.25$"):
        take_steps(pair)


@pytest.mark.parametrize("placement", ["host"])
def test_wrong_options_of_a_plugin_file_are_reported_in_one_sentence(mine: Mine, pair: Pair, tmp_path: Path):
    mine("", plugin={"kind": str(tmp_path / "mine.ts"), "options": {"rate": 0.25}})
    with pytest.raises(BridgeError, match=r"mine\.ts takes no plugin\.options: it exports no") as caught:
        take_steps(pair)
    assert "\n" not in str(caught.value)


def test_a_plugin_that_dies_in_the_middle_of_a_step_is_reported_in_one_sentence(mine: Mine, pair: Pair):
    mine('process.kill(process.pid, "SIGKILL");')
    with pytest.raises(PeerLost, match=r"step 1 .*: its process ended or the connection broke"):
        take_steps(pair)


SIGNALS_ITS_SCRIPT = """
process.kill(process.ppid, "SIGUSR1");
await new Promise((done) => setTimeout(done, 300));
"""


def test_a_signal_handler_that_saves_while_the_plugin_is_waited_for_saves_the_whole_mixture(
    mine: Mine, pair: Pair
):
    def train(pair: Pair, steps: range) -> None:
        for step in steps:
            rows = torch.randn(8, IN, generator=torch.Generator().manual_seed(step))
            pair[1](rows)
            pair[0](rows)

    saved: list[list[dict[str, torch.Tensor]]] = []
    before = signal.signal(
        signal.SIGUSR1, lambda *_: saved.append([copy.deepcopy(head.state_dict()) for head in pair])
    )
    try:
        mine(SIGNALS_ITS_SCRIPT, bridge={"deadline": 120})
        train(pair, range(4))
        unbroken = pair[0].state_dict()
    finally:
        stop_plugins()  # before its signals can end this process
        signal.signal(signal.SIGUSR1, before)
    assert len(saved) == 3, "the first step sends none"

    for states in saved:
        mine("", bridge={"deadline": 120})
        again = with_teacher(lightly_head())
        for head, state in zip(again, states, strict=True):
            head.load_state_dict(state)
        train(again, range(int(states[0]["last_layer.mixture.step"]), 4))
        resumed = again[0].state_dict()
        assert resumed.keys() == unbroken.keys()
        for name, tensor in unbroken.items():
            assert torch.equal(resumed[name], tensor), name
        del again


@pytest.mark.parametrize("placement", ["host"])
def test_a_stopped_plugin_is_reported_in_a_sentence_and_its_process_ends(mine: Mine, pair: Pair):
    mine('process.kill(process.pid, "SIGSTOP");', bridge={"deadline": 91})
    with pytest.raises(
        PeerLost, match=r"targets of step 1 .* process \d+ is there, but answers no heartbeat"
    ):
        take_steps(pair)
    (plugin,) = (each for asked, each in plugin_process._started.items() if "bridge.deadline=91" in asked)
    with pytest.warns(UserWarning, match="saved without their mixture's state"):
        pair[0].state_dict()
    stop_plugins()
    assert not plugin.running()


def test_a_plugin_that_throws_ends_the_script_with_its_file_and_the_step(
    mine: Mine, pair: Pair, tmp_path: Path
):
    mine('throw new Error("no such luck");')
    with pytest.raises(
        BatchError, match=rf"{tmp_path / 'mine.ts'}, step 1: it failed: no such luck$"
    ) as caught:
        take_steps(pair)
    assert "\n" not in str(caught.value)


def test_an_impossible_operation_is_named_with_its_line(
    mine: Mine, pair: Pair, tmp_path: Path, placement: str
):
    mine("tf.matMul(h, c);")
    with pytest.raises(BatchError, match=r"step 1: it failed: .*matMul"):
        take_steps(pair)


def test_a_plugin_that_reads_values_works_and_its_cost_is_reported_once(
    mine: Mine, pair: Pair, placement: str
):
    results = []
    for does in ("", READS):
        mine(does)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            take_steps(pair, 6)
        costs = [str(each.message) for each in caught if "reads values" in str(each.message)]
        results.append((mixture("default").save(), costs))
        stop_plugins()
    (plain, expected), checked = results[0]
    (reading, state), told = results[1]
    assert torch.equal(plain, reading) and state.step == expected.step == 6
    if placement == "host":
        assert checked == told == []
    else:  # what a plugin of the user's gives is looked at, whether it reads or not
        assert [len(checked), len(told)] == [1, 1]
        assert "reads values from the device 2 times a step" in checked[0]
        assert "reads values from the device 5 times a step" in told[0]


@pytest.mark.parametrize("placement", ["device"])
@pytest.mark.parametrize("memory", [1e-6, 8e-6])
def test_a_device_without_memory_ends_the_script_with_one_sentence(mine: Mine, pair: Pair, memory: float):
    """The first does not hold the start, the second no step."""
    mine("", bridge={"deadline": 20, "deviceMemory": memory}, plugin={"kind": "online-gmm"})
    with pytest.raises(BridgeError, match="of the device's memory") as caught:
        take_steps(pair, size=512)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, Rejected if memory == 1e-6 else BatchError)


@pytest.mark.parametrize("placement", ["device"])
@pytest.mark.parametrize("version", [0, 99])
def test_an_executor_of_another_version_is_reported_in_one_sentence(
    attach: Attach, monkeypatch: pytest.MonkeyPatch, version: int
):
    attach()
    monkeypatch.setattr(Executor, "version", version)
    has = "none" if version == 0 else "version 99"
    with pytest.raises(
        Rejected, match=rf"needs version \d+ of the operations, but the rank has {has}: .*placement=host"
    ):
        lightly_head()(torch.randn(2, IN))


@pytest.mark.parametrize("placement", ["gpu"])
def test_an_invalid_placement_is_refused_with_the_valid_ones(attach: Attach):
    attach()
    with pytest.raises(Rejected, match=r'placement is "gpu"; allowed: "?auto"?.*host.*device'):
        lightly_head()(torch.randn(2, IN))
