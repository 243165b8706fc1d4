"""Prices of options: derivatives of Black's and Scholes's formula, and Heston's model fitted to
prices by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jobs import made_of_layers

OPTIONS = 100_000
PATHS, TIMES, YEARS = 2000, 32, 1.0
STRIKES = np.linspace(0.8, 1.2, 9)


def black_scholes(L: Any, strike: Any) -> Any:
    """The sum of all prices: its gradient is delta, vega, rho and theta of each option."""
    spot, volatility, rate, time = (L.parameter(OPTIONS) for _ in range(4))
    log, exp, sqrt = L.library.log, L.library.exp, L.library.sqrt
    spread = volatility * sqrt(time)
    d1 = (log(spot / strike) + (rate + volatility**2 / 2) * time) / spread

    def normal(x: Any) -> Any:
        return (1 + L.erf(x * 2**-0.5)) / 2

    return (spot * normal(d1) - strike * exp(-rate * time) * normal(d1 - spread)).sum()


def market(rng: np.random.Generator) -> list[np.ndarray]:
    between = ((80, 120), (0.1, 0.4), (0.01, 0.05), (0.2, 2.0))
    return [rng.uniform(low, high, OPTIONS) for low, high in between]


def heston(L: Any, noise: Any, strikes: Any, prices: Any) -> Any:
    """Squared errors of the prices; Euler's method with fixed random numbers."""
    reversion, mean, vol, correlation, variance = (L.parameter(1) for _ in range(5))
    exp, sqrt, h = L.library.exp, L.library.sqrt, YEARS / TIMES
    across = sqrt(1 - correlation**2)

    def step(state: Any, noise: Any) -> Any:
        logarithm, v = state
        positive = L.relu(v) + 1e-8
        spread = sqrt(positive * h)
        both = correlation * noise[0] + across * noise[1]
        return (logarithm - positive * h / 2 + spread * noise[0],
                v + reversion * (mean - positive) * h + vol * spread * both)

    start = 0 * noise[0, 0], variance + 0 * noise[0, 0]
    logarithm, _ = L.loop(step, start, noise)
    payoffs = L.relu(exp(logarithm) - strikes[:, None])
    return ((payoffs.mean(1) - prices) ** 2).sum()


def observed(rng: np.random.Generator) -> list[np.ndarray]:
    noise = rng.standard_normal((TIMES, 2, PATHS))
    prices = np.maximum(1.03 - STRIKES, 0) + 0.08 * np.exp(-30 * (STRIKES - 1) ** 2)
    return [noise, STRIKES, prices]


WORKLOADS = [
    made_of_layers(
        "black-scholes", f"Greeks by Black and Scholes, {OPTIONS:,} options, float64",
        black_scholes, lambda rng: [rng.uniform(80, 120, OPTIONS)], "gradients", {}, start=market,
        double=True,
    ),
    made_of_layers(
        "heston",
        f"Heston's model fitted to prices, {PATHS} paths of {TIMES} steps, float64 (JAX: lax.scan)",
        heston, observed, "Adam", {"lr": 1e-3}, double=True,
        start=lambda rng: [np.array([p]) for p in (1.5, 0.06, 0.4, -0.5, 0.05)],
    ),
]
