"""The functions of CUDA's driver library, by ctypes: no package is needed to run kernels, only to
compile them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

OLDEST = 12000  # the version of the driver that is needed, as it counts them
_SUCCESS, _OUT_OF_MEMORY, _NO_DEVICE, _NOT_READY = 0, 2, 100, 600
_UNSUPPORTED_PTX = 222

_INT, _SIZE, _WORD = POINTER(c_int), POINTER(c_size_t), POINTER(c_uint64)
_HANDLE = c_void_p  # of streams, events, modules, functions, graphs
_NEW = POINTER(c_void_p)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # with the types of their arguments
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (_INT,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (_INT,),
    "cuDeviceGet": (_INT, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceTotalMem_v2": (_SIZE, c_int),
    "cuDeviceGetAttribute": (_INT, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_NEW, c_int),
    "cuCtxSetCurrent": (_HANDLE,),
    "cuCtxSynchronize": (),
    "cuMemAlloc_v2": (_WORD, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemGetInfo_v2": (_SIZE, _SIZE),
    "cuMemHostAlloc": (_NEW, c_size_t, c_uint),
    "cuMemHostGetDevicePointer_v2": (_WORD, c_void_p, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, _HANDLE),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, _HANDLE),
    "cuStreamCreate": (_NEW, c_uint),
    "cuStreamSynchronize": (_HANDLE,),
    "cuStreamQuery": (_HANDLE,),
    "cuStreamWaitEvent": (_HANDLE, _HANDLE, c_uint),
    "cuStreamBeginCapture_v2": (_HANDLE, c_int),
    "cuStreamEndCapture": (_HANDLE, _NEW),
    "cuEventCreate": (_NEW, c_uint),
    "cuEventRecord": (_HANDLE, _HANDLE),
    "cuEventQuery": (_HANDLE,),
    "cuEventSynchronize": (_HANDLE,),
    "cuEventElapsedTime": (POINTER(c_float), _HANDLE, _HANDLE),
    "cuEventDestroy_v2": (_HANDLE,),
    "cuModuleLoadData": (_NEW, c_char_p),
    "cuModuleGetFunction": (_NEW, _HANDLE, c_char_p),
    "cuLaunchKernel": (_HANDLE, *[c_uint] * 7, _HANDLE, POINTER(c_void_p), c_void_p),
    "cuGraphInstantiateWithFlags": (_NEW, _HANDLE, c_uint64),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
    "cuGraphExecDestroy": (_HANDLE,),
    "cuGraphDestroy": (_HANDLE,),
}

_NONE = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed "
    "a driver from http://www.nvidia.com/Download/index.aspx"
)
_OLD = (
    "The NVIDIA driver on your system is too old (found version {}). Please update your GPU driver "
    "by downloading and installing a new version from the URL: "
    "http://www.nvidia.com/Download/index.aspx"
)
ASYNCHRONOUS = (
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace "
    "below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)


class CudaError(RuntimeError):
    """The driver refused something, or a kernel failed. `code` is the driver's."""

    def __init__(self, code: int, words: str):
        super().__init__(f"CUDA error: {words}\n{ASYNCHRONOUS}")
        self.code = code

    @property
    def out_of_memory(self) -> bool:
        return self.code == _OUT_OF_MEMORY


class LibCuda:
    """`lib.cuMemFree(address)` calls that function, and raises what it reports. Functions of which
    there are several versions go by the name without it.
    """

    def __init__(self, library: Any = None):
        self._library = library or _loaded()
        for name, types in _FUNCTIONS.items():
            function = getattr(self._library, name, None)
            if function is None:
                raise RuntimeError(_OLD.format("one without " + name))
            function.argtypes, function.restype = types, c_int
            setattr(self, name.partition("_")[0], self._checked(function))
        self.version = self._prepared()

    def __getattr__(self, name: str) -> Callable[..., None]:  # for type checkers
        raise AttributeError(name)

    def _checked(self, function: Any) -> Callable[..., None]:
        def call(*args: Any) -> None:
            code = function(*args)
            if code:
                raise self.error(code)

        return call

    def unchecked(self, name: str) -> Callable[..., int]:
        """The function itself, which gives the driver's code for an error, or 0."""
        function: Callable[..., int] = getattr(self._library, name)
        return function

    def error(self, code: int) -> RuntimeError:
        if code == _UNSUPPORTED_PTX:
            return RuntimeError(_OLD.format(f"{self.version}, which does not know this PTX"))
        words = c_char_p()
        self._library.cuGetErrorString(code, byref(words))
        return CudaError(code, (words.value or b"unknown error").decode())

    def _prepared(self) -> int:
        """Initialize the driver. Gives its version."""
        version = c_int()
        if self._library.cuDriverGetVersion(byref(version)):
            raise RuntimeError(_NONE)
        if version.value < OLDEST:
            raise RuntimeError(_OLD.format(version.value))
        code = self._library.cuInit(0)
        if code == _NO_DEVICE:
            raise RuntimeError("No CUDA GPUs are available")
        if code:
            raise self.error(code)
        return version.value

    # ---- results
    def new(self, function: Callable[..., None], *args: Any) -> int:
        """The handle that a function writes to its first argument."""
        handle = c_void_p()
        function(byref(handle), *args)
        return handle.value or 0

    def number(self, kind: type, function: Callable[..., None], *args: Any) -> Any:
        """The number that a function writes to its first argument."""
        result = kind()
        function(byref(result), *args)
        return result.value

    def is_done(self, query: str, what: int) -> bool:
        """What a query of a stream or an event tells."""
        code = getattr(self._library, query)(what)
        if code not in (_SUCCESS, _NOT_READY):
            raise self.error(code)
        return code == _SUCCESS


def _loaded() -> Any:
    for name in ("libcuda.so.1", "libcuda.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            pass
    raise RuntimeError(_NONE)


def arguments(words: Sequence[int]) -> tuple[Any, Any]:
    """Arguments of a kernel, for cuLaunchKernel; and what must live as long."""
    cells = [c_uint64(word) for word in words]
    pointers = (c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
    return pointers, cells
