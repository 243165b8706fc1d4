"""Programs are few: what changes from call to call and is only computed with, or not looked at,
makes no other one. Each of these says what it says eagerly.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import threading
import types

import pytest
from scenarios import collection, lockstep

import tracegrad as tg
from tracegrad import nn


def x():
    return tg.tensor([1.0, -2.0])


class Mode(enum.Enum):
    TRAIN = 1
    TEST = 2


FEW, few = collection()


@few
def a_number_in_a_class(compile):
    class Config:
        rate, name = 1.0, "a"

    class Mine(Config):
        pass

    f = compile(lambda x: x * Config.rate + Mine().rate * len(Mine.name))
    for k in range(40):
        Config.rate = 0.5 * k
        yield f(x())
    Mine.rate = 7.0
    yield f(x())
    Config.name = "abc"
    yield f(x())
    del Mine.rate
    yield f(x())


@few
def a_class_attribute_that_is_a_tensor(compile):
    class Config:
        weight = tg.ones(2)

    f = compile(lambda x: x * Config.weight)
    for k in range(10):
        Config.weight = tg.full((2,), float(k))
        yield f(x())


@few
def a_history_beside_settings(compile):
    settings = {"rate": 1.0, "losses": [], "seen": set(), "by epoch": {"a": [0]}}
    space = types.SimpleNamespace(rate=1.0, losses=[])
    f = compile(lambda x: x * settings["rate"] + space.rate)
    for k in range(12):
        settings["losses"].append(k)
        settings["seen"].add(k)
        settings["by epoch"]["a"].append(k)
        settings["by epoch"][k] = k
        space.losses.append(k)
        settings["rate"] += 0.5
        yield f(x())


@few
def asking_whether_a_number_is_one(compile):
    @dataclasses.dataclass
    class Config:
        rate: float = 1.0
        mode: Mode = Mode.TRAIN

    config = Config()

    @compile
    def f(x, k):
        if isinstance(config.rate, (int, float)) and not isinstance(k, tg.Tensor):
            x = x * config.rate
        return x + k if config.mode is Mode.TRAIN else x - k

    for k in range(12):
        config.rate = 0.5 * k
        yield f(x(), 0.25 * k)
    config.mode = Mode.TEST
    yield f(x(), 2.0)


@few
def a_norm_to_clip_to(compile):
    net, limits = nn.Linear(2, 1), {"norm": 8.0, "value": 4.0}
    for p in net.parameters():
        p.data.fill_(0.5)

    @compile
    def f(x):
        net.zero_grad()
        net(x).pow(2).sum().backward()
        nn.utils.clip_grad_norm_(net.parameters(), limits["norm"])
        nn.utils.clip_grad_value_(net.parameters(), limits["value"])
        return net.weight.grad.mul(8).round()

    for _ in range(8):
        yield f(x())
        limits["norm"] *= 0.75
        limits["value"] *= 0.5


@few
def the_last_values_of_a_deque(compile):
    recent = collections.deque([1.0, 2.0], maxlen=2)
    f = compile(lambda x: x * sum(recent))
    for k in range(12):
        recent.append(0.5 * k)
        yield f(x())


@pytest.mark.parametrize("name", FEW)
def test_programs_are_few(name):
    assert lockstep(FEW[name]) <= 5


# ---- a container that seemed unread is looked at after all
def _uses():
    def fails(x, d):
        try:
            return x * d["log"][2]
        except Exception:
            return x

    def matches(x, d):
        match d["log"]:
            case [first, *_]:
                return x * first
            case _:
                return x

    same = []
    return {
        "its length": lambda x, d: x * len(d["log"]),
        "whether it is empty": lambda x, d: x * 2 if d["log"] else x,
        "what it is": lambda x, d: x * sum(v for v in d.values() if isinstance(v, float)),
        "what it equals": lambda x, d: x * (2 if d == {"k": 1.0, "log": [1.0]} else 3),
        "its text": lambda x, d: x * len(f"{d['log']}") + len(str(d)),
        "a copy": lambda x, d: x * len({**d}["log"]) + len(dict(d)["log"]),
        "it is returned": lambda x, d: (x, d["log"]),
        "a failure": fails,
        "a pattern": matches,
        "identity": lambda x, d: x * (2 if d["log"] is same else 3),
        "whether it is there": lambda x, d: x * (2 if d["log"] is None else 3),
    }


@pytest.mark.parametrize("name", _uses())
def test_an_unread_container_that_is_read(name):
    def program(compile):
        d = {"k": 1.0, "log": []}
        f = compile(lambda x: _uses()[name](x, d))
        for k in range(4):
            yield f(x())
            d["log"].append(float(k + 1))
        d["log"] = [4.0]
        yield f(x())
        d["log"] = None if name == "whether it is there" else []
        yield f(x())

    lockstep(program)


def test_another_thread_finds_the_container():
    settings, stop, wrong = {"k": 1.0, "log": []}, threading.Event(), []

    def work():
        while not stop.is_set():
            try:
                log = settings["log"]
                log.append(1)
                assert isinstance(log, list) and log and log[-1] == 1 and log != [1, 2]
                if len(log) > 50:
                    log.clear()
            except BaseException as error:
                wrong.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    for k in range(8):
        f = tg.compile(lambda x, k=k: (x * settings["k"] + k) * settings["k"])
        for _ in range(3):
            assert f(x()).tolist() == (x() + k).tolist()
    stop.set()
    thread.join()
    assert not wrong and type(settings["log"]) is list
