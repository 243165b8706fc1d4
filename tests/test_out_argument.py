"""`out=` against torch: for every function that has it there, over torch's operator database, and
the rules one by one, eagerly and compiled.
"""

from __future__ import annotations

import itertools
import pickle
import warnings

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.functions.out_table import RULES, SEVERAL

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from tests.opdb.entries import NotComparable, entries, samples  # noqa: E402

TYPES = ("float64", "float32", "int64", "bool")
# what torch writes into these is drawn, left as it was, or of a kind that we do not have
UNLIKE = {
    "empty", "randn", "rand", "randint", "randperm", "normal", "bernoulli", "multinomial",
    "linalg.eig", "linalg.eigvals", "nn.functional.rrelu",
}
# torch refuses these outputs, or takes them, for reasons of its own kernels
LOOSE = {
    "max", "min", "std", "var", "diff", "lerp", "inner", "nanmean", "nansum", "logsumexp", "mv",
    "special.logsumexp", "matmul", "linalg.matmul", "prod", "sum", "cumsum", "cumprod", "linspace",
    "logspace", "arange", "addbmm", "float_power", "heaviside", "isin", "histogram", "argsort",
    "all", "any", "diag", "matrix_power", "linalg.matrix_power", "frexp", "median", "nanmedian",
    "softmax", "log_softmax", "full", "ones", "zeros", "eye",
}
ENTRIES = {}
for _op in entries():
    if _op.name in RULES:
        ENTRIES.setdefault(_op.name, _op)


def found(root, path):
    for part in path.split("."):
        root = getattr(root, part, None)
    return root


HERE = sorted(name for name in RULES if found(tg, name) is not None)


def test_every_function_of_the_table_takes_out():
    assert len(HERE) > 320
    assert [n for n in HERE if not getattr(found(tg, n), "writes_out", "")] == []
    assert set(SEVERAL) <= set(RULES)


def wants_out(f):
    """Whether torch's function takes `out`, from what it says to arguments that make no sense."""
    one = torch.ones(2, 2)
    for args in [(object(),) * 25, (), *itertools.product([one, 1, [one, one], (1,), "sum"])]:
        try:
            f(*args, **({} if len(args) == 25 else {"out": "no"}))
        except TypeError as error:
            words = str(error)
            if "ensor out" in words or "ensors out" in words or "argument 'out'" in words:
                return "unexpected" not in words
        except Exception:
            continue
    return False


@pytest.mark.slow
def test_no_function_of_torch_is_missing_from_the_table():
    spaces = {"": (tg, torch), "linalg": (tg.linalg, torch.linalg)}
    spaces["special"] = (tg.special, torch.special)
    missing = []
    for prefix, (ours, theirs) in spaces.items():
        for name in dir(theirs):
            path = f"{prefix}.{name}".lstrip(".")
            builtin = type(getattr(theirs, name)).__name__ == "builtin_function_or_method"
            if builtin and hasattr(ours, name) and not name.startswith("_") and path not in RULES:
                if wants_out(getattr(theirs, name)):
                    missing.append(path)
    assert missing == []


def outcome(T, f, args, kwargs, shapes, types):
    outs = [T.zeros(s, dtype=getattr(T, d)) for s, d in zip(shapes, types, strict=True)]
    out = outs[0] if isinstance(types, tuple) else tuple(outs)
    with T.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            f(*args, **kwargs, out=out)
        except (RuntimeError, TypeError, NotImplementedError, IndexError):
            return None
    return [t.double().numpy() for t in outs]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in HERE if n in ENTRIES and n not in UNLIKE])
def test_out_is_as_in_torch(name):
    try:
        given = samples(ENTRIES[name], 2, False)
    except NotComparable as reason:
        pytest.skip(str(reason))
    for sample in given:
        args, kwargs = sample.made(torch)
        try:
            with torch.no_grad():
                answer = found(torch, name)(*args, **kwargs)
        except Exception:
            continue  # an entry that calls the function in a way of its own
        several = isinstance(answer, (tuple, list))
        answers = list(answer) if several else [answer]
        if any(t.is_complex() for t in answers):
            continue
        own = [str(t.dtype).split(".")[1] for t in answers]
        shapes = [tuple(t.shape) for t in answers]
        for k, other in itertools.product(range(len(own)), (None, *TYPES)):
            types = own[:k] + [other or own[k]] + own[k + 1 :]
            if len({*types, *TYPES}) > len(TYPES) and other:
                continue
            types = types if several else tuple(types)
            theirs = outcome(torch, found(torch, name), args, kwargs, shapes, types)
            a, k_ = sample.made(tg)
            ours = outcome(tg, found(tg, name), a, k_, shapes, types)
            if (ours is None or theirs is None) and name in LOOSE:
                continue
            assert (ours is None) is (theirs is None), (types, ours, theirs, sample.text)
            for x, y in zip(ours or (), theirs or (), strict=True):
                if not name.startswith("linalg.") and name not in ("svd", "qr", "geqrf"):
                    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6, err_msg=str(types))


