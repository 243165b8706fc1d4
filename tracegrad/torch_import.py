"""`import torch` gives tracegrad: `as_torch`, for scripts and packages that were written for torch.

While it holds, `sys.modules` has our modules under torch's names, and a finder that imports those
that are still missing. Who imports decides which of the two torches an import statement gets: with
`scope` the named packages alone get ours; without it all do but those that only look whether torch
is installed.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec as probe
from threading import RLock
from types import ModuleType
from typing import Any, Self

from . import absent, torch_modules
from .torch_names import NAMES
from .torch_version import TORCH_VERSION

# They look for torch to support it besides other libraries, by parts of it that are not here.
# Torch itself is among them, where it is installed and they use it.
LEFT_ALONE = frozenset(
    "accelerate array_api_compat cupy dask datasets jax keras lightgbm pandas scipy shap sklearn "
    "tensorflow thinc torch torchaudio transformers wandb xgboost".split()
)
_lock = RLock()
_opened: list[as_torch] = []


class TorchModule(ModuleType):
    """The module `torch`: the names of tracegrad, under torch's version."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'torch' has no attribute {name!r}")
        return getattr(_package(), name)

    def __dir__(self) -> list[str]:
        lazy = (name for name in (*torch_modules.PATHS, *torch_modules.HOMES) if "." not in name)
        return sorted({*vars(self), *dir(_package()), *lazy})


def _package() -> ModuleType:
    return sys.modules[torch_modules.PACKAGE]


@cache
def torch_module() -> TorchModule:
    """The one module `torch`."""
    package = _package()
    torch = TorchModule("torch", package.__doc__)
    vars(torch).update({k: v for k, v in vars(package).items() if not k.startswith("__")})
    torch.__file__, torch.__path__ = package.__file__, []
    torch.__version__ = TORCH_VERSION  # type: ignore[attr-defined]
    return torch


class _Loader(Loader):
    """Gives a module that exists, as it is."""

    def __init__(self, module: ModuleType, inside: str):
        self.module, self.inside = module, inside
        self.spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        if self.spec is not None:  # importlib put the one of torch's name there
            module.__spec__ = self.spec
        for path in torch_modules.HIDDEN:  # importlib would put them where the functions stand
            if path.rpartition(".")[0] == self.inside:
                sys.modules[f"torch.{path}"] = absent.find(path)  # type: ignore[assignment]


class Finder:
    """Finds `torch` and its submodules here, on `sys.meta_path`."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        root, _, inside = name.partition(".")
        space, _, last = inside.rpartition(".")
        if root == torch_modules.PACKAGE and inside not in torch_modules.PATHS:
            # `from torch.nn import NAME` asks for this if the module has no such name
            if last in NAMES.get(space, "").split():
                raise _no_module(f"torch.{inside}")
        if root != "torch":
            return None
        module = torch_module() if not inside else absent.find(inside)
        if module is _package():
            module = torch_module()
        if module is None:
            if sys._getframe(2).f_code is probe.__code__:  # who only looks is told None
                absent.in_vain[name] = None
                return None
            raise _no_module(name)
        vars(module).setdefault("__path__", [])  # else `from torch.x import NAME` says less
        return ModuleSpec(name, _Loader(module, inside), origin="tracegrad",
                          is_package=hasattr(module, "__path__"))


def _no_module(name: str) -> ModuleNotFoundError:
    """What `import torch.NAME` and `from torch import NAME` raise.

    The error gets its attribute `name` later: `from torch import ...` takes an error that has the
    module's name for its own, and says less.
    """
    absent.in_vain[name] = None
    return ModuleNotFoundError(f"{name} is not part of tracegrad")


class as_torch:
    """Makes `import torch` import tracegrad: from the call on, or in a `with` block.

    `torch.nn`, `torch.optim` and the other submodules come with it; `torch.__version__` is the
    version of torch that is followed, with a local tag. Modules that were imported under torch's
    name are put back at the end of the block; what was imported meanwhile keeps what it has.
    `scope` names packages: only their import statements are served. Without it, packages that look
    for torch in order to support it as well (SciPy, scikit-learn, transformers) are not. Raises
    TypeError for a `scope` that is a string, and in the `with` block ImportError for a module or a
    name of torch that is not here.

    >>> with torch.as_torch():
    ...     from torch import __version__, nn as layers
    >>> layers is nn, __version__
    (True, '2.13.0+tracegrad')
    """

    def __init__(self, scope: Iterable[str] | None = None):
        if isinstance(scope, str):
            raise TypeError(f"as_torch: scope must be a list of packages, such as [{scope!r}]")
        self.scope = None if scope is None else frozenset(scope)
        self.ours = False  # whether `sys.modules` has our modules now
        self.others: dict[str, ModuleType] = {}
        self.importer = self._import
        self.open = True
        with _lock:
            self.plain_import: Callable = builtins.__import__
            _opened.append(self)
            builtins.__import__ = self.importer
            if self.scope is None:
                self._exchange()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Put back what was there before, once those that were opened later are closed too."""
        with _lock:
            self.open = False
            while _opened and not _opened[-1].open:
                _opened.pop()._put_back()

    def _put_back(self) -> None:
        if self.ours:
            self._exchange()
        if builtins.__import__ is self.importer:
            builtins.__import__ = self.plain_import

    def _exchange(self) -> None:
        """Exchange the modules under torch's name, and put the finder there or away."""
        modules = sys.modules.copy()  # other threads import
        now = {n: m for n, m in modules.items() if n == "torch" or n.startswith("torch.")}
        for name in now:
            del sys.modules[name]
        sys.modules.update(self.others)
        self.others, self.ours = now, not self.ours
        if self.ours:
            sys.meta_path.insert(0, Finder)
        else:
            sys.meta_path.remove(Finder)

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _import(self, name: str, globals: Mapping[str, Any] | None = None,
                locals: Mapping[str, Any] | None = None, fromlist: Sequence[str] | None = (),
                level: int = 0) -> ModuleType:
        """`__import__`, with the torch that the importing module is to get."""
        arguments = (name, globals, locals, fromlist, level)
        if level or not self.open or not (name == "torch" or name.startswith("torch.")):
            return self.plain_import(*arguments)
        importer = str((globals or {}).get("__name__", "")).partition(".")[0]
        if importer in ("_frozen_importlib", "importlib"):  # for code in C that is being loaded
            return self.plain_import(*arguments)
        wanted = importer not in LEFT_ALONE if self.scope is None else importer in self.scope
        with _lock, nullcontext() if wanted == self.ours else self._exchanged():
            try:
                return self.plain_import(*arguments)
            except ModuleNotFoundError as error:
                error.name = error.name or str(error).partition(" ")[0]
                raise
