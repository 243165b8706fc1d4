"""Python loops whose bodies are drawn."""

import random

import tracegrad as tg

N = 12  # iterations


def random_program(seed):
    """A loop whose body is drawn: what it reads, what it carries, in which direction it runs."""
    r = random.Random(seed)
    one = [tg.tanh, tg.sin, lambda a: a * 0.5, lambda a: 1 - a, tg.relu, lambda a: a.flip(0),
           lambda a: a.sum() * 0.1 + a, lambda a: tg.cat([a[1:], a[:1]]), lambda a: a.cumsum(0) / 5]
    two = [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b * 0.3, tg.maximum,
           lambda a, b: tg.where(a > b, a, b * 0.5), lambda a, b: (a[:, None] * b).mean(1)]
    states, down, stacks = r.randint(1, 3), r.random() < 0.4, r.random() < 0.5
    steps = [(r.random(), r.choice(one), r.choice(two), r.random(), r.random(), r.randint(-2, 2))
             for _ in range(r.randint(2, 8))]
    news = [r.random() for _ in range(states)]
    odd = r.choice([None, None, r.randrange(N)])

    def f(x, c, w, *state):
        state, outputs, total = list(state), [state[0]], 0.0
        for t in range(N)[:: -1 if down else 1]:
            pool = [*state, c, x[t + 2], x[t + 1], outputs[-1], outputs[-2 % len(outputs)]]
            for kind, a, b, i, j, off in steps:
                u, v = (pool[int(k * len(pool))] for k in (i, j))
                if kind < 0.4:
                    pool.append(a(u))
                elif kind < 0.75:
                    pool.append(b(u, v))
                elif kind < 0.85:
                    pool.append(u * (t * 0.25) + t)
                else:
                    pool.append(u @ w + x[t + 2 + off] * x[2 * t : 2 * t + 3].sum())
            state = [tg.tanh(pool[-1 - int(k * 4)]) for k in news]
            if t == odd:
                state[0] = tg.exp(-state[0])
            outputs.append(state[0])
            total = total + (pool[-1] ** 2).sum()
        return (*state, total, tg.stack(outputs)) if stacks else (*state, total)

    return f, [(2 * N + 3, 4), (4,), (4, 4), *[(4,)] * states]
