"""torch.version: the version of torch that is followed, and what it would have been built with."""

from .torch_version import TORCH_VERSION

__version__ = str(TORCH_VERSION)
debug = False
cuda = None
hip = None
xpu = None
git_version = "tracegrad"
