"""Training scripts as they are written for torch on a GPU, on GPUs in the memory of the host: they
give the numbers of the same script on the CPU, eagerly and with its step compiled.
"""

import copy
import io

import pytest
from fake_gpu import fake_gpus, plain_gpus

import tracegrad as torch
from tracegrad import nn
from tracegrad.nn import functional as F
from tracegrad.utils.data import DataLoader, TensorDataset


def images(count=24):
    torch.manual_seed(1)
    return TensorDataset(torch.randn(count, 1, 6, 6), torch.randint(0, 4, (count,)))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(12, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4),
    )


def numbers(model):
    return [v.float().cpu() for v in model.state_dict().values()]


def mnist(device, how):
    """The loop of torch's example: pinned batches, copies that do not wait, a test epoch."""
    on_gpu = device != "cpu"
    model, dataset = network().to(device), images()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    loader = DataLoader(dataset, batch_size=8, pin_memory=on_gpu)

    def step(data, target):
        optimizer.zero_grad()
        loss = F.nll_loss(F.log_softmax(model(data), 1), target)
        loss.backward()
        optimizer.step()
        return loss

    step, losses = how(step), []
    for _ in range(2):
        model.train()
        for data, target in loader:
            data, target = (t.to(device, non_blocking=True) for t in (data, target))
            losses.append(step(data, target).item())
        scheduler.step()
        model.eval()
        correct, total = 0, 0.0
        with torch.no_grad():
            for data, target in DataLoader(dataset, batch_size=12):
                data, target = data.to(device), target.to(device)
                output = model(data)
                total += F.cross_entropy(output, target, reduction="sum").item()
                pred = output.argmax(dim=1, keepdim=True)
                correct += pred.eq(target.view_as(pred)).sum().item()
        losses += [total, correct / len(dataset)]
    return [losses, *numbers(model)]


def accumulation(device, how):
    """Gradients of several batches, clipped, then one step."""
    model = network().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)

    def forward_backward(x, y):
        loss = F.cross_entropy(model(x), y) / 2
        loss.backward()
        return loss.detach()

    forward_backward, said, running = how(forward_backward), [], torch.zeros((), device=device)
    optimizer.zero_grad(set_to_none=True)
    for k, (x, y) in enumerate(DataLoader(images(), batch_size=6)):
        running += forward_backward(x.to(device), y.to(device))
        if k % 2:
            said.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return [said, running.item(), *numbers(model)]


def mixed_precision(device, how):
    """autocast and a GradScaler."""
    model, kind = network().to(device), torch.device(device).type
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler(kind, init_scale=256.0, growth_interval=2)

    def forward(x, y):
        with torch.autocast(device_type=kind, dtype=torch.bfloat16):
            output = model(x)
            assert output.dtype is torch.bfloat16
            return F.cross_entropy(output, y)

    forward, losses = how(forward), []
    for x, y in DataLoader(images(), batch_size=8):
        loss = forward(x.to(device), y.to(device))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses += [loss.item(), scaler.get_scale()]
    return [losses, *numbers(model)]


def checkpoint(device, how):
    """Saved where it was trained, loaded on the CPU, and taken back."""
    model = network().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = (t.to(device) for t in images().tensors)

    def trained(model, optimizer, steps):
        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        step = how(step)
        return [step().item() for _ in range(steps)]

    losses, file = trained(model, optimizer, 2), io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 2}, file)
    file.seek(0)
    kept = torch.load(file, map_location="cpu")
    assert {t.device.type for t in kept["model"].values()} == {"cpu"} and kept["epoch"] == 2
    other = network()
    other.load_state_dict(kept["model"])
    other.to(device)
    again = torch.optim.Adam(other.parameters(), lr=1.0)
    again.load_state_dict(kept["optimizer"])
    assert {v.device for s in again.state.values() for v in s.values() if v.ndim} == {x.device}
    torch.manual_seed(5)
    losses += trained(other, again, 2)
    torch.manual_seed(5)
    assert trained(model, optimizer, 2) == losses[-2:]
    return [losses, *numbers(other)]


def prefetched(device, how):
    """The next batch is copied in a stream of its own while this one is computed."""
    model = network().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    on_gpu = device != "cpu"
    side = torch.cuda.Stream() if on_gpu else None

    def batches():
        ahead = None
        for x, y in DataLoader(images(), batch_size=6, pin_memory=on_gpu):
            if not on_gpu:
                yield x, y
                continue
            with torch.cuda.stream(side):
                coming = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            if ahead is not None:
                yield ahead
            torch.cuda.current_stream().wait_stream(side)
            for t in coming:
                t.record_stream(torch.cuda.current_stream())
            ahead = coming
        if ahead is not None:
            yield ahead

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = how(step)
    losses = [step(x, y).item() for x, y in batches()]
    if on_gpu:
        torch.cuda.synchronize()
    return [losses, *numbers(model)]


def moved_after_its_optimizer(device, how):
    """The optimizer is made before model.to(device), and knows the same parameters after it."""
    model = network()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05)
    for state in optimizer.state.values():
        for key, value in state.items():
            state[key] = value.to(device)
    model.to(device)
    x, y = (t.to(device) for t in images().tensors)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = how(step)
    return [[step().item() for _ in range(3)], *numbers(model)]


