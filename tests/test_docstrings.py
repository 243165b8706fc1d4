"""Public names are documented: shapes, errors and an example that runs.

The examples use the names that a user has: `import tracegrad as torch`, `nn`, `F`, `optim`.
"""

from __future__ import annotations

import doctest
import importlib
import re
from collections.abc import Iterator
from functools import reduce
from types import FunctionType, ModuleType
from typing import Any

import pytest

import tracegrad
from tracegrad import nn, optim
from tracegrad.refusals import Refused

MODULES = (
    "tracegrad", "tracegrad.autograd", "tracegrad.autograd.functional", "tracegrad.cuda",
    "tracegrad.debug", "tracegrad.func", "tracegrad.linalg", "tracegrad.masked", "tracegrad.nn",
    "tracegrad.nn.functional", "tracegrad.nn.init", "tracegrad.nn.utils",
    "tracegrad.nn.utils.rnn", "tracegrad.optim", "tracegrad.optim.lr_scheduler",
    "tracegrad.optim.swa_utils", "tracegrad.scipy", "tracegrad.special", "tracegrad.testing",
    "tracegrad.utils.checkpoint", "tracegrad.utils.data",
)

# the names that are used most; elementwise functions of one row of a table are all here
NAMES = {
    "": """
        abs acos add addmm all allclose amax amin any arange argmax argmin argsort asin atan atan2
        bernoulli bincount bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_to cat cdist
        ceil chunk clamp clone compile cos cosh count_nonzero cumprod cumsum detach diagonal div dot
        einsum empty eq equal erf exp expm1 eye flatten flip floor floor_divide fmod from_numpy full
        full_like gather ge gt hypot index_select isclose isfinite isinf isnan kron le lerp linspace
        log log10 log1p log2 log_softmax logical_and logical_not logical_or logical_xor logsumexp lt
        masked_fill masked_select matmul max maximum mean median meshgrid min minimum mm movedim mul
        multinomial mv nan_to_num narrow ne neg nonzero norm normal ones ones_like outer permute pow
        prod quantile rand randint randn randperm reciprocal relu remainder repeat_interleave
        reshape roll round rsqrt select set_default_dtype sigmoid sign sin sinh softmax sort split
        sqrt square squeeze stack std sub sum t take_along_dim tan tanh tensor tensordot tile topk
        trace transpose tril triu trunc unbind unflatten unique unsqueeze var vmap vstack where
        zeros zeros_like
    """,
    "nn.functional": """
        avg_pool2d batch_norm binary_cross_entropy binary_cross_entropy_with_logits conv1d conv2d
        conv_transpose2d cosine_similarity cross_entropy dropout elu embedding gelu group_norm
        huber_loss interpolate kl_div l1_loss layer_norm leaky_relu linear log_softmax max_pool2d
        mse_loss nll_loss normalize one_hot pad relu rms_norm scaled_dot_product_attention sigmoid
        silu smooth_l1_loss softmax softplus tanh unfold
    """,
    "nn.init": """
        kaiming_normal_ kaiming_uniform_ normal_ orthogonal_ uniform_ xavier_normal_ xavier_uniform_
        zeros_
    """,
    "nn.utils": """
        clip_grad_norm_ clip_grad_value_ parameters_to_vector
    """,
    "func": """
        functional_call grad hessian jacfwd jacrev jvp value_and_grad vjp vmap
    """,
    "autograd": """
        backward grad gradcheck
    """,
    "linalg": """
        cholesky det eigh inv lstsq matrix_norm norm pinv qr slogdet solve svd vector_norm
    """,
    "special": """
        erfcx expit gammaln i0 log_ndtr ndtr
    """,
    "Tensor": """
        backward contiguous copy_ dim expand fill_ index_put item numel numpy register_hook repeat
        requires_grad_ retain_grad size stride to tolist type_as view zero_
    """,
}


def public(module: ModuleType) -> dict[str, Any]:
    """What a module offers: no modules, nothing private, nothing from elsewhere."""
    found = {}
    for name in getattr(module, "__all__", dir(module)):
        value = getattr(module, name)
        home = getattr(value, "__module__", None) or ""
        if name[0] != "_" and isinstance(value, (type, FunctionType)):
            if home.startswith("tracegrad"):
                found[name] = value
    return found


