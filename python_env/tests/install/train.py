"""Five steps of a drop-in head, run by test_wheel.py with nothing of the repository on the path."""

import copy
import json
import sys

import torch

import mixhead
from mixhead.dropin.plugin_process import plugin_command
from mixhead.lightly import DINOProjectionHead

mixhead.attach(config={"backend": "wasm"})
student = DINOProjectionHead(12, 16, 8, 48, prototypes="online-gmm")
teacher = copy.deepcopy(student).requires_grad_(False)
start = mixhead.prototypes()
for _ in range(5):
    images = torch.randn(32, 12)
    teacher(images)
    student(images).square().sum().backward()
state = student.state_dict()
mixhead.attach(config={"backend": "wasm"})
student.load_state_dict(state)
moved = (mixhead.prototypes() - start).abs().max().item()

heavy = {"torchvision", "timm", "lightly", "safetensors", "sklearn", "scipy", "PIL"}
print(
    json.dumps(
        {
            "package": mixhead.__file__,
            "plugin": plugin_command(),
            "moved": moved,
            "loaded": torch.equal(mixhead.prototypes(), state["last_layer.weight_v"]),
            "heavy": sorted(heavy & sys.modules.keys()),
        }
    )
)
