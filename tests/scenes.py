"""Small programs, run by torch, eagerly and compiled: what can be seen from outside is the same.

A scene is a function of the library, of `compile` (or of the identity) and of `see`, which notes
what is looked at.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad


def collection():
    """A table of scenes by name, and the decorator that puts one there."""
    scenes = {}

    def scene(function):
        scenes[function.__name__] = function
        return function

    return scenes, scene


def seen(function, library, compiled):
    notes = []

    def see(*things):
        for t in things:
            if hasattr(t, "detach"):
                notes.append((t.requires_grad, t.is_leaf, np.array(t.detach().tolist())))
            else:
                notes.append(t)

    function(library, compiled, see)
    return notes


WORLDS = {
    "torch": lambda: (pytest.importorskip("torch"), lambda f: f),
    "compiled": lambda: (tracegrad, tracegrad.compile),
}


def check(scene, world):
    """Nobody sees a difference between a world and eager execution here."""
    library, compiled = WORLDS[world]()
    wanted = seen(scene, tracegrad, lambda f: f)
    found = seen(scene, library, compiled)
    assert len(wanted) > 1
    for w, f in zip(wanted, found, strict=True):
        if isinstance(w, tuple):
            assert w[:2] == f[:2]
            np.testing.assert_allclose(f[2], w[2], rtol=1e-6)
        else:
            assert w == f
