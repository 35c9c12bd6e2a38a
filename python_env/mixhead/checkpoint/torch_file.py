"""Files of ``torch.save``: a pickle and storages, in a zip archive or, before PyTorch 1.6, in sequence."""

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from mixhead.checkpoint.entry import Entry
from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.pickled import RunsCodeError, StandIn, Storage, Unpickler
from mixhead.checkpoint.tensors import Storages, entry_of, storage_of

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
ZIP_MAGIC = b"PK\x03\x04"
# Largest nesting of dictionaries and lists. In real checkpoints it is below ten.
DEEPEST = 100
# Largest number of tensors. A few dictionaries that contain each other could unfold into any number.
MOST = 100_000


def read_torch(file: BinaryIO, path: Path) -> dict[str, Entry]:
    """Reads the tensors of nested dictionaries, lists and modules, by paths like
    ``teacher.last_layer.weight_v``.

    ``file`` has to be open at its beginning, and to stay open for the entries. ``path`` names it in error
    messages. Raises CheckpointError.
    """
    try:
        content, storages = _zipped(file, path) if is_zip(file) else _legacy(file)
        tensors = Tensors(path, storages)
        tensors.collect("", content)
        return tensors.entries
    except CheckpointError:
        raise
    except RunsCodeError as error:
        raise CheckpointError(
            f"{path} holds a Python object ({error}), which is not loaded since it can run code; "
            "save the state dict alone"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path} is not a PyTorch checkpoint, or a damaged one") from error


def is_zip(file: BinaryIO) -> bool:
    start = file.read(len(ZIP_MAGIC))
    file.seek(0)
    return start == ZIP_MAGIC


def _zipped(file: BinaryIO, path: Path) -> tuple[object, Storages]:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path} is cut short: the end of the file is missing") from error
    for member in archive.infolist():
        del member.CRC  # PyTorch may omit checksums, and does not check them
    pickles = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == "data.pkl"]
    if not pickles:
        raise CheckpointError(f"{path} is a zip archive, but not one of torch.save")
    pickle = min(pickles, key=len)
    folder = pickle.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise CheckpointError(f"{path} was written by a big-endian machine; save it again on another one")
    with archive.open(pickle) as stream:
        content = Unpickler(stream).load()
    prefix = f"{folder}data/"
    members = [member for member in archive.infolist() if member.filename.startswith(prefix)]
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{path} is a zip archive that something other than PyTorch has compressed")
    places = {member.filename.removeprefix(prefix): _place_in_zip(file, member) for member in members}
    return content, StoredBytes(file, places)


def _place_in_zip(file: BinaryIO, member: zipfile.ZipInfo) -> tuple[int, int]:
    """The position of a member's data, which follows a header of its own, and its size in bytes."""
    file.seek(member.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + name + extra, member.file_size


class StoredBytes:
    """Uncompressed storages in a file. places: position and size in bytes, by key."""

    def __init__(self, file: BinaryIO, places: dict[str, tuple[int, int]]) -> None:
        self._file = file
        self._places = places

    def size(self, key: str) -> int:
        start, size = self._places.get(key, (0, 0))
        return max(0, min(size, self._file.seek(0, 2) - start))

    def read(self, key: str, start: int, count: int) -> bytearray:
        self._file.seek(self._places[key][0] + start)
        return bytearray(self._file.read(count))


def _legacy(file: BinaryIO) -> tuple[object, Storages]:
    first = Unpickler(file).load()
    if first != LEGACY_MAGIC:
        return first, StoredBytes(file, {})  # a plain pickle, which may contain NumPy arrays
    for _ in ("protocol", "system"):
        Unpickler(file).load()
    unpickler = Unpickler(file)
    content = unpickler.load()
    return content, StoredBytes(file, _places(file, unpickler.storages))


def _places(file: BinaryIO, storages: list[Storage]) -> dict[str, tuple[int, int]]:
    """The position and the size in bytes of each storage. They follow each other, each after its length."""
    item_sizes = {key: dtype.itemsize for dtype, key, _ in map(storage_of, storages)}
    keys = Unpickler(file).load()
    if not isinstance(keys, list):
        raise ValueError(keys)
    places: dict[str, tuple[int, int]] = {}
    at = file.tell()
    for key in map(str, keys):
        file.seek(at)
        length = file.read(8)
        if len(length) < 8:
            break  # cut short: reading a missing tensor reports it
        (numbers,) = struct.unpack("<q", length)
        size = numbers * item_sizes[key]
        if size < 0:
            raise ValueError(size)
        places[key] = (at + 8, size)
        at += 8 + size
    return places


class Tensors:
    """Collects the tensors in the content of a pickle, by path."""

    def __init__(self, path: Path, storages: Storages) -> None:
        self.entries: dict[str, Entry] = {}
        self._path = path
        self._storages = storages
        # Objects known to contain no tensor, so that a shared one is searched once.
        self._barren: set[int] = set()

    def collect(self, name: str, value: object, depth: int = 0) -> None:
        what = f"{self._path}: {name}" if name else f"{self._path}: its tensor"
        if (entry := entry_of(value, self._storages, what)) is not None:
            self.entries[name] = entry
            return
        items = _items(value)
        if not items or id(value) in self._barren:
            return
        if depth > DEEPEST or len(self.entries) > MOST:
            raise CheckpointError(
                f"{self._path} holds a dictionary or list that contains itself, is more than {DEEPEST} deep, "
                f"or has more than {MOST:,} tensors in it"
            )
        before = len(self.entries)
        for key, item in items:
            # Skip numbers and text, the bulk of a checkpoint apart from its weights.
            if isinstance(item, dict | list | tuple | StandIn) and isinstance(key, str | int):
                self.collect(f"{name}.{key}" if name else str(key), item, depth + 1)
        if len(self.entries) == before:
            self._barren.add(id(value))


def _items(value: object) -> list[tuple[object, object]]:
    match value:
        case dict():
            return list(value.items())
        case list() | tuple():
            return list(enumerate(value))
        case StandIn(name="collections.OrderedDict", given=((list() | tuple()) as pairs,)):  # of Python 2
            return [(key, item) for key, item in pairs]
        case StandIn(state={"_parameters": own, "_buffers": buffers, "_modules": modules}):
            return [item for part in (own, buffers, modules) for item in _items(part)]
        case StandIn(state=dict(state)) if value.name.startswith("__torch__."):  # of TorchScript
            return list(state.items())
        case StandIn():
            return [*value.items.items(), *enumerate(value.elements)]
    return []
