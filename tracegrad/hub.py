"""torch.hub: files of weights from the network, and models of a folder that has a `hubconf.py`."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import urllib.request
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from .serialization import load as load_file

__all__ = [
    "HASH_REGEX", "download_url_to_file", "get_dir", "help", "list", "load",
    "load_state_dict_from_url", "set_dir", "urlparse",
]
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
_chosen: dict[str, str] = {}


def _get_torch_home() -> str:
    """$TORCH_HOME, else ~/.cache/torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def tqdm(*args: Any, **kwargs: Any) -> Any:
    """A progress bar of the package tqdm. Raises ImportError where it is not installed."""
    from tqdm.auto import tqdm as bar

    return bar(*args, **kwargs)


def get_dir() -> str:
    """The folder of downloads: `set_dir`'s, else $TORCH_HOME/hub, else ~/.cache/torch/hub."""
    return _chosen.get("dir", os.path.join(_get_torch_home(), "hub"))


def set_dir(d: str | os.PathLike) -> None:
    """Set the folder of downloads."""
    _chosen["dir"] = os.path.expanduser(d)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None,
                         progress: bool = True) -> None:
    """Download to the file `dst`, which appears when it is complete.

    Raises RuntimeError if the SHA-256 of what came does not begin with `hash_prefix`.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "torch.hub"})
    folder = os.path.dirname(os.path.abspath(dst))
    sha = hashlib.sha256()
    handle, name = tempfile.mkstemp(dir=folder, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(request) as response:
            while block := response.read(1 << 17):
                file.write(block)
                sha.update(block)
        if hash_prefix is not None and not sha.hexdigest().startswith(hash_prefix):
            raise RuntimeError(
                f'invalid hash value (expected "{hash_prefix}", got "{sha.hexdigest()}")'
            )
        os.replace(name, dst)
    finally:
        Path(name).unlink(missing_ok=True)


def load_state_dict_from_url(url: str, model_dir: str | None = None, map_location: Any = None,
                             progress: bool = True, check_hash: bool = False,
                             file_name: str | None = None, weights_only: bool = False) -> Any:
    """Load weights from the network; a file that is there already is not fetched again."""
    folder = Path(model_dir or os.path.join(get_dir(), "checkpoints"))
    folder.mkdir(parents=True, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = folder / name
    if not path.exists():
        print(f'Downloading: "{url}" to {path}', file=sys.stderr)
        match = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, str(path), match[1] if match else None, progress)
    return load_file(path, map_location=map_location, weights_only=weights_only)


def _conf(folder: str, source: str) -> Any:
    if source != "local":
        raise RuntimeError(
            f"torch.hub: {folder!r} is not fetched from GitHub; clone it and give its folder with "
            "source='local'"
        )
    path = Path(folder, "hubconf.py")
    spec = spec_from_file_location("hubconf", path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"torch.hub: there is no {path}")
    module = module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def _entry(folder: str, model: str, source: str) -> Any:
    entry = getattr(_conf(folder, source), model, None)
    if not callable(entry):
        raise RuntimeError(f"Cannot find callable {model} in hubconf")
    return entry


def load(repo_or_dir: str, model: str, *args: Any, source: str = "github", **kwargs: Any) -> Any:
    """Call the entry `model` of the folder's `hubconf.py`. Raises RuntimeError for a repository
    that would have to be fetched, and for an entry that is not there.
    """
    for option in ("trust_repo", "force_reload", "verbose", "skip_validation"):
        kwargs.pop(option, None)
    return _entry(repo_or_dir, model, source)(*args, **kwargs)


def list(github: str, *, source: str = "github", **options: Any) -> Any:
    """The entries of the folder's `hubconf.py`."""
    conf = _conf(github, source)
    return [n for n, v in vars(conf).items() if callable(v) and not n.startswith("_")]


def help(github: str, model: str, *, source: str = "github", **options: Any) -> Any:
    """The docstring of an entry."""
    return _entry(github, model, source).__doc__
