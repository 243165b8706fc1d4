"""save and load, in torch's file format. Files can be exchanged with torch in both directions.

A file is a zip archive. `data.pkl` is the pickle of the object (pickling.py, unpickling.py). In it
a tensor is a call on a storage, whose bytes are a separate file. torch is not needed: its functions
are written as names, and read through a table of known names.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import pickle
import stat
import zipfile
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import IO, Any

import numpy as np

from .ir.dtype import DType, named
from .ir.strides import View, contiguous
from .nn.parameter import Parameter
from .pickling import STORAGES, pickled
from .tracer.mode import mode
from .tracer.tensor.device import CPU, device, usable
from .tracer.tensor.device_memory import copied
from .tracer.tensor.tensor import Size, Tensor, fill_slots
from .unpickling import PLAIN_TYPES, Constructor, Reader

File = str | os.PathLike | IO[bytes]


# ---- writing
def save(obj: Any, f: File, pickle_module: Any = None, pickle_protocol: int = 2,
         _use_new_zipfile_serialization: bool = True) -> None:
    """Write an object made of tensors, numbers, strings and containers to a file that torch can
    read.

    Tensors that share memory share it again after loading. An existing file is replaced only when
    the new one is complete on disk, so one of the two always exists. The last three options are
    accepted and ignored.

    Raises RuntimeError inside a compiled function; pickle.PicklingError for other objects.

    >>> torch.save({"weight": torch.ones(2), "epoch": 3}, "model.pt")
    >>> torch.load("model.pt")
    {'weight': tensor([1., 1.]), 'epoch': 3}
    """
    if mode.trace is not None:
        raise RuntimeError("save: not allowed inside a compiled function, where values are unknown")
    if not isinstance(f, (str, os.PathLike)) and not hasattr(f, "write"):
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )
    text, contents = pickled(obj)
    with atomic_file(f) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/byteorder", "little")
        for k, content in enumerate(contents):
            entry = zipfile.ZipInfo(f"archive/data/{k}")
            with archive.open(entry, "w", force_zip64=content.nbytes >= 1 << 31) as target:
                target.write(content.view(np.uint8).data)
        archive.writestr("archive/version", "3\n")


@contextlib.contextmanager
def atomic_file(f: File, what: str = "save") -> Iterator[IO[bytes]]:
    """A file to write, which replaces `f` when it is complete. `what` is for messages."""
    if not isinstance(f, (str, os.PathLike)):
        yield f
        f.flush()
        return
    path = os.path.realpath(os.fsdecode(f))  # the target of a link is replaced
    try:
        before = os.stat(path)
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        with open(path, "wb") as file:  # a device or a pipe; a folder is refused
            yield file
        return
    if before is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"{what}: parent directory {folder} does not exist.")
    temporary = os.path.join(folder, f".{name[:100]}.{token_hex(8)}.tmp")
    permissions = 0o666 if before is None else 0o600  # until those of the old file are copied
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, permissions)
    try:
        with os.fdopen(handle, "wb") as file:
            if before is not None:
                _copy_permissions(handle, before)
            yield file
            file.flush()
            _fsync(handle)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # flush the folder, too
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(at)
        finally:
            os.close(at)


def _fsync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise  # other errors: the file system has no fsync


def _copy_permissions(handle: int, before: os.stat_result) -> None:
    """Give a new file the permissions, and if allowed the owner, of the file that it replaces."""
    now = os.fstat(handle)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(handle, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(handle, stat.S_IMODE(before.st_mode))


# ---- reading
class _Storage:
    """A range of memory that tensors refer to, which is put on a device."""

    def __init__(self, array: np.ndarray, dtype: DType, where: device):
        self.array, self.dtype, self.used = array, dtype, False
        self.placed = copied(array, where)

    def seen(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Any:
        """Its elements from `offset` on, with these strides."""
        if 0 in shape:
            strides, offset = contiguous(shape), 0
        if self.placed is not self.array:
            return self.placed.through(View(shape, strides, offset))
        steps = tuple(s * self.array.itemsize for s in strides)
        return np.lib.stride_tricks.as_strided(self.array[offset:], shape, steps)


def _all_integers(*numbers: Any) -> bool:
    return all(type(n) is int for n in numbers)


def _tensor(args: tuple) -> Tensor:
    """torch._utils._rebuild_tensor_v2, with a check that the tensor lies within its storage."""
    storage, offset, shape, strides, requires_grad, *_ = args
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("the storage of a tensor is not a storage")
    storage.used, array, dtype = True, storage.array, storage.dtype
    shape, strides = tuple(shape), tuple(strides)
    if not _all_integers(offset, *shape, *strides) or len(shape) != len(strides) or len(shape) > 64:
        raise pickle.UnpicklingError("a tensor's shape and strides are not whole numbers")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or (0 not in shape and last >= array.size):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    if math.prod(n for n in shape if n) * array.itemsize >= 1 << 62:
        raise pickle.UnpicklingError("a tensor is too large")
    if type(requires_grad) is not bool or (requires_grad and not dtype.is_floating_point):
        raise pickle.UnpicklingError("only tensors of floating point dtype can require gradients")
    seen = storage.seen(shape, strides, offset)
    return fill_slots(object.__new__(Tensor), seen, None, dtype, requires_grad)


def _parameter(args: tuple) -> Parameter:
    data, requires_grad, *_ = args
    if not isinstance(data, Tensor) or type(requires_grad) is not bool:
        raise pickle.UnpicklingError("a Parameter of an object that is not a tensor")
    return Parameter(data, requires_grad)


def _size(args: tuple) -> Size:
    (shape,) = args
    if not _all_integers(*shape):
        raise pickle.UnpicklingError("a Size of items that are not whole numbers")
    return Size(shape)


_KNOWN: dict[tuple[str, str], Any] = {
    **PLAIN_TYPES,
    ("torch._utils", "_rebuild_tensor_v2"): Constructor(_tensor),
    ("torch._utils", "_rebuild_parameter"): Constructor(_parameter),
    ("torch", "Size"): Constructor(_size),
    ("torch", "device"): Constructor(lambda args: device(*args)),
    **{("torch", name): named(name) for name in STORAGES},
    **{("torch", f"{kind}Storage"): named(name) for name, kind in STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """The unpickler for trusted files, which may contain anything."""

    def __init__(self, file: IO[bytes], persistent: Callable[[Any], Any]):
        super().__init__(file, encoding="utf-8")
        self.persistent_load = persistent  # type: ignore[method-assign]

    def find_class(self, module: str, name: str) -> Any:
        constructor = _KNOWN.get((module, name)) if module.startswith("torch") else None
        if isinstance(constructor, Constructor):
            return lambda *args: constructor.call(args)
        return super().find_class(module, name) if constructor is None else constructor


class _NoSuchPlace(RuntimeError):
    """A device that a file names is not there."""


def _place(location: Any, mapped: Any) -> device:
    """Where a storage goes that was at `location` when it was saved."""
    if isinstance(mapped, dict):
        mapped = mapped.get(location, location)
    if callable(mapped):  # torch's gets a storage; those here are of the CPU
        return CPU
    if mapped is not None:
        return usable(mapped)
    if not str(location).startswith("cuda"):
        return CPU
    try:
        return usable(location)
    except RuntimeError as error:
        raise _NoSuchPlace(
            f"Attempting to deserialize object on {location}, but there is no such device "
            f"({error}). Use load with map_location=torch.device('cpu') to map your storages to "
            "the CPU."
        ) from None


class _Archive:
    """The entries of a file that `save` or torch wrote."""

    def __init__(self, file: IO[bytes], size: int, map_location: Any):
        self.map_location = map_location
        self.zip = zipfile.ZipFile(file)
        entries = self.zip.infolist()
        names = {entry.filename for entry in entries}
        roots = [n[: -len("data.pkl")] for n in names if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise RuntimeError("it has no data.pkl, or several")
        if len(names) < len(entries) or sum(entry.file_size for entry in entries) > size:
            raise RuntimeError("its entries overlap")  # or are compressed, which torch never writes
        (self.root,) = roots
        if f"{self.root}byteorder" in names and self.read("byteorder") != b"little":
            raise RuntimeError("its byte order is not supported")
        self.storages: dict[str, _Storage] = {}

    def read(self, name: str) -> bytes:
        return self.zip.read(f"{self.root}{name}")

    def storage(self, pid: Any) -> _Storage:
        """The storage of a persistent id."""
        what, dtype, name, location, size = pid
        if what != "storage" or not isinstance(dtype, DType) or not isinstance(name, str):
            raise pickle.UnpicklingError(f"a storage of {dtype!r} is not supported")
        if name not in self.storages:
            array = np.frombuffer(bytearray(self.read(f"data/{name}")), dtype.storage)
            if array.size != size:
                raise pickle.UnpicklingError(f"storage {name} has {array.size} numbers, not {size}")
            self.storages[name] = _Storage(array, dtype, _place(location, self.map_location))
        if self.storages[name].dtype is not dtype:
            raise pickle.UnpicklingError(f"storage {name} has two dtypes")
        return self.storages[name]


def load(
    f: File, map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = True, mmap: bool | None = None, **options: Any,
) -> Any:
    """Read a file that `save` or torch wrote. Tensors are put on the device that they were on.

    Unless `weights_only` is False, only tensors, numbers, strings and containers are made, whatever
    the file says. `map_location` is another device for all of them, a dict from names of devices to
    devices, or a function, which means the CPU. The other options are accepted and ignored.

    Raises RuntimeError for a damaged file or a device that is not there, and
    pickle.UnpicklingError for a file with refused content.

    >>> model = nn.Linear(2, 1)
    >>> torch.save(model.state_dict(), "model.pt")
    >>> model.load_state_dict(torch.load("model.pt"))
    <All keys matched successfully>
    """
    if mode.trace is not None:
        raise RuntimeError(
            "load: not allowed inside a compiled function: the file would be read only once"
        )
    if not callable(map_location) and not isinstance(map_location, dict):
        usable(map_location)
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _read(file, os.fspath(f), weights_only, map_location)
    if not hasattr(f, "read") or not hasattr(f, "seek"):
        raise AttributeError(
            "You can only load from a file that is seekable. Please pre-load the data into a "
            "buffer like io.BytesIO and try to load from it instead."
        )
    name = getattr(f, "name", f"the {type(f).__name__}")
    return _read(f, name, weights_only, map_location)


def _read(file: IO[bytes], name: Any, weights_only: bool | None, map_location: Any) -> Any:
    try:
        archive = _Archive(file, file.seek(0, os.SEEK_END), map_location)
        text = archive.read("data.pkl")
        if weights_only is None or weights_only:
            value = Reader(_KNOWN, archive.storage).load(text)
            if not all(storage.used for storage in archive.storages.values()):
                raise pickle.UnpicklingError("a storage without a tensor is not supported")
            return value
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"load: {name}: {error}") from None
    except (MemoryError, _NoSuchPlace):
        raise
    except Exception as error:  # zipfile raises many kinds for damage
        raise RuntimeError(
            f"load: {name} is damaged, or not an archive of torch.save or tracegrad.save (torch's "
            f"format from before version 1.6 is not supported): {error}"
        ) from error
    return _Unpickler(io.BytesIO(text), archive.storage).load()


__all__ = ["load", "save"]
