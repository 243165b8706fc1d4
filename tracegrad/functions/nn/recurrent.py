"""Recurrent layers: several layers, each in one direction or both, over sequences of one length or
of several, and single cells.

A packed batch becomes one of equal lengths, (T, N, *), with a mask that says where a sequence goes
on; where it does not, a state stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.dtype import int64
from ...ir.ops.elementwise import relu, sigmoid, tanh, where
from ...tracer.tensor.tensor import Tensor
from ..arguments import require
from ..torch.creation import arange, zeros
from ..torch.gather import index_select
from ..torch.other_cumulative import cumsum
from ..torch.scatter import scatter
from ..torch.shape import flatten, reshape, transpose, unsqueeze
from ..torch.slicing_joining import cat, chunk, stack
from .dropout import dropout as dropped
from .linear import linear
from .recurrence import GRU, LSTM, RNNRelu, RNNTanh

__all__ = [
    "gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh",
    "rnn_tanh_cell",
]

# of one layer and direction: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr
Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


# ---- layers
def _one(mode: str, x: Tensor, state: list[Tensor], weights: Weights, real: Tensor | None,
         reverse: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction: all its outputs (T, N, R), and the last state."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    if mode == "GRU":
        last, every, *_ = GRU.apply(linear(x, w_ih, b_ih), *state, w_hh, b_hh, real, reverse)
        return every, (last,)
    gates = linear(x, w_ih, b_ih if b_ih is None or b_hh is None else b_ih + b_hh)
    if mode == "LSTM":
        h, c, every, *_ = LSTM.apply(gates, *state, w_hh, w_hr, real, reverse)
        return every, (h, c)
    kind = RNNTanh if mode == "RNN_TANH" else RNNRelu
    last, every = kind.apply(gates, *state, w_hh, real, reverse)
    return every, (last,)


def layers(mode: str, x: Tensor, states: tuple[Tensor, ...], weights: Sequence[Weights],
           num_layers: int, dropout: float, train: bool,
           real: Tensor | None = None) -> tuple[Tensor, ...]:
    """All layers: x (T, N, I), states (layers * directions, N, *) -> y (T, N, *), the last states.

    The weights of a layer's two directions follow one another.
    """
    if x.shape[0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    directions = len(weights) // num_layers
    last = []
    for layer in range(num_layers):
        outputs = []
        for reverse in range(directions):
            k = layer * directions + reverse
            y, state = _one(mode, x, [s[k] for s in states], weights[k], real, bool(reverse))
            outputs.append(y)
            last.append(state)
        # a copy, since backward reads the states: users may change what they get in place
        x = cat(outputs, -1) if directions == 2 else outputs[0].clone()
        if layer < num_layers - 1:
            x = dropped(x, dropout, train)
    return (x, *map(stack, zip(*last, strict=True)))


def packed_layers(mode: str, data: Tensor, batch_sizes: Tensor, states: tuple[Tensor, ...],
                  weights: Sequence[Weights], num_layers: int, dropout: float,
                  train: bool) -> tuple[Tensor, ...]:
    """The same for the data (sum of batch_sizes, I) of a PackedSequence."""
    total, most, times = data.shape[0], states[0].shape[1], batch_sizes.shape[0]
    if times == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    real, place = rows_of(batch_sizes, most, total)
    x = reshape(index_select(data, 0, flatten(place)), times, most, data.shape[1])
    y, *last = layers(mode, x, states, weights, num_layers, dropout, train, unsqueeze(real, 2))
    return (packed(y, real, place, total), *last)


def rows_of(batch_sizes: Tensor, most: int, total: int) -> tuple[Tensor, Tensor]:
    """(T, N) each: whether a sequence goes on at a time, and where it stands in the data; once it
    has ended, where its first row does, so that no sequence sees another one's NaNs.
    """
    require(batch_sizes[:1] == most, "batch sizes")
    require(batch_sizes[1:] <= batch_sizes[:-1], "batch sizes")
    require(batch_sizes.sum() == total, "batch sizes")
    column = unsqueeze(batch_sizes, 1)
    k = arange(most)
    real = k < column
    return real, where(real, unsqueeze(cumsum(batch_sizes, 0), 1) - column + k, k)


def packed(y: Tensor, real: Tensor, place: Tensor, total: int) -> Tensor:
    """The rows of y (T, N, *) that are real, in the order of the data."""
    rows = y.shape[0] * y.shape[1]
    beyond = flatten(where(real, place, total))
    source = scatter(zeros(total + 1, dtype=int64), 0, beyond, arange(rows))[:total]
    return index_select(reshape(y, rows, *y.shape[2:]), 0, source)


# ---- torch's functions
_EQUAL = "input hx params has_biases num_layers dropout train bidirectional batch_first".split()
_PACKED = "data batch_sizes hx params has_biases num_layers dropout train bidirectional".split()


def _options(name: str, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments by name: torch has one form for sequences of one length, one for packed."""
    third = 1 if name == "lstm" else 2  # a packed batch has a tensor where the other has a list
    packed = "batch_sizes" in kwargs or (len(args) > third and isinstance(args[third], Tensor))
    names = _PACKED if packed else _EQUAL
    options = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(args) + len(kwargs) != len(names) or sorted(options) != sorted(names):
        raise TypeError(
            f"{name}() received an invalid combination of arguments, but expected one of:\n"
            f" * ({', '.join(_EQUAL)})\n * ({', '.join(_PACKED)})"
        )
    return options