def ordered(T, f, *outs):
    answer = f(outs if len(outs) > 1 else outs[0])
    same = (
        [a is b for a, b in zip(answer, outs, strict=True)]
        if isinstance(answer, tuple)
        else answer is outs[0]
    )
    return [same, type(answer).__name__.removesuffix("_out"), *outs]


def x(T):
    return T.arange(6.0).reshape(2, 3)


def shared(T, f):
    b = T.arange(6.0)
    f(b)
    return b


def in_place(T):
    with T.no_grad():
        o = T.zeros(2, 3).requires_grad_()
        T.add(x(T), 1, out=o)
        return o


ASKED = {
    "itself": lambda T: ordered(T, lambda o: T.add(x(T), x(T), out=o), T.zeros(2, 3)),
    "empty": lambda T: ordered(T, lambda o: T.add(x(T), x(T), out=o), T.empty(0)),
    "resized": lambda T: ordered(T, lambda o: T.add(x(T), x(T), out=o), T.zeros(3, 2)),
    "grown": lambda T: ordered(T, lambda o: T.add(x(T), x(T), out=o), T.zeros(1)),
    "to nothing": lambda T: ordered(T, lambda o: T.add(T.ones(0, 3), 1, out=o), T.zeros(3)),
    "strides stay": lambda T: ordered(T, lambda o: T.mul(x(T), 2, out=o), T.zeros(3, 2).t()),
    "0-d": lambda T: ordered(T, lambda o: T.add(T.tensor(1.0), 1, out=o), T.zeros(())),
    "wider": lambda T: ordered(T, lambda o: T.mul(x(T), 3, out=o), T.zeros(2, 3, dtype=T.float64)),
    "whole numbers": lambda T: T.add(x(T), 1, out=T.zeros(2, 3, dtype=T.int64)),
    "a comparison": lambda T: ordered(T, lambda o: T.eq(x(T), 1, out=o), T.zeros(2, 3)),
    "text": lambda T: T.add(x(T), x(T), out="a"),
    "a tuple": lambda T: T.add(x(T), x(T), out=(T.zeros(2, 3),)),
    "None": lambda T: T.add(x(T), x(T), out=None),
    "two": lambda T: ordered(
        T, lambda o: T.sort(x(T), out=o), T.empty(0), T.empty(0, dtype=T.int64)
    ),
    "two of max": lambda T: ordered(
        T, lambda o: T.max(x(T), 1, True, out=o), T.empty(0), T.empty(0, dtype=T.int64)
    ),
    "one of max": lambda T: ordered(T, lambda o: T.max(x(T), x(T) * 2, out=o), T.empty(0)),
    "one for two": lambda T: T.sort(x(T), out=T.empty(0)),
    "one in two": lambda T: T.sort(x(T), out=(T.empty(0),)),
    "two of a dtype": lambda T: T.sort(x(T), out=(T.empty(0), T.empty(0, dtype=T.int32))),
    "an input's history": lambda T: T.add(x(T).requires_grad_(), 1, out=T.zeros(2, 3)),
    "the output's": lambda T: T.add(x(T), 1, out=T.zeros(2, 3).requires_grad_()),
    "without grad": in_place,
    "of a parameter": lambda T: T.add(x(T), 1, out=T.nn.Parameter(T.ones(2, 3))),
    "made": lambda T: ordered(T, lambda o: T.ones(2, out=o), T.zeros(2, dtype=T.int64)),
    "made, another dtype": lambda T: T.ones(2, out=T.zeros(2), dtype=T.float64),
    "counted": lambda T: ordered(T, lambda o: T.arange(5, out=o), T.empty(0)),
    "summed": lambda T: ordered(
        T, lambda o: T.sum(x(T) + 0.75, 0, out=o), T.zeros(3, dtype=T.int64)
    ),
    "part of an input": lambda T: shared(T, lambda b: T.add(b[:-1], 1, out=b[1:])),
    "beside an input": lambda T: shared(T, lambda b: T.add(b[:3], 1, out=b[3:])),
    "the input": lambda T: shared(T, lambda b: T.add(b, 1, out=b)),
    "one place": lambda T: T.add(T.ones(3), 1, out=T.ones(1).expand(3)),
    "pieces": lambda T: (o := [T.empty(1, 3), T.empty(1, 3)], T.split_copy(x(T), 1, out=o)),
    "no such method": lambda T: x(T).add(1, out=T.ones(2, 3)),
    "no such function": lambda T: T.einsum("ij->i", x(T), out=T.empty(2)),
}


def described(v):
    if isinstance(v, (torch.Tensor, tg.Tensor)):
        return (str(v.dtype).split(".")[1], v.requires_grad, tuple(v.stride()), v.tolist())
    return [described(a) for a in v] if isinstance(v, (tuple, list)) else repr(v)


