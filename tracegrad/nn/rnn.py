"""Recurrent layers over whole sequences: RNN, LSTM, GRU, of several layers and both directions."""

from __future__ import annotations

import math
import warnings
from numbers import Number
from typing import Any

from ..functions.nn.recurrent import Weights, layers, packed_layers
from ..functions.torch.creation import empty, zeros
from ..functions.torch.gather import index_select
from ..functions.torch.shape import squeeze, transpose, unsqueeze
from ..tracer.mode import mode
from ..tracer.tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def uniform_within_hidden(module: Module, hidden_size: int) -> None:
    """Draw all parameters uniform within 1 / sqrt(hidden_size)."""
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0
    for p in module.parameters():
        init.uniform_(p, -bound, bound)


def _check_options(options: dict[str, Any]) -> None:
    p = options["dropout"]
    if not isinstance(p, Number) or not 0 <= p <= 1 or isinstance(p, bool):  # type: ignore[operator]
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element "
            "being zeroed"
        )
    for name in ("bias", "batch_first"):
        if not isinstance(options[name], bool):
            raise TypeError(
                f"{name} should be of type bool, got: {type(options[name]).__name__}"
            )
    for name in ("input_size", "hidden_size"):
        if not isinstance(options[name], int):
            raise TypeError(f"{name} should be of type int, got: {type(options[name]).__name__}")
        if options[name] <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if options["num_layers"] <= 0:
        raise ValueError("num_layers must be greater than zero")
    if options["proj_size"] < 0:
        raise ValueError(
            "proj_size should be a positive integer or zero to disable projections"
        )
    if options["proj_size"] >= options["hidden_size"]:
        raise ValueError("proj_size has to be smaller than hidden_size")


