"""The dependency scan of code: a row for each way in which code names what it reads."""

import operator
import os
from collections import deque

import numpy as np
import pytest
from bodies import body

import tracegrad as tg
from tracegrad.tracer.capture.code_names import fixed, may_be_plain, reads, where

RATE, MODE, CONFIG = 0.5, "sum", {"depth": 3}


class Settings:
    rate, names, make = 0.5, [], len


# code, the field of Reads, what must be in it
NAMED = [
    (lambda x: x * RATE, "globals", "RATE"),
    (lambda x: [x * RATE for _ in "ab"], "globals", "RATE"),
    (lambda x: (lambda y: y * RATE)(x), "globals", "RATE"),
    (lambda x: x.shape, "attributes", "shape"),
    (lambda x: x.sum(), "attributes", "sum"),
    (lambda x: Settings.rate, "attributes", "rate"),
    (lambda x: getattr(x, "shape"), "attributes", "shape"),  # noqa: B009
    (lambda x: CONFIG["depth"], "attributes", "depth"),
    (lambda x: x if MODE is Settings.rate else 0, "compared", ("Settings", "rate")),
    (lambda x: x is RATE, "compared", ("RATE",)),
]


@pytest.mark.parametrize("function, field, name", NAMED, ids=body)
def test_a_name_in_code_is_read(function, field, name):
    assert name in getattr(reads(function.__code__), field)


def imports_inside():
    import math

    return math.pi


def sets_a_global():
    global RATE
    RATE = 1


def test_statements_name_modules_and_globals():
    assert reads(imports_inside.__code__).imports == {"math"}
    assert reads(sets_a_global.__code__).globals == ("RATE",)


# code, the flag that it raises
FLAGS = [
    (lambda: globals(), "any_global"),
    (lambda: eval("RA" + "TE"), "any_global"),
    (lambda x: getattr(x, "sha" + MODE), "any_attribute"),
    (lambda x: hasattr(x, MODE), "any_attribute"),
    (lambda x: vars(x), "any_attribute"),
    (lambda x: operator.attrgetter(MODE)(x), "any_attribute"),
    (lambda x: type(x), "asks_type"),
    (lambda x, y: x is y, "asks_identity"),
    (lambda x, y: x if x is not y else None, "asks_identity"),
]
ALL_FLAGS = ("any_global", "any_attribute", "asks_type", "asks_identity")


@pytest.mark.parametrize("function, flag", FLAGS, ids=body)
def test_code_that_may_read_more_than_it_names_says_so(function, flag):
    found = reads(function.__code__)
    assert [f for f in ALL_FLAGS if getattr(found, f)] == [flag]


def matches(x):
    match x:
        case {"a": y}:
            return y


PLAIN = [
    lambda x: x * 2, lambda x: x is None, lambda x: x is not True, lambda x: isinstance(x, int),
    lambda x: getattr(x, "shape", None), lambda x: hasattr(x, "shape"),
    lambda x: x.__class__ is int,
]


@pytest.mark.parametrize("function", PLAIN, ids=body)
def test_other_code_raises_no_flag(function):
    assert not any(getattr(reads(function.__code__), flag) for flag in ALL_FLAGS)


def test_a_pattern_looks_at_the_type_of_a_value():
    assert reads(matches.__code__).asks_identity


@pytest.mark.parametrize("names, plain", [
    (("RATE",), True), (("CONFIG",), True), (("MODE",), False), (("Settings",), False),
    (("Settings", "rate"), True), (("Settings", "names"), True), (("Settings", "make"), False),
    (("CONFIG", "anything"), True), (("nothing",), False), (("np", "pi"), True),
    (("queue",), True),
])
def test_a_comparison_by_identity_matters_for_numbers_and_containers(names, plain):
    space = {**globals(), "queue": deque()}
    assert may_be_plain(space, names) is plain


@pytest.mark.parametrize("module, is_fixed", [
    ("os", True), ("os.path", True), (np.__name__, True), (tg.__name__, True),
    ("tracegrad.nn.linear", True), ("pytest", True), ("sys", True), ("__main__", False),
    (__name__, False), ("made.at.run.time", False),
])
def test_installed_modules_are_taken_to_stay_as_they_are(module, is_fixed):
    assert fixed(module) is is_fixed


def changes():
    seen = CONFIG["depth"]
    CONFIG["depth"] = seen + 1
    return os.sep


def test_an_error_names_the_line_that_uses_a_name_or_changes_it():
    first = changes.__code__.co_firstlineno
    file = os.path.basename(__file__)
    assert where([changes], "the global 'CONFIG'") == f"{file}:{first + 1}"
    assert where([changes], "the global 'CONFIG'", changed=True) == f"{file}:{first + 2}"
    assert where([changes], "the global 'nothing'") == ""