def told(program, T):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            answer = described(program(T))
        except Exception as error:
            ours = isinstance(error, RuntimeError)
            answer = "RuntimeError" if ours else type(error).__name__
    return answer, [w.category for w in heard]


@pytest.mark.parametrize("name", ASKED)
def test_an_output_is_treated_as_in_torch(name):
    assert told(ASKED[name], tg) == told(ASKED[name], torch)


def test_a_call_that_is_refused_writes_nothing():
    values, places = tg.zeros(2, 3), tg.zeros(2, 3, dtype=tg.int32)
    with pytest.raises(RuntimeError, match="int32"):
        tg.sort(x(tg), out=(values, places))
    assert (values == 0).all()
    whole = tg.zeros(8)
    with pytest.raises(RuntimeError, match="view"):
        tg.add(x(tg), 1, out=whole[:2])
    assert (whole == 0).all()


def test_compiled_functions_write_into_their_outputs():
    buffer, state = tg.zeros(2, 3), tg.zeros(3)

    @tg.compile
    def f(x, values, places):
        tg.sort(x, 1, descending=True, out=(values, places))
        tg.mul(values, 2, out=buffer)
        local = tg.empty(0)
        tg.sum(buffer, 0, out=local)
        tg.add(state, local, out=state)
        return local

    for k in range(3):
        data = x(tg) * (k + 1)
        values, places = tg.zeros(2, 3), tg.zeros(2, 3, dtype=tg.int64)
        before = state.clone()
        local = f(data, values, places)
        expected = data.sort(1, descending=True)
        assert (values == expected.values).all() and (places == expected.indices).all()
        assert (buffer == expected.values * 2).all() and (local == buffer.sum(0)).all()
        assert (state == before + local).all()


def test_a_compiled_function_resizes_nothing_from_outside():
    given = tg.zeros(4)
    with pytest.raises(RuntimeError, match=r"out has shape \[4\] and the result \[2, 3\]"):
        tg.compile(lambda x: tg.mul(x, 2, out=given))(x(tg))
    assert given.shape == (4,) and (given == 0).all()


def test_functions_that_take_out_can_be_pickled_and_are_documented():
    for f in (tg.relu, tg.sort, tg.linalg.svd, tg.special.erf, tg.nn.functional.avg_pool2d):
        assert pickle.loads(pickle.dumps(f)) is f
        assert f.__doc__


def test_of_two_outputs_one_that_cannot_be_written_leaves_the_other():
    sealed = np.zeros((2, 3), np.int64)
    sealed.flags.writeable = False
    values = tg.zeros(2, 3)
    with pytest.raises(RuntimeError, match="read-only"):
        tg.sort(x(tg), out=(values, tg.from_numpy(sealed)))
    assert (values == 0).all()


def test_the_warning_names_the_users_line():
    with pytest.warns(UserWarning, match="was resized") as heard:
        tg.add(x(tg), 1, out=tg.zeros(1))
    assert heard[0].filename == __file__


def test_out_under_vmap_belongs_to_each_example():
    rows = tg.vmap(lambda a: tg.add(a, 1, out=tg.empty(3)))(x(tg))
    assert (rows == x(tg) + 1).all()
    shared = tg.zeros(3)
    with pytest.raises(RuntimeError, match="not mapped"):
        tg.vmap(lambda a: tg.add(a, 1, out=shared))(x(tg))
    assert (shared == 0).all()


def test_extremes_along_an_axis_do_not_cast():
    torch = pytest.importorskip("torch")
    for dtypes in (("float32", "float32"), ("float64", "int64"), ("float32", "int32")):
        said = []
        for lib in (torch, tg):
            out = tuple(lib.zeros(2, dtype=getattr(lib, name)) for name in dtypes)
            for f in (lib.max, lib.min):
                with pytest.raises(RuntimeError, match="Expected out tensor to have dtype"):
                    f(lib.ones(2, 3), 1, out=out)
            said.append([t.tolist() for t in out])
        assert said[0] == said[1] == [[0, 0], [0, 0]]
    x = tg.zeros(2, dtype=tg.float64)
    assert tg.max(tg.ones(2), tg.ones(2) * 2, out=x) is x and x.tolist() == [2, 2]


@pytest.mark.parametrize("make", [lambda: tg.arange(6.0), lambda: tg.zeros(6)])
def test_an_output_that_shares_a_part_with_an_operand_is_refused_however_it_was_made(make):
    def whole():
        x = make()
        return tg.cat([x[:2], x[2:]], out=x)

    def views_of_views():
        x = make()
        with tg.no_grad():
            y = x[:5]
            return tg.add(y[:4], 1, out=y[1:])

    for f in (whole, views_of_views):
        for call in (f, tg.compile(f)):
            with pytest.raises(RuntimeError, match="single memory location"):
                call()