class RNNBase(Module):
    """What RNN, LSTM and GRU share: options, parameters, checks, and the way of a batch.

    Shape: those of RNN, LSTM and GRU. Raises ValueError or TypeError for options that do not fit.

    >>> [name for name, _ in nn.RNNBase("GRU", 2, 3, bias=False).named_parameters()]
    ['weight_ih_l0', 'weight_hh_l0']
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1,
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
                 bidirectional: bool = False, proj_size: int = 0, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = dropout, bidirectional, proj_size
        _check_options(self.__dict__)
        self.dropout = float(dropout)
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
                f"num_layers={num_layers}",
                stacklevel=3 if type(self) in (RNN, LSTM, GRU) else 2,
            )
        if mode not in _GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        for k in range(num_layers * self._directions):
            for name, shape in zip(self._names(k), self._shapes(k), strict=True):
                setattr(self, name, Parameter(empty(*shape, device=device, dtype=dtype)))
        self.reset_parameters()

    # ---- parameters
    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _state_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _names(self, k: int) -> list[str]:
        """The names of the parameters of one layer and direction."""
        kinds = ["weight_ih", "weight_hh"]
        kinds += ["bias_ih", "bias_hh"] if self.bias else []
        kinds += ["weight_hr"] if self.proj_size else []
        layer, reverse = divmod(k, self._directions)
        return [f"{kind}_l{layer}{'_reverse' if reverse else ''}" for kind in kinds]

    def _shapes(self, k: int) -> list[tuple[int, ...]]:
        gates = _GATES[self.mode] * self.hidden_size
        first = k < self._directions
        width = self.input_size if first else self._state_size * self._directions
        shapes: list[tuple[int, ...]] = [(gates, width), (gates, self._state_size)]
        shapes += [(gates,), (gates,)] if self.bias else []
        return shapes + ([(self.proj_size, self.hidden_size)] if self.proj_size else [])

    def _weights(self) -> list[Weights]:
        weights: list[Weights] = []
        for ps in self.all_weights:
            b_ih, b_hh = ps[2:4] if self.bias else (None, None)
            weights.append((ps[0], ps[1], b_ih, b_hh, ps[-1] if self.proj_size else None))
        return weights

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        every = range(self.num_layers * self._directions)
        return [[getattr(self, name) for name in self._names(k)] for k in every]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [p for ps in self.all_weights for p in ps]

    def flatten_parameters(self) -> None:
        """Nothing: for torch's programs, which may call it. It serves GPUs."""

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        uniform_within_hidden(self, self.hidden_size)

    # ---- checks
    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise unless the input has the layer's dtype and width."""
        dtype = self.weight_ih_l0.dtype
        if input.dtype is not dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). Convert "
                f"input: input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        rank = 3 if batch_sizes is None else 2
        if input.dim() != rank:
            raise RuntimeError(f"input must have {rank} dimensions, got {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.shape[-1]}"
            )

    def _batch(self, input: Tensor, batch_sizes: Tensor | None) -> int:
        if batch_sizes is not None:
            return int(batch_sizes[0])
        return input.shape[0 if self.batch_first else 1]

    def get_expected_hidden_size(self, input: Tensor,
                                 batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of h."""
        batch = self._batch(input, batch_sizes)
        return self.num_layers * self._directions, batch, self._state_size

    def check_hidden_size(self, hx: Tensor, expected_hidden_size: tuple[int, int, int],
                          msg: str = "Expected hidden size {}, got {}") -> None:
        """Raise unless a state has the expected shape, and the dtype of the layer."""
        if tuple(hx.shape) != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.shape)))
        if hx.dtype is not self.weight_ih_l0.dtype:
            raise RuntimeError(
                "mat1 and mat2 must have the same dtype, but the hidden state has "
                f"{hx.dtype} and the weights {self.weight_ih_l0.dtype}"
            )

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raise unless input and state fit the layer."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """A state with its sequences in another order."""
        return hx if permutation is None else index_select(hx, 1, permutation)

    # ---- a call. The states of an LSTM are two tensors, those of the others one.
    def _initial(self, input: Tensor, batch: int) -> Any:
        """The state of zeros."""
        rows = self.num_layers * self._directions
        kind: dict[str, Any] = {"dtype": input.dtype, "device": input.device}
        h = zeros(rows, batch, self._state_size, **kind)
        return (h, zeros(rows, batch, self.hidden_size, **kind)) if self._two else h

    @property
    def _two(self) -> bool:
        return self.mode == "LSTM"

    def _tuple(self, hx: Any) -> tuple[Tensor, ...]:
        return tuple(hx) if self._two else (hx,)

    def _run(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if mode.autocast is not None:
            raise RuntimeError(
                f"autocast has no rule for {type(self).__name__}: call it with autocast off, by "
                "`with torch.autocast('cpu', enabled=False)`"
            )
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx)
        if input.dim() not in (2, 3):
            kind = "D" if self.mode in ("LSTM", "GRU") else "D tensor"
            raise ValueError(
                f"{self.mode[:4].strip('_')}: Expected input to be 2D or 3D, got "
                f"{input.dim()}{kind} instead"
            )
        batched, first = input.dim() == 3, 0 if self.batch_first else 1
        if hx is not None:
            self._check_rank(hx, batched)
        if not batched:
            input = unsqueeze(input, first)
        if hx is None:
            hx = self._initial(input, input.shape[first])
        elif not batched:
            hx = tuple(unsqueeze(s, 1) for s in hx) if self._two else unsqueeze(hx, 1)
        self.check_forward_args(input, hx, None)
        x = transpose(input, 0, 1) if self.batch_first else input
        y, *last = layers(self.mode, x, self._tuple(hx), self._weights(), self.num_layers,
                          self.dropout, self.training)
        y = transpose(y, 0, 1) if self.batch_first else y
        if not batched:
            y, last = squeeze(y, first), [squeeze(s, 1) for s in last]
        return y, tuple(last) if self._two else last[0]

    def _run_packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        data, batch_sizes, order, back = input
        if hx is None:
            hx = self._initial(data, self._batch(data, batch_sizes))
        else:
            hx = self.permute_hidden(hx, order)
        self.check_forward_args(data, hx, batch_sizes)
        y, *last = packed_layers(self.mode, data, batch_sizes, self._tuple(hx), self._weights(),
                                 self.num_layers, self.dropout, self.training)
        state = self.permute_hidden(tuple(last) if self._two else last[0], back)
        return PackedSequence(y, batch_sizes, order, back), state

    def _check_rank(self, hx: Any, batched: bool) -> None:
        """Raise unless the state has as many dimensions as the input."""
        rank, kind = (3, "batched 3-D") if batched else (2, "unbatched 2-D")
        ranks = [s.dim() for s in ((hx[0], hx[1]) if self._two else (hx,))]
        if any(r != rank for r in ranks):
            which, got = "hx", f"{ranks[0]}-D tensor"
            if self._two:
                which, got = "hx and cx", f"({ranks[0]}-D, {ranks[1]}-D) tensors"
            raise RuntimeError(f"For {kind} input, {which} should also be {rank}-D but got {got}")

    def extra_repr(self) -> str:
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                 "dropout": 0, "bidirectional": False}
        said = {name: getattr(self, name) for name in usual}
        options = [f"{k}={v}" for k, v in said.items() if v != usual[k]]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *options])


def _refuse_projection(options: dict[str, Any], name: str) -> None:
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    for option in options:
        raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{option}'")


class RNN(RNNBase):
    """h_t = tanh(weight_ih @ x_t + bias_ih + weight_hh @ h_(t-1) + bias_hh), or with relu.

    Several layers have dropout between them; with `bidirectional` each has a second direction.

    Shape: x (T, N, input_size), hx (layers * directions, N, hidden_size) -> y (T, N, directions *
    hidden_size) and the last hx. (N, T, *) of x and y with `batch_first`; without N too; or a
    PackedSequence. Elman (1990).
    Raises ValueError, TypeError or RuntimeError for options, shapes or dtypes that do not fit.

    >>> y, h = nn.RNN(input_size=2, hidden_size=3, num_layers=2)(torch.randn(5, 4, 2))
    >>> y.shape, h.shape
    (tracegrad.Size([5, 4, 3]), tracegrad.Size([2, 4, 3]))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1,
                 nonlinearity: str = "tanh", bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: Any = None, **options: Any):
        _refuse_projection(options, "RNN")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias,
                         batch_first, dropout, bidirectional, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        return self._run(input, hx)


