"""The beginner's tutorials for torch's autograd, as cells that run alike on tracegrad and on torch.

    python examples/tutorial.py                  # tracegrad, eager; then the same cells compiled
    python examples/tutorial.py --torch          # the same cells on torch: the same output

A cell is a function of `T`, the module, and `jit`, which is applied to what may be compiled:
eagerly it does nothing, `T.compile` makes one program of it. Tests compare what is printed with
what torch prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any

Jit = Callable[[Callable], Callable]


def eager(function: Callable) -> Callable:
    """The `jit` that does nothing."""
    return function


# %% What autograd remembers
def a_chain_of_operations(T: Any, jit: Jit) -> None:
    """y, w and z know how they came about; backward() walks back and leaves dz/dx in x.grad."""
    x = T.rand(4, requires_grad=True)
    y = x * 5
    w = y**2
    z = w.mean()
    print(x)
    print(y)
    print(w)
    print(z)
    print(z.grad_fn.next_functions[0][0].name(), x.grad_fn, x.is_leaf, z.is_leaf)
    z.backward()
    print(x.grad)  # dz/dx = 2 * 25 * x / 4
    assert T.allclose(x.grad, 12.5 * x)


def a_chain_in_one_program(T: Any, jit: Jit) -> None:
    """Compiled, forward and backward together are one program; the gradient is the same."""
    x = T.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True)

    @jit
    def forward_and_backward():
        z = ((x * 5) ** 2).mean()
        z.backward()
        return z.detach()

    print(forward_and_backward())
    print(x.grad)


# %% Three ways of not tracking
def three_ways_of_not_tracking(T: Any, jit: Jit) -> None:
    """requires_grad_(False), detach() and no_grad()."""
    x = T.ones(3, requires_grad=True)
    x.requires_grad_(False)
    print(x)

    x = T.ones(3, requires_grad=True)
    y = x.detach()
    print(x.requires_grad, y.requires_grad)

    with T.no_grad():
        y = x + 2
        print(y)
    print(x + 2)


# %% Gradients accumulate
def gradients_accumulate(T: Any, jit: Jit) -> None:
    """backward() adds to .grad: 2, 4, 6, 8 over four epochs; 2 each time where it is emptied."""
    weights = T.ones(4, requires_grad=True)

    @jit
    def epoch():
        (weights * 2).sum().backward()

    for _ in range(4):
        epoch()
        print(weights.grad)
    assert weights.grad.tolist() == [8, 8, 8, 8]

    for _ in range(4):
        weights.grad.zero_()
        epoch()
        print(weights.grad)
    assert weights.grad.tolist() == [2, 2, 2, 2]


# %% One neuron
def a_neuron(T: Any, jit: Jit) -> None:
    """relu(w x + b) is 10 where 2 was wanted: the loss is 64, and its gradient is 2 * 8 * x."""
    x, wanted = T.tensor([1.0, 2.0, 3.0]), T.tensor(2.0)
    w = T.tensor([1.0, 1.0, 1.0], requires_grad=True)
    b = T.tensor(4.0, requires_grad=True)

    @jit
    def loss_of_neuron():
        loss = (T.relu((w * x).sum() + b) - wanted) ** 2
        loss.backward()
        return loss.detach()

    loss = loss_of_neuron()
    print(loss)
    print(w.grad, b.grad)
    assert loss.item() == 64
    assert w.grad.tolist() == [16, 32, 48] and b.grad.item() == 16


# %% Changing a parameter
def a_parameter_changes_only_outside_the_graph(T: Any, jit: Jit) -> None:
    """`b -= lr * b.grad` is refused where it would be recorded, and works under no_grad."""
    lr = 0.1
    x, y = T.tensor([1.0, 2.0, 3.0]), T.tensor([3.0, 5.0, 7.0])
    a = T.tensor(0.5, requires_grad=True)
    b = T.tensor(0.0, requires_grad=True)
    ((y - (a + b * x)) ** 2).mean().backward()
    print(a.grad, b.grad)
    try:
        b -= lr * b.grad
    except RuntimeError as error:
        print("RuntimeError:", error)
    else:
        raise AssertionError("an in-place change of a leaf was let pass")
    print(b)

    @jit
    def step():
        with T.no_grad():
            for p in (a, b):
                p -= lr * p.grad
                p.grad.zero_()

    step()
    print(a, b)
    print(a.grad, b.grad)


# %% Linear regression by hand
CELSIUS = [0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0]
READING = [35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4]


def linear_regression_by_hand(T: Any, jit: Jit) -> None:
    """A thermometer in unknown units: t_c = w * t_u + b, by gradient descent written out."""
    t_c, t_u = T.tensor(CELSIUS), 0.1 * T.tensor(READING)
    params = T.tensor([1.0, 0.0], requires_grad=True)
    learning_rate = 1e-2

    @jit
    def step():
        if params.grad is not None:
            params.grad.zero_()
        w, b = params
        loss = ((w * t_u + b - t_c) ** 2).mean()
        loss.backward()
        with T.no_grad():
            params.sub_(learning_rate * params.grad)
        return loss.detach()

    for epoch in range(1, 501):
        loss = step()
        if epoch % 100 == 0:
            print(f"Epoch {epoch}, Loss {loss:.4f}")
    print(params)
    assert loss < 8.5  # a line through the origin gives more than 11


def linear_regression_with_sgd(T: Any, jit: Jit) -> None:
    """The same, and the optimizer does the update."""
    t_c, t_u = T.tensor(CELSIUS), 0.1 * T.tensor(READING)
    params = T.tensor([1.0, 0.0], requires_grad=True)
    optimizer = T.optim.SGD([params], lr=1e-2)

    @jit
    def step():
        w, b = params
        loss = ((w * t_u + b - t_c) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    for epoch in range(1, 501):
        loss = step()
        if epoch % 100 == 0:
            print(f"Epoch {epoch}, Loss {loss:.4f}")
    print(params)


# %% A model, a loss and an optimizer
def a_model_with_a_loss_and_an_optimizer(T: Any, jit: Jit) -> None:
    """y = 2 x with nn.Linear, nn.MSELoss and optim.SGD."""
    x = T.tensor([[1.0], [2.0], [3.0], [4.0]])
    y = T.tensor([[2.0], [4.0], [6.0], [8.0]])
    model = T.nn.Linear(1, 1)
    with T.no_grad():  # begin where everybody begins, to see the same numbers
        model.weight.fill_(0.5)
        model.bias.zero_()
    loss_of = T.nn.MSELoss()
    optimizer = T.optim.SGD(model.parameters(), lr=0.01)
    print(model)
    print(f"Prediction before training: f(5) = {model(T.tensor([5.0])).item():.3f}")

    @jit
    def step():
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    for epoch in range(100):
        loss = step()
        if epoch % 10 == 0:
            w = model.weight[0][0].item()
            print(f"epoch {epoch + 1}: w = {w:.3f}, loss = {loss.item():.5f}")
    prediction = model(T.tensor([5.0])).item()
    print(f"Prediction after training: f(5) = {prediction:.3f}")
    assert abs(prediction - 10) < 0.5


# %% A choice in Python
def a_choice_in_python(T: Any, jit: Jit) -> None:
    """`if loss > 0:` decides which formula is differentiated."""

    def gradient(start):
        x = T.tensor(start, requires_grad=True)
        loss = x**3
        result = loss * 2 if loss > 0 else loss.abs() ** 0.5
        result.backward()
        return x.grad

    print(gradient(2.0))
    print(gradient(-4.0))
    assert gradient(2.0).item() == 24  # d(2 x^3)
    assert abs(gradient(-4.0).item() + 3) < 1e-5  # d(|x|^1.5)


CELLS = [
    a_chain_of_operations,
    a_chain_in_one_program,
    three_ways_of_not_tracking,
    gradients_accumulate,
    a_neuron,
    a_parameter_changes_only_outside_the_graph,
    linear_regression_by_hand,
    linear_regression_with_sgd,
    a_model_with_a_loss_and_an_optimizer,
    a_choice_in_python,
]
# eager only: what is printed on the way, or decided on values, is the point of them
EAGER_ONLY = [a_chain_of_operations, three_ways_of_not_tracking, a_choice_in_python]


# %% A picture of the graph
def pictures(T: Any) -> dict[str, Any]:
    """What make_dot draws of a parameter that requires grad, and of one that does not."""
    from tracegrad.viz import make_dot

    x, y = T.tensor([1.0, 2.0]), T.tensor([3.0, 5.0])
    drawn = {}
    for trained in (True, False):
        a = T.tensor(0.5, requires_grad=True)
        b = T.tensor(0.0, requires_grad=trained)
        loss = ((y - (a + b * x)) ** 2).mean()
        drawn[f"b requires grad: {trained}"] = make_dot(loss, params={"a": a, "b": b})
    return drawn


def show(cell: Callable, T: Any, jit: Jit, how: str) -> None:
    print(f"\n# {cell.__name__.replace('_', ' ')} ({T.__name__}, {how})\n# {cell.__doc__}")
    cell(T, jit)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--torch", action="store_true", help="run the cells on torch")
    T = import_module("torch" if parser.parse_args().torch else "tracegrad")
    for cell in CELLS:
        show(cell, T, eager, "eager")
        if T.__name__ == "tracegrad" and cell not in EAGER_ONLY:
            show(cell, T, T.compile, "compiled")
    if T.__name__ == "tracegrad":
        for title, picture in pictures(T).items():
            print(f"\n# make_dot, {title}\n{picture.source}")


if __name__ == "__main__":
    main()
