"""L-BFGS: Newton's method with the curvature seen in the last steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.torch.slicing_joining import cat
from ..tracer.mode import enable_grad, mode, no_grad
from ..tracer.tensor.tensor import Tensor
from .hooks import hooked
from .line_search import Trial, strong_wolfe
from .optimizer import Optimizer, refuse_negative


class LBFGS(Optimizer):
    """Limited-memory BFGS: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.5.

    `step` takes a closure, which is called up to max_eval times (by default 1.25 * max_iter): it
    computes the loss and the gradients, and may be compiled. history_size: how many steps the
    curvature is taken from; line_search_fn: None for steps of length lr, or "strong_wolfe". All
    parameters are in one group.

    Raises ValueError for options out of range, several groups, no parameters; RuntimeError for
    another line search and in a compiled function.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - 3) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    5.0
    >>> w
    tensor([3., 3.], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9,
                 history_size: int = 100, line_search_fn: str | None = None):
        refuse_negative("learning rate", lr)
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        })
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Minimize for up to max_iter iterations; returns the loss before them."""
        if mode.trace is not None:
            raise RuntimeError(
                "LBFGS.step decides by the loss and cannot be compiled: compile the closure, or "
                "the function that computes the loss in it"
            )
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        with no_grad():
            return self._minimize(enable_grad()(closure))

    def _minimize(self, closure: Callable[[], Any]) -> Any:
        group, state = self.param_groups[0], self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = closure()
        state["func_evals"] += 1
        loss, gradient, evaluated = float(first), self._gradient(), 1
        if gradient.abs().max() <= group["tolerance_grad"]:
            return first
        search, change = group["line_search_fn"], group["tolerance_change"]
        for n in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = state["d"] = self._direction(state, gradient, group["history_size"])
            state["prev_flat_grad"], state["prev_loss"] = gradient.clone(), loss
            t = group["lr"]
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / gradient.abs().sum()) * t
            state["t"], slope = t, gradient.dot(d)
            if slope > -change:
                break
            calls = 0
            if search is not None:
                most = group["max_eval"] - evaluated
                trial, calls = self._searched(
                    closure, d, t, Trial(0, loss, gradient, slope), most
                )
                loss, gradient, t = trial.loss, trial.gradient, trial.t
                state["t"] = t
                self._move(t, d)
            else:
                self._move(t, d)
                if n < group["max_iter"]:  # the next step begins with the gradient there
                    loss, gradient, calls = float(closure()), self._gradient(), 1
            evaluated += calls
            state["func_evals"] += calls
            if (
                evaluated >= group["max_eval"]
                or gradient.abs().max() <= group["tolerance_grad"]
                or (d * t).abs().max() <= change
                or abs(loss - state["prev_loss"]) < change
            ):
                break
        return first

    def _direction(self, state: dict[str, Any], gradient: Tensor, history: int) -> Tensor:
        """The gradient times the inverse of the curvature, by the two loops over the last steps."""
        if state["n_iter"] == 1:
            state["old_dirs"], state["old_stps"], state["ro"], state["H_diag"] = [], [], [], 1
            return -gradient
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        change = gradient - state["prev_flat_grad"]
        step = state["d"] * state["t"]
        curvature = change.dot(step)
        if curvature > 1e-10:
            for column, new in (
                (changes, change), (steps, step), (inverses, 1.0 / curvature)
            ):
                del column[: len(column) - history + 1]
                column.append(new)
            state["H_diag"] = curvature / change.dot(change)
        parts = state.setdefault("al", [None] * history)
        d = -gradient
        for i in reversed(range(len(steps))):
            parts[i] = steps[i].dot(d) * inverses[i]
            d = d - changes[i] * parts[i]
        d = d * state["H_diag"]
        for i in range(len(steps)):
            d = d + steps[i] * (parts[i] - changes[i].dot(d) * inverses[i])
        return d

    def _searched(
        self, closure: Callable[[], Any], d: Tensor, t: Any, start: Trial, most: int
    ) -> tuple[Trial, int]:
        group = self.param_groups[0]
        if group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        before = [p.clone() for p in self._params]

        def evaluate(t: Any) -> Trial:
            self._move(t, d)
            try:
                loss, gradient = float(closure()), self._gradient()
            finally:  # as it was, also if the closure fails
                for p, old in zip(self._params, before, strict=True):
                    p.copy_(old)
            return Trial(t, loss, gradient, gradient.dot(d))

        return strong_wolfe(evaluate, t, d.abs().max(), start, most, group["tolerance_change"])

    def _gradient(self) -> Tensor:
        """All gradients in one row, zeros where there are none."""
        rows = [
            p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in self._params
        ]
        return cat(rows).clone()

    def _move(self, t: Any, d: Tensor) -> None:
        for p, part in zip(self._params, d.split([p.numel() for p in self._params]), strict=True):
            p.add_(part.reshape(p.shape) * t)