def documented() -> Iterator[tuple[str, Any]]:
    """Every public object once, by the first of its names; methods of Tensor last."""
    seen: set[str] = set()
    places: list[tuple[str, dict]] = [
        (name, public(importlib.import_module(name))) for name in MODULES
    ]
    places.append(("Tensor", {n: f for n, f in vars(tracegrad.Tensor).items() if n[0] != "_"}))
    for place, names in places:
        for name, value in names.items():
            doc = getattr(value, "__doc__", None)
            if doc and doc not in seen:
                seen.add(doc)
                yield f"{place}.{name}", value


class Numbers(doctest.OutputChecker):
    """Numbers may differ in the last digits that are printed, as processors do."""

    number = re.compile(r"(?<![\w.])-?\d+\.\d*(?:e[-+]?\d+)?")

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if super().check_output(want, got, optionflags):
            return True
        wanted, found = ([float(x) for x in self.number.findall(s)] for s in (want, got))
        texts = ("".join(self.number.sub("#", s).split()) for s in (want, got))
        return len(set(texts)) == 1 and wanted == pytest.approx(found, rel=1e-3, abs=1e-4)


EXAMPLES = {name: value for name, value in documented() if ">>>" in value.__doc__}


def namespace() -> dict[str, Any]:
    return {
        "torch": tracegrad, "tracegrad": tracegrad, "nn": nn, "F": nn.functional, "optim": optim,
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs_and_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracegrad.manual_seed(0)
    finder, said = doctest.DocTestFinder(recurse=isinstance(EXAMPLES[name], type)), []
    runner = doctest.DocTestRunner(Numbers(), optionflags=doctest.ELLIPSIS)
    for test in finder.find(EXAMPLES[name], name, module=False, globs=namespace()):
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    assert runner.tries


def text_of(path: str) -> str:
    return reduce(getattr, path.split("."), tracegrad).__doc__ or ""


LISTED = [f"{space}.{n}".lstrip(".") for space, names in NAMES.items() for n in names.split()]


@pytest.mark.parametrize("path", LISTED)
def test_a_name_that_is_used_much_says_its_shapes_errors_and_an_example(path):
    text = text_of(path)
    missing = [word for word in ("shape", "raises", ">>>") if word not in text.lower()]
    assert not missing, text


CLASSES = {
    f"{name}.{n}": value
    for name in MODULES
    for n, value in public(importlib.import_module(name)).items()
    if isinstance(value, type) and type(value) is not Refused
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_says_its_errors_and_an_example(name):
    text = CLASSES[name].__doc__ or ""
    assert "Raises" in text and ">>>" in text, text


# what raises, whatever it is called with
REFUSED = "eig eigvals imag current_device usable".split()


@pytest.mark.parametrize("module", MODULES)
def test_a_public_function_has_an_example(module):
    functions = public(importlib.import_module(module)).items()
    wanted = [(n, f) for n, f in functions
              if not f.__module__.endswith("inplace_functions") and type(f) is not Refused]
    assert [n for n, f in wanted if ">>>" not in (f.__doc__ or "") and n not in REFUSED] == []


@pytest.mark.parametrize("path", "compile load manual_seed save testing.assert_close".split())
def test_a_function_without_shapes_says_its_errors_and_an_example(path):
    text = text_of(path)
    assert "raise" in text.lower() and ">>>" in text, text


def test_the_list_has_the_200_most_used_names():
    assert len(set(LISTED)) == len(LISTED) >= 200


@pytest.mark.parametrize(
    "want, got, same",
    [
        ("tensor([1.0000, -0.0000])\n", "tensor([1., 0.])\n", True),
        ("tensor([0.5000])\n", "tensor([0.5001])\n", True),
        ("tensor([0.5000])\n", "tensor([0.6000])\n", False),
        ("tensor([1., 2.])\n", "tensor([1.])\n", False),
        ("tensor([1.])\n", "tensor([1.], dtype=tracegrad.float64)\n", False),
    ],
)
def test_only_last_digits_may_differ(want, got, same):
    assert Numbers().check_output(want, got, 0) is same
