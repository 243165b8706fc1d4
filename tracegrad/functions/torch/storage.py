"""Storages, by torch's names: the memory that a tensor and its views share.

They say where the memory is and how large it is; what is in it is read and set through tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.device_array import DeviceArray
from ...ir.dtype import DType
from ...tracer.tensor.device import device
from ...tracer.tensor.device_memory import address, host
from ...tracer.tensor.tensor import Tensor
from .tensors import values_array

__all__ = ["TypedStorage", "UntypedStorage", "storage", "untyped_storage"]


def _owner(array: Any) -> Any:
    while isinstance(array.base, (np.ndarray, DeviceArray)):
        array = array.base
    return array


class UntypedStorage:
    """The bytes that a tensor lies in. Raises RuntimeError in a compiled function.

    >>> x = torch.ones(4)
    >>> x.untyped_storage().nbytes(), x[1:].untyped_storage().data_ptr() == x.data_ptr()
    (16, True)
    """

    def __init__(self, tensor: Tensor):
        self._array = _owner(values_array(tensor))
        self.device: device = tensor.device

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return address(self._array)

    def nbytes(self) -> int:
        """How many bytes there are."""
        return self._array.nbytes

    size = __len__ = nbytes

    def element_size(self) -> int:
        """1."""
        return 1

    def resize_(self, size: int) -> Any:
        """Raises RuntimeError: the memory of a tensor keeps its size."""
        raise RuntimeError("resize_ of a storage is not part of tracegrad: memory keeps its size")

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other.data_ptr() == self.data_ptr()

    def __hash__(self) -> int:
        return hash(self.data_ptr())


class TypedStorage(UntypedStorage):
    """The elements that a tensor lies in. Raises RuntimeError in a compiled function.

    >>> storage = torch.ones(2, 2).storage()
    >>> len(storage), storage.tolist()
    (4, [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, tensor: Tensor):
        super().__init__(tensor)
        self.dtype: DType = tensor.dtype

    def element_size(self) -> int:
        """The bytes of one element."""
        return self.dtype.itemsize

    def size(self) -> int:
        """How many elements there are."""
        return self.nbytes() // self.element_size()

    __len__ = size

    def tolist(self) -> list:
        """The elements as numbers of Python."""
        if isinstance(self._array, DeviceArray):
            row = DeviceArray(self._array.memory, (self.size(),), np.dtype(self.dtype.storage),
                              None, self.data_ptr())
            return self.dtype.decode(host(row)).tolist()
        flat = np.frombuffer(self._array, self.dtype.storage) if self.nbytes() else self._array
        return self.dtype.decode(flat).tolist()

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        bytes_ = UntypedStorage.__new__(UntypedStorage)
        bytes_._array, bytes_.device = self._array, self.device
        return bytes_


def storage(self: Tensor) -> TypedStorage:
    """The elements in memory that this tensor and its views share.

    Shape: any. Raises RuntimeError in a compiled function.

    >>> torch.ones(2, 3).storage().size()
    6
    """
    return TypedStorage(self)


def untyped_storage(self: Tensor) -> UntypedStorage:
    """The bytes of memory that this tensor and its views share.

    Shape: any. Raises RuntimeError in a compiled function.

    >>> torch.ones(2, 3).untyped_storage().nbytes()
    24
    """
    return UntypedStorage(self)