class LSTM(RNNBase):
    """Long short-term memory: gates decide what a cell c keeps, takes in and shows.

    i, f, g, o = weight_ih @ x_t + bias_ih + weight_hh @ h_(t-1) + bias_hh;
    c_t = sigmoid(f) * c_(t-1) + sigmoid(i) * tanh(g); h_t = sigmoid(o) * tanh(c_t),
    times weight_hr if `proj_size` says so.

    Shape: x (T, N, input_size), hx = (h, c), h (layers * directions, N, proj_size or hidden_size),
    c (layers * directions, N, hidden_size) -> y (T, N, directions * width of h), the last (h, c).
    Else as for RNN. Hochreiter and Schmidhuber (1997); Sak, Senior and Beaufays (2014).
    Raises ValueError, TypeError or RuntimeError for options, shapes or dtypes that do not fit.

    >>> y, (h, c) = nn.LSTM(2, 3, batch_first=True, bidirectional=True)(torch.randn(4, 5, 2))
    >>> y.shape, h.shape, c.shape
    (tracegrad.Size([4, 5, 6]), tracegrad.Size([2, 4, 3]), tracegrad.Size([2, 4, 3]))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int = 0, device: Any = None, dtype: Any = None):
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, proj_size, device, dtype)

    def get_expected_cell_size(self, input: Tensor,
                               batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of c."""
        batch = self._batch(input, batch_sizes)
        return self.num_layers * self._directions, batch, self.hidden_size

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        sizes = self.get_expected_hidden_size, self.get_expected_cell_size
        for k, size in enumerate(sizes):
            self.check_hidden_size(hidden[k], size(input, batch_sizes),
                                   f"Expected hidden[{k}] size {{}}, got {{}}")

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        return tuple(super(LSTM, self).permute_hidden(s, permutation) for s in hx)

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        return self._run(input, hx)


class GRU(RNNBase):
    """Gated recurrent unit: h_t = (1 - z) * n + z * h_(t-1).

    r, z, n = weight_ih @ x_t + bias_ih, and the same of h_(t-1); r and z are the sigmoid of the sum
    of both, n is tanh(n of x + r * n of h).

    Shape: as of RNN. Cho et al. (2014).
    Raises ValueError, TypeError or RuntimeError for options, shapes or dtypes that do not fit.

    >>> y, h = nn.GRU(input_size=2, hidden_size=3)(torch.randn(5, 4, 2), torch.zeros(1, 4, 3))
    >>> y.shape, h.shape
    (tracegrad.Size([5, 4, 3]), tracegrad.Size([1, 4, 3]))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None, **options: Any):
        _refuse_projection(options, "GRU")
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, device=device, dtype=dtype)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        return self._run(input, hx)
