import subprocess
import sys

import pytest

from mixhead.checkpoint.names import plain_name


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("last_layer.weight_v", "last_layer.weight_v"),
        ("module._orig_mod.head.last_layer.module.weight_v", "head.last_layer.weight_v"),
        ("_fsdp_wrapped_module.mlp._checkpoint_wrapped_module.0.weight", "mlp.0.weight"),
        ("module.modules_of_mine.weight", "modules_of_mine.weight"),
        ("_orig_mod.module", "module"),  # a tensor of that name
        ("", ""),
    ],
)
def test_wrappers_are_left_out_of_a_name_wherever_they_stand(key: str, plain: str) -> None:
    assert plain_name(key) == plain


def test_reading_names_imports_neither_numpy_nor_torch() -> None:
    program = (
        "import importlib.util, sys\n"
        "spec = importlib.util.find_spec('mixhead')\n"
        "path = spec.submodule_search_locations[0] + '/checkpoint/names.py'\n"
        "names = importlib.util.spec_from_file_location('names', path)\n"
        "names.loader.exec_module(importlib.util.module_from_spec(names))\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
