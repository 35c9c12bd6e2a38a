"""lightly-train's DINO on CIFAR-10, run by the package itself (pip install lightly-train).

lightly_train_dino_plain.py: before mixhead, lightly_train_dino.py: with it.
"""

import tempfile

import lightly_train
from cifar10 import arguments, cifar10, knn, report_mixtures
from mixhead.worker.encoders import build_encoder
from PIL import Image
from torch import Tensor, nn

args = arguments()


class Encoder(nn.Module):
    """A custom model, with the interface that lightly-train requires."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.width = build_encoder("conv-small")

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_pool(self.forward_features(images))["pooled_features"].flatten(1)

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        return {"features": self.encoder.layers(x)}

    def forward_pool(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"pooled_features": x["features"].flatten(2).mean(dim=2)[:, :, None, None]}

    def feature_dim(self) -> int:
        return self.width

    def get_model(self) -> nn.Module:
        return self.encoder


data = cifar10()
epochs = -(-args.steps * args.batch // len(data.train_images))
images = args.steps * args.batch // epochs
encoder = Encoder()
with tempfile.TemporaryDirectory() as folder:
    for position in range(images):
        Image.fromarray(data.train_images[position].transpose(1, 2, 0)).save(f"{folder}/{position:05}.bmp")
    lightly_train.pretrain(
        out=f"{folder}/out",
        data=folder,
        model=encoder,
        method="dino",
        method_args={
            "hidden_dim": 256,
            "bottleneck_dim": args.dim,
            "output_dim": 1024,
            "teacher_temp": 0.04,
            "warmup_teacher_temp": 0.04,
            "student_freeze_last_layer_steps": 50,
            "momentum_start": 0.99,
            "reference_batch_size": args.batch,
        },
        optim="adamw",
        optim_args={"lr": 3e-3},
        transform_args={
            "image_size": (32, 32),
            "random_resize": {"min_scale": 0.3, "max_scale": 1.0},
            "gaussian_blur": None,
            "normalize": {"mean": tuple(data.mean), "std": tuple(data.std)},
            "global_view_1": {"gaussian_blur": None, "solarize": None},
            "local_view": {
                "num_views": 2,
                "view_size": (16, 16),
                "random_resize": {"min_scale": 0.1, "max_scale": 0.4},
                "gaussian_blur": None,
            },
        },
        epochs=epochs,
        batch_size=args.batch,
        num_workers=0,
        seed=args.seed,
        accelerator="gpu" if args.device == "cuda" else "cpu",
        devices=1,
        precision="32-true",
        loggers={"tensorboard": None},
    )

print(f"k-NN       {knn(encoder.to(args.device), data, args.references):.3f}")
report_mixtures()
