"""``python bin/python-api.py FOLDER``: a Markdown page for each public module of the Python package.

The pages come from the docstrings; the package itself is not imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import griffe
from griffe2md import ConfigDict, render_object_docs

PACKAGE = Path(__file__).parents[1] / "python_env"
MODULES = (
    "mixhead",
    "mixhead.lightly",
    "mixhead.dino",
    "mixhead.dinov2",
    "mixhead.dinov3",
    "mixhead.ibot",
    "mixhead.solo",
    "mixhead.lightning",
    "mixhead.dropin.heads",
)
CONFIG = ConfigDict(
    docstring_style="google",
    heading_level=2,
    show_object_full_path=False,
    show_submodules=False,
    show_if_no_docstring=False,
    signature_crossrefs=False,
    show_signature_annotations=True,
    separate_signature=True,
    summary=False,
)


def public(module: griffe.Module) -> list[griffe.Object | griffe.Alias]:
    """The classes and functions that a module exports or, without ``__all__``, defines."""
    names = module.exports or [
        name for name, member in module.members.items() if not member.is_alias and not name.startswith("_")
    ]
    return [member for name in names if (member := module[str(name)]).is_class or member.is_function]


def page(module: griffe.Module) -> str:
    title = f'---\ntitle: "{module.path}"\n---\n\n# `{module.path}`\n'
    text = module.docstring.value if module.docstring else ""
    return "\n\n".join([title, text, *(render_object_docs(each, CONFIG) for each in public(module))])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    package = griffe.load("mixhead", search_paths=[PACKAGE], docstring_parser="google", resolve_aliases=True)
    for name in MODULES:
        inner = name.partition(".")[2]
        (folder / f"{name}.md").write_text(page(package[inner] if inner else package))