def _weights(params: Sequence[Tensor], count: int, biases: bool, projects: bool) -> list[Weights]:
    """The flat list of parameters, cut into those of each layer and direction."""
    each = 2 + 2 * biases + projects
    if len(params) != each * count:
        raise RuntimeError(
            f"got an incorrect number of RNN parameters: {len(params)}, where {count} layers and "
            f"directions have {each} each"
        )
    weights: list[Weights] = []
    for k in range(0, len(params), each):
        w_ih, w_hh, *more = params[k : k + each]
        w_hr = more.pop() if projects else None
        b_ih, b_hh = more or (None, None)
        weights.append((w_ih, w_hh, b_ih, b_hh, w_hr))
    return weights


def _check_states(
    states: tuple[Tensor, ...], x: Tensor, batch: int, weights: list[Weights]
) -> None:
    _, w_hh, _, _, w_hr = weights[0]
    widths = (w_hh.shape[1], *(() if w_hr is None else (w_hr.shape[1],)))
    for k, state in enumerate(states):
        size = (len(weights), batch, widths[min(k, len(widths) - 1)])
        if tuple(state.shape) != size:
            which = f"hidden[{k}]" if len(states) > 1 else "hidden"
            raise RuntimeError(f"Expected {which} size {size}, got {list(state.shape)}")
        if state.dtype is not x.dtype:
            raise RuntimeError(
                f"mat1 and mat2 must have the same dtype, but input has {x.dtype} and the hidden "
                f"state {state.dtype}"
            )


def _run(mode: str, name: str, args: tuple, kwargs: dict) -> tuple[Tensor, ...]:
    options = _options(name, args, kwargs)
    states = tuple(options["hx"]) if mode == "LSTM" else (options["hx"],)
    if mode == "LSTM" and len(states) != 2:
        raise RuntimeError("lstm expects two hidden states")
    projects = mode == "LSTM" and states[0].shape[-1] != states[1].shape[-1]
    num_layers = options["num_layers"]
    count = num_layers * (2 if options["bidirectional"] else 1)
    weights = _weights(options["params"], count, options["has_biases"], projects)
    rest = num_layers, options["dropout"], options["train"]
    if "data" in options:
        data = options["data"]
        _check_states(states, data, states[0].shape[1], weights)
        return packed_layers(mode, data, options["batch_sizes"], states, weights, *rest)
    x = options["input"]
    if x.ndim != 3:
        raise RuntimeError(f"{name}(): expected an input of 3 dimensions, got {x.ndim}")
    x = transpose(x, 0, 1) if options["batch_first"] else x
    _check_states(states, x, x.shape[1], weights)
    y, *last = layers(mode, x, states, weights, *rest)
    return (transpose(y, 0, 1) if options["batch_first"] else y, *last)


