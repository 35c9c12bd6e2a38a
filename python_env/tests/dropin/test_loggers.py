"""`mixhead.scalars()` and Lightning's callback."""

import math
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn

import mixhead
from mixhead.lightning import StatsCallback

from .heads import IN, lightly_head, with_teacher

Attach = Callable[..., None]

#: What every version of MLflow allows in the name of a metric; the other loggers allow more.
MLFLOW = r"[\w.\-/ ]+"

in_node = pytest.mark.parametrize("placement", ["host"])


@in_node
def test_scalars_are_finite_floats_by_names_that_loggers_allow(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    for _ in range(3):
        teacher(torch.randn(8, IN))
        student(torch.randn(8, IN))
    scalars = mixhead.scalars()
    assert {"mixhead/used", "mixhead/entropy", "mixhead/wait", "mixhead/beta"} <= scalars.keys()
    assert all(type(value) is float and math.isfinite(value) for value in scalars.values())
    assert all(re.fullmatch(MLFLOW, name) and posixpath.normpath(name) == name for name in scalars)
    assert mixhead.scalars(prefix="")["used"] == mixhead.stats()["used"]


@in_node
def test_figures_that_are_not_measured_yet_are_left_out(attach: Attach):
    attach()
    lightly_head()
    assert math.isnan(mixhead.stats()["unique"]["0.5"])
    assert math.isnan(mixhead.stats()["distinctUsed"]["0.5"])
    assert mixhead.scalars() == {"mixhead/wait": 0.0}


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = with_teacher(lightly_head())

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        self.teacher(batch[0])
        return self.student(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@in_node
@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightnings_loggers_get_them_and_so_do_callbacks(attach: Attach, tmp_path: Path, accumulate: int):
    attach()
    module = Module()
    data = torch.utils.data.TensorDataset(torch.randn(48, IN), torch.arange(48) % 2)
    mixhead.monitor(data, nn.Identity(), module.teacher, every=1)
    best = lightning.callbacks.ModelCheckpoint(tmp_path / "best", monitor="mixhead/knn", mode="max")
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=CSVLogger(tmp_path),
        accumulate_grad_batches=accumulate,
        log_every_n_steps=1000,  # nothing of Lightning's own
        callbacks=[StatsCallback(every=3), best],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8))
    assert best.best_model_score == pytest.approx(mixhead.stats()["knn"])
    trainer.logger.save()
    lines = (Path(trainer.logger.log_dir) / "metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    assert {"mixhead/knn", "mixhead/used", "mixhead/entropy"} <= set(names)
    steps = [int(line.split(",")[names.index("step")]) for line in lines[1:]]
    assert steps == list(range(3, 12 // accumulate + 1, 3))


def test_the_callback_reports_a_wrong_every():
    with pytest.raises(ValueError, match="StatsCallback: every is 0; allowed: whole numbers from 1"):
        StatsCallback(every=0)


@pytest.mark.parametrize("first", ["lightning.pytorch", "pytorch_lightning"])
def test_the_callback_is_one_of_both_packages_of_lightning_whichever_is_imported_first(
    first: str, tmp_path: Path
):
    for name in ("lightning/pytorch", "pytorch_lightning"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("class Callback: ...\n")
    (tmp_path / "lightning" / "__init__.py").touch()
    script = (
        f"import {first}, lightning.pytorch as one, pytorch_lightning as other\n"
        "from mixhead.lightning import StatsCallback\n"
        "print(issubclass(StatsCallback, one.Callback), issubclass(StatsCallback, other.Callback))"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "True True\n", done.stderr
