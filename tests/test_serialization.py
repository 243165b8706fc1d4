"""save and load: round trips, files exchanged with torch, and files that are not what they say."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import tracegrad as tg

DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def passed(writer, reader, what, **options):
    file = io.BytesIO()
    writer.save(what, file)
    file.seek(0)
    return reader.load(file, **options)


def things(T):
    base = T.arange(12).reshape(3, 4)
    return OrderedDict(
        {d: (base % 2 if d == "bool" else base).to(getattr(T, d)) for d in DTYPES},
        turned=base.double().T[1:], nothing=T.zeros(0, 3), one=T.tensor(2.5),
        parameter=T.nn.Parameter(T.ones(2)), leaf=T.ones(2, requires_grad=True),
        rest=[1, 2.5, "text", None, True, (3, {"a": b"bytes"}), {4, 5}, 2**70],
        size=T.ones(2, 3).shape, dtype=T.float64,
    )


def shown(value):
    """The same text from both libraries."""
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    if hasattr(value, "detach"):
        kind = type(value).__name__
        return kind, str(value.dtype).split(".")[1], value.requires_grad, value.tolist()
    return repr(value).replace("tracegrad", "torch")


@pytest.mark.parametrize("writer, reader", ["gg", "tg", "gt"])
def test_what_was_saved_is_loaded_also_by_torch(torch, writer, reader):
    T = {"g": tg, "t": torch}
    found = passed(T[writer], T[reader], things(T[writer]))
    assert type(found) is OrderedDict
    assert shown(found) == shown(things(torch))


def test_training_goes_on_from_a_file_of_torchs(torch, tmp_path):
    models = []
    for T in (torch, tg):
        model = T.nn.Sequential(T.nn.Linear(3, 2, bias=False), T.nn.BatchNorm1d(2)).double()
        optimizer = T.optim.Adam(model.parameters(), lr=0.1)
        models.append((T, model, optimizer))

    def step(T, model, optimizer):
        optimizer.zero_grad()
        (model(T.arange(12).reshape(4, 3).double().sin()) ** 3).sum().backward()
        optimizer.step()

    (_, theirs, optimizer), (_, ours, mine) = models
    step(*models[0])
    torch.save({"model": theirs.state_dict(), "o": optimizer.state_dict()}, tmp_path / "a.pt")
    found = tg.load(tmp_path / "a.pt")
    ours.load_state_dict(found["model"])
    mine.load_state_dict(found["o"])
    for _ in range(2):
        for one in models:
            step(*one)
    for k, v in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[k].numpy(), v.numpy(), rtol=1e-9)


def test_shared_numbers_stay_shared_and_a_module_needs_trust():
    shared = tg.ones(3)
    a, b = passed(tg, tg, [shared, shared.detach()])
    a[0] = 5
    assert b[0] == 5
    model = tg.nn.Linear(2, 2)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        passed(tg, tg, model)
    assert passed(tg, tg, model, weights_only=False).weight.tolist() == model.weight.tolist()


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def archive(pickled, storages=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("x/data.pkl", pickled)
        for key, content in storages:
            z.writestr(f"x/data/{key}", content)
    file.seek(0)
    return file


def test_a_file_that_is_not_what_it_says_is_refused(capsys):
    good = io.BytesIO()
    tg.save(tg.ones(4), good)
    with zipfile.ZipFile(good) as z:
        text = z.read("archive/data.pkl")
    for file in (
        io.BytesIO(b"nothing"),
        archive(pickle.dumps(Harmful())),
        archive(text, [("0", b"short")[:2]]),
        archive(text.replace(b"K\x04", b"K\x09"), [("0", bytes(16))]),
        archive(pickle.dumps(getattr)),
    ):
        with pytest.raises((pickle.UnpicklingError, RuntimeError), match="BytesIO"):
            result = tg.load(file)
            result("no", "no")
    assert capsys.readouterr().out == ""
