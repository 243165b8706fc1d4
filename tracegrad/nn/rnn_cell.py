"""Recurrent cells, which take one step of a sequence: RNNCell, LSTMCell, GRUCell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.nn.recurrent import gru_cell, lstm_cell, rnn_relu_cell, rnn_tanh_cell
from ..functions.torch.creation import empty, zeros
from ..functions.torch.shape import squeeze, unsqueeze
from ..tracer.tensor.tensor import Tensor
from .module import Module
from .parameter import Parameter
from .rnn import uniform_within_hidden


class RNNCellBase(Module):
    """What the cells share: sizes, parameters, checks.

    Shape: weight_ih (num_chunks * hidden_size, input_size), weight_hh (num_chunks * hidden_size,
    hidden_size), biases (num_chunks * hidden_size,). Raises what making a tensor raises.

    >>> nn.RNNCellBase(2, 3, True, num_chunks=4).weight_ih.shape
    tracegrad.Size([12, 2])
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows, kind = num_chunks * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(empty(rows, input_size, **kind))
        self.weight_hh = Parameter(empty(rows, hidden_size, **kind))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, **kind)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        uniform_within_hidden(self, self.hidden_size)

    def _check_ranks(self, kind: str, input: Tensor, states: dict[str, Tensor]) -> None:
        for name, x in {"input": input, **states}.items():
            if x.dim() not in (1, 2):
                raise ValueError(f"{kind}: Expected {name} to be 1D or 2D, got {x.dim()}D instead")

    def _zeros(self, input: Tensor) -> Tensor:
        shape = (*input.shape[:-1], self.hidden_size)
        return zeros(shape, dtype=input.dtype, device=input.device)

    def _step(self, function: Callable, input: Tensor, hx: Any) -> Any:
        """The function on rows of input and state; one example is a row."""
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        if input.dim() == 2:
            return function(input, hx, *weights)
        if isinstance(hx, Tensor):
            return squeeze(function(unsqueeze(input, 0), unsqueeze(hx, 0), *weights), 0)
        rows = tuple(unsqueeze(s, 0) for s in hx)
        return tuple(squeeze(s, 0) for s in function(unsqueeze(input, 0), rows, *weights))

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias is True else f"{text}, bias={self.bias}"


class RNNCell(RNNCellBase):
    """One step of an RNN: tanh(weight_ih @ x + bias_ih + weight_hh @ h + bias_hh), or with relu.

    Shape: (N, input_size), (N, hidden_size) -> (N, hidden_size), or without N; no h means zeros.
    Raises ValueError or RuntimeError for shapes that do not fit, or another nonlinearity.

    >>> nn.RNNCell(2, 3)(torch.randn(4, 2)).shape
    tracegrad.Size([4, 3])
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        self._check_ranks("RNNCell", input, {} if hx is None else {"hidden": hx})
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        function = rnn_tanh_cell if self.nonlinearity == "tanh" else rnn_relu_cell
        return self._step(function, input, self._zeros(input) if hx is None else hx)

    def extra_repr(self) -> str:
        text = super().extra_repr()
        usual = self.nonlinearity == "tanh"
        return text if usual else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(RNNCellBase):
    """One step of an LSTM: `nn.LSTM` has the formula.

    Shape: (N, input_size), h and c (N, hidden_size) -> the next (h, c), or without N; no state
    means zeros. Raises ValueError, TypeError or RuntimeError for what does not fit.

    >>> h, c = nn.LSTMCell(2, 3)(torch.randn(4, 2))
    >>> h.shape, c.shape
    (tracegrad.Size([4, 3]), tracegrad.Size([4, 3]))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        named = {} if hx is None else {f"hx[{k}]": s for k, s in enumerate(hx)}
        self._check_ranks("LSTMCell", input, named)
        return self._step(lstm_cell, input, (self._zeros(input),) * 2 if hx is None else hx)


class GRUCell(RNNCellBase):
    """One step of a GRU: `nn.GRU` has the formula.

    Shape: (N, input_size), (N, hidden_size) -> (N, hidden_size), or without N; no h means zeros.
    Raises ValueError or RuntimeError for shapes that do not fit.

    >>> nn.GRUCell(2, 3)(torch.randn(2), torch.zeros(3)).shape
    tracegrad.Size([3])
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        self._check_ranks("GRUCell", input, {} if hx is None else {"hidden": hx})
        return self._step(gru_cell, input, self._zeros(input) if hx is None else hx)
