"""What stands in for training in tests: encoder.py NAME FILE writes the weights of an untrained encoder."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "python_env"))
from mixhead.worker.encoders import build_encoder

torch.manual_seed(0)
encoder, _ = build_encoder(sys.argv[1])
save_file({key: tensor.contiguous() for key, tensor in encoder.state_dict().items()}, sys.argv[2])