def lstm(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """What `nn.LSTM` computes: lstm(input, hx, params, has_biases, num_layers, dropout, train,
    bidirectional, batch_first), or lstm(data, batch_sizes, hx, params, has_biases, num_layers,
    dropout, train, bidirectional) for a packed batch. `hx` is (h, c).

    Shape: input (T, N, I), h and c (layers * directions, N, H) -> (T, N, directions * H), h, c.
    Dtype: floating point, the same of all. Raises RuntimeError or TypeError for what does not fit.

    >>> layer, x = nn.LSTM(2, 3), torch.randn(4, 1, 2)
    >>> state = torch.zeros(1, 1, 3), torch.zeros(1, 1, 3)
    >>> y, h, c = torch.lstm(x, state, list(layer.parameters()), True, 1, 0.0, False, False, False)
    >>> torch.equal(y, layer(x)[0])
    True
    """
    return _run("LSTM", "lstm", args, kwargs)


def gru(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """What `nn.GRU` computes, with the arguments of `lstm`; `hx` is one tensor.

    Shape: input (T, N, I), hx (layers * directions, N, H) -> (T, N, directions * H), the last
    state. Dtype: floating point, the same of all.
    Raises RuntimeError or TypeError for what does not fit.

    >>> layer, x = nn.GRU(2, 3), torch.randn(4, 1, 2)
    >>> weights = list(layer.parameters())
    >>> y, h = torch.gru(x, torch.zeros(1, 1, 3), weights, True, 1, 0.0, False, False, False)
    >>> torch.equal(y, layer(x)[0])
    True
    """
    return _run("GRU", "gru", args, kwargs)


def rnn_tanh(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """What `nn.RNN` computes, with the arguments of `gru`.

    Shape, dtype and Raises: as there.

    >>> layer, x = nn.RNN(2, 3), torch.randn(4, 1, 2)
    >>> weights = list(layer.parameters())
    >>> y, h = torch.rnn_tanh(x, torch.zeros(1, 1, 3), weights, True, 1, 0.0, False, False, False)
    >>> torch.equal(y, layer(x)[0])
    True
    """
    return _run("RNN_TANH", "rnn_tanh", args, kwargs)


def rnn_relu(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """What `nn.RNN(nonlinearity="relu")` computes, with the arguments of `gru`.

    Shape, dtype and Raises: as there.

    >>> layer, x = nn.RNN(2, 3, nonlinearity="relu"), torch.randn(4, 1, 2)
    >>> weights = list(layer.parameters())
    >>> y, h = torch.rnn_relu(x, torch.zeros(1, 1, 3), weights, True, 1, 0.0, False, False, False)
    >>> torch.equal(y, layer(x)[0])
    True
    """
    return _run("RNN_RELU", "rnn_relu", args, kwargs)


# ---- cells
def _check_cell(input: Tensor, states: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor) -> None:
    if input.shape[1] != w_ih.shape[1]:
        raise RuntimeError(
            f"input has inconsistent input_size: got {input.shape[1]} expected {w_ih.shape[1]}"
        )
    for k, state in enumerate(states):
        if input.shape[0] != state.shape[0]:
            raise RuntimeError(
                f"Input batch size {input.shape[0]} doesn't match hidden{k} batch size "
                f"{state.shape[0]}"
            )
        if state.shape[1] != w_hh.shape[1]:
            raise RuntimeError(
                f"hidden{k} has inconsistent hidden_size: got {state.shape[1]}, expected "
                f"{w_hh.shape[1]}"
            )


def lstm_cell(input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor,
              b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One time of `lstm`: (N, I), h and c (N, H), w_ih (4H, I), w_hh (4H, H), biases (4H,) -> h, c.

    Shape: as above. Dtype: floating point, the same of all. Raises RuntimeError if they do not fit.

    >>> cell, x, state = nn.LSTMCell(2, 3), torch.randn(1, 2), (torch.zeros(1, 3),) * 2
    >>> h, c = torch.lstm_cell(x, state, *cell.parameters())
    >>> torch.equal(h, cell(x)[0])
    True
    """
    if isinstance(hx, Tensor):
        raise TypeError(
            "lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor"
        )
    if len(hx) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    _check_cell(input, hx, w_ih, w_hh)
    h, c = hx
    i, f, g, o = chunk(linear(input, w_ih, b_ih) + linear(h, w_hh, b_hh), 4, 1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def gru_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
             b_hh: Tensor | None = None) -> Tensor:
    """One time of `gru`: (N, I), (N, H), w_ih (3H, I), w_hh (3H, H), biases (3H,) -> (N, H).

    Shape: as above. Dtype: floating point, the same of all. Raises RuntimeError if they do not fit.

    >>> cell, x, h = nn.GRUCell(2, 3), torch.randn(1, 2), torch.zeros(1, 3)
    >>> torch.equal(torch.gru_cell(x, h, *cell.parameters()), cell(x))
    True
    """
    _check_cell(input, (hx,), w_ih, w_hh)
    r, z, n = chunk(linear(input, w_ih, b_ih), 3, 1)
    hr, hz, hn = chunk(linear(hx, w_hh, b_hh), 3, 1)
    n = tanh(n + sigmoid(r + hr) * hn)
    return (hx - n) * sigmoid(z + hz) + n


def rnn_tanh_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor,
                  b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """One time of `rnn_tanh`: (N, I), (N, H), w_ih (H, I), w_hh (H, H), biases (H,) -> (N, H).

    Shape: as above. Dtype: floating point, the same of all. Raises RuntimeError if they do not fit.

    >>> cell, x, h = nn.RNNCell(2, 3), torch.randn(1, 2), torch.zeros(1, 3)
    >>> torch.equal(torch.rnn_tanh_cell(x, h, *cell.parameters()), cell(x))
    True
    """
    _check_cell(input, (hx,), w_ih, w_hh)
    return tanh(linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))


def rnn_relu_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor,
                  b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """The same of `rnn_relu`.

    Shape, dtype and Raises: as of `rnn_tanh_cell`.

    >>> cell, x, h = nn.RNNCell(2, 3, nonlinearity="relu"), torch.randn(1, 2), torch.zeros(1, 3)
    >>> torch.equal(torch.rnn_relu_cell(x, h, *cell.parameters()), cell(x))
    True
    """
    _check_cell(input, (hx,), w_ih, w_hh)
    return relu(linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))