def averaged(device, how):
    """Copies of states: an average of the weights, and the best ones so far."""
    model, best = network().to(device), None
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
    x, y = (t.to(device) for t in images().tensors)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 0.1)
        return loss

    step, lowest = how(step), float("inf")
    for _ in range(3):
        if (loss := step().item()) < lowest:
            lowest, best = loss, {k: v.detach().clone() for k, v in model.state_dict().items()}
    model.load_state_dict(best)
    return [lowest, *numbers(model), *numbers(average)]


def scheduled(device, how):
    """Rates by a warm-up and a cosine, and by the loss; a weight of the loss that is a number of
    the CPU.
    """
    model, weight = network().to(device), torch.tensor(0.3)
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[5:].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.05, nesterov=True, momentum=0.8)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    x, y = (t.to(device) for t in images().tensors)

    def step(x, y):
        optimizer.zero_grad()
        output = model(x)
        loss = F.cross_entropy(output, y) + weight * output.square().mean()
        loss.backward()
        optimizer.step()
        return loss

    step, losses = how(step), []
    for _ in range(4):
        loss = step(x, y)
        losses += [loss.item(), optimizer.param_groups[0]["lr"]]
        cosine.step()
        plateau.step(loss.item())
        weight.mul_(0.5)
    return [losses, *numbers(model)]


def text(device, how):
    """A small language model: lengths, a mask made on the device, an embedding, sampling."""
    torch.manual_seed(0)
    rows = torch.tensor([[1, 5, 2, 0], [3, 3, 9, 4]]).to(device)
    letters, layer = nn.Embedding(11, 8, padding_idx=0), nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, batch_first=True)
    head = nn.Linear(8, 11)
    model = nn.ModuleList([letters, layer, head]).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def logits(rows):
        n = rows.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n, device=rows.device)
        padding = rows == 0
        hidden = layer(letters(rows), src_mask=mask, src_key_padding_mask=padding.float() * -1e4)
        return head(hidden)

    def step(rows):
        optimizer.zero_grad()
        loss = F.cross_entropy(logits(rows[:, :-1]).transpose(1, 2), rows[:, 1:], ignore_index=0)
        loss.backward()
        optimizer.step()
        return loss

    step = how(step)
    losses = [step(rows).item() for _ in range(3)]
    with torch.no_grad():
        last = logits(rows)[:, -1]
        best = last.topk(3).indices
        written = torch.cat([rows, best[:, :1]], 1)
    return [losses, best.tolist(), written.tolist(), *numbers(model)]


def adversarial(device, how):
    """Two networks with an optimizer each; noise of a generator; detach."""
    torch.manual_seed(0)
    maker = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, 2)).to(device)
    judge = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)).to(device)
    ours, theirs = (torch.optim.Adam(m.parameters(), lr=0.01, betas=(0.5, 0.999))
                    for m in (maker, judge))
    real = torch.randn(6, 2).to(device)
    ones, zeros = torch.ones(6, 1, device=device), torch.zeros(6, 1, device=device)
    loss_of = nn.BCEWithLogitsLoss()

    def step(noise):
        made = maker(noise)
        theirs.zero_grad()
        judged = loss_of(judge(real), ones) + loss_of(judge(made.detach()), zeros)
        judged.backward()
        theirs.step()
        ours.zero_grad()
        fooled = loss_of(judge(made), ones)
        fooled.backward()
        ours.step()
        return judged, fooled

    step, losses = how(step), []
    for _ in range(3):
        losses += [t.item() for t in step(torch.randn(6, 3).to(device))]
    return [losses, *numbers(maker), *numbers(judge)]


SCRIPTS = {f.__name__: f for f in (
    mnist, accumulation, mixed_precision, checkpoint, prefetched, moved_after_its_optimizer,
    averaged, scheduled, text, adversarial,
)}
HOW = {"eager": lambda f: f, "compiled": torch.compile}


def agrees(script, how, **tolerance):
    torch.manual_seed(2)
    wanted = script("cpu", how)
    torch.manual_seed(2)
    given = script("cuda", how)
    for a, b in zip(given, wanted, strict=True):
        a, b = (x if isinstance(x, torch.Tensor) else torch.tensor(x) for x in (a, b))
        torch.testing.assert_close(a, b, **tolerance)


FAST = (checkpoint, "eager"), (mnist, "compiled"), (prefetched, "compiled"), (scheduled, "compiled")
CASES = [
    pytest.param(script, HOW[how], id=f"{name} {how}",
                 marks=() if (script, how) in FAST else pytest.mark.slow)
    for name, script in SCRIPTS.items() for how in HOW
]


@pytest.mark.parametrize(("script", "how"), CASES)
def test_a_script_gives_on_a_gpu_what_it_gives_on_the_cpu(script, how):
    with fake_gpus():
        agrees(script, how)


@pytest.mark.slow
@pytest.mark.parametrize("script", [accumulation, prefetched, scheduled])
def test_a_script_runs_with_kernels_for_gpus(script):
    with plain_gpus():
        agrees(script, torch.compile, rtol=1e-3, atol=1e-4)
