"""GPUs for tests, in the memory of the host. Programs for them are the CPU's, so numbers are real
and tests are fast; memory and streams are those of the strict driver without a device.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tracegrad.codegen.program import Program
from tracegrad.driver import places
from tracegrad.driver.gpus import Gpus, using
from tracegrad.runtime.cpu.executable import Executable
from tracegrad.runtime.cuda.device import CudaDevice
from tracegrad.runtime.cuda.fake_driver import FakeDriver


class FakeGpu(CudaDevice):
    programs = 0

    def identity(self) -> str:
        return "a GPU with the CPU's kernels"

    def executable(self, program: Program) -> Executable:
        self.programs += 1
        return _AtOnce(program, self)


class _AtOnce(Executable):
    """The CPU's, which does not wait in a stream: all that was to come before is done first."""

    def __init__(self, program: Program, gpu: FakeGpu):
        super().__init__(program)
        walk = self.walk

        def walk_after_all(span: int) -> int:
            gpu.driver.synchronize_device(gpu.index)
            return walk(span)

        self.walk = walk_after_all


@contextmanager
def fake_gpus(count: int = 1) -> Iterator[Gpus]:
    """Within it there are GPUs that run the CPU's kernels."""
    driver = FakeDriver(count)
    own, places.cuda_backend = places.cuda_backend, lambda: places.HOST.backend
    try:
        with using([FakeGpu(driver, k) for k in range(count)]) as gpus:
            yield gpus
    finally:
        places.cuda_backend = own


@contextmanager
def plain_gpus(count: int = 1) -> Iterator[Gpus]:
    """Within it there are GPUs that run their own kernels, in plain Python."""
    driver = FakeDriver(count)
    with using([CudaDevice(driver, k) for k in range(count)]) as gpus:
        yield gpus
