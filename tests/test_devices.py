"""Tensors on devices, by GPUs in the memory of the host (fake_gpu.py): placing, moving, refusing,
saving. Numbers are compared with those of the CPU, words with torch's documentation.
"""

import copy
import io
import pickle

import numpy as np
import pytest
from fake_gpu import fake_gpus

import tracegrad as tg
from tracegrad import nn
from tracegrad.driver.gpus import Gpus, Unavailable


@pytest.fixture
def gpus():
    with fake_gpus(2) as gpus:
        yield gpus


@pytest.fixture
def no_driver(monkeypatch):
    def none():
        raise RuntimeError("Found no NVIDIA driver on your system.")

    monkeypatch.setattr(Gpus, "opener", staticmethod(none))
    monkeypatch.setattr(Gpus, "opened", None)


# ---- without a GPU
def test_without_a_driver_all_says_so(no_driver):
    assert not tg.cuda.is_available() and tg.cuda.device_count() == 0
    assert "no NVIDIA driver" in tg.cuda.why_not()
    x = tg.ones(1)
    asks = (
        lambda: tg.zeros(1, device="cuda"), lambda: x.to("cuda:0"), x.cuda, nn.Linear(1, 1).cuda,
        lambda: tg.Generator("cuda"), tg.cuda.current_device, tg.cuda.synchronize, tg.cuda.Stream,
        tg.cuda.get_device_name, lambda: tg.set_default_device("cuda"), x.pin_memory, tg.cuda.init,
        tg.cuda.current_stream, tg.cuda.reset_peak_memory_stats, tg.device("cuda").__enter__,
    )
    for ask in asks:
        with pytest.raises(RuntimeError, match="Found no NVIDIA driver"):
            ask()
        with pytest.raises(AssertionError):  # as builds of torch without CUDA
            ask()
    nothing = tg.cuda.memory_allocated(), tg.cuda.max_memory_allocated(), tg.cuda.memory_reserved()
    assert nothing == (0, 0, 0) and not tg.cuda.is_bf16_supported()
    tg.cuda.empty_cache()
    tg.cuda.manual_seed_all(0)
    with pytest.raises(RuntimeError, match="on device 'meta'"):
        tg.zeros(1, device="meta")


# ---- placing
FACTORIES = {
    "zeros": lambda **o: tg.zeros(2, 3, **o), "ones": lambda **o: tg.ones(2, **o),
    "full": lambda **o: tg.full((2,), 7, **o), "empty": lambda **o: tg.empty(2, **o),
    "full of a tensor": lambda **o: tg.full((2,), tg.tensor(3.0), **o),
    "tensor": lambda **o: tg.tensor([[1, 2]], **o), "0-d": lambda **o: tg.tensor(2.5, **o),
    "tensor of one": lambda **o: tg.tensor(tg.ones(2), **o),
    "as_tensor": lambda **o: tg.as_tensor(np.ones(2), **o),
    "asarray": lambda **o: tg.asarray([1.0], **o),
    "arange": lambda **o: tg.arange(1, 9, 2, **o), "floats": lambda **o: tg.arange(0, 1, 0.3, **o),
    "linspace": lambda **o: tg.linspace(0, 1, 3, **o), "eye": lambda **o: tg.eye(2, 3, **o),
    "logspace": lambda **o: tg.logspace(0, 1, 3, **o), "no elements": lambda **o: tg.zeros(0, **o),
    "scalar_tensor": lambda **o: tg.scalar_tensor(2, **o), "rand": lambda **o: tg.rand(3, **o),
    "randn": lambda **o: tg.randn(2, 2, **o), "randint": lambda **o: tg.randint(5, (4,), **o),
    "randperm": lambda **o: tg.randperm(5, **o), "half": lambda **o: tg.ones(2, dtype=tg.half, **o),
    "tril": lambda **o: tg.tril_indices(2, 3, **o),
    "requires grad": lambda **o: tg.ones(2, requires_grad=True, **o),
}


@pytest.mark.parametrize("make", FACTORIES.values(), ids=FACTORIES)
def test_factories_put_their_tensor_on_a_device(gpus, make):
    made = []
    for option in ({}, {"device": "cuda"}, {"device": tg.device("cuda", 1)}):
        tg.manual_seed(3)
        made.append(make(**option))
    assert [str(t.device) for t in made] == ["cpu", "cuda:0", "cuda:1"]
    assert made[0].tolist() == made[1].tolist() == made[2].tolist()
    assert len({(t.dtype, t.shape, t.stride(), t.requires_grad) for t in made}) == 1
    with tg.device("cuda:1"):
        assert str(make().device) == "cuda:1" and make(device="cpu").device.type == "cpu"


def test_new_tensors_are_where_the_others_are(gpus):
    x = tg.ones(2, 3, device="cuda:1").t()
    likes = (
        tg.zeros_like(x), tg.ones_like(x), tg.empty_like(x), tg.full_like(x, 2), tg.rand_like(x),
        tg.randn_like(x), tg.randint_like(x, 9), x.new_zeros(2), x.new_tensor([1]),
        x.new_full((2,), 3),
    )
    assert {str(t.device) for t in likes} == {"cuda:1"}
    assert likes[0].stride() == x.stride() == (1, 3)
    assert tg.zeros_like(x, device="cpu").device == tg.device("cpu")


def test_the_default_device_holds_for_users_and_not_for_functions_inside(gpus):
    with tg.device("cuda"):
        assert str(tg.get_default_device()) == "cuda:0" == str(nn.Linear(2, 2).weight.device)
        label = tg.tensor([1, 0], device="cpu")
        assert nn.functional.one_hot(label).tolist() == [[0, 1], [1, 0]]  # arange is inside
        with tg.device("cpu"):
            assert tg.zeros(1).device.type == "cpu"
        assert tg.compile(lambda: tg.zeros(2) + 1)().device.type == "cuda"
    assert tg.zeros(1).device.type == "cpu"
    tg.set_default_device("cuda:1")
    try:
        assert str(tg.ones(1).device) == "cuda:1"
    finally:
        tg.set_default_device(None)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        tg.zeros(1, device="cuda:2")
    with pytest.raises(RuntimeError, match="Invalid device"):
        tg.zeros(1, device="cuda:one")


def test_what_a_tensor_says_of_its_device(gpus):
    x = tg.tensor([1.5, 2.0], device="cuda:1")
    assert x.is_cuda and not x.is_cpu and x.get_device() == 1 == tg.get_device(x)
    assert x.type() == "tracegrad.cuda.FloatTensor" and x.data_ptr() > 0
    assert repr(x) == "tensor([1.5000, 2.0000], device='cuda:1')"
    assert repr(x.half()[:0]) == "tensor([], device='cuda:1', dtype=tracegrad.float16)"
    assert f"{x[0]}" == "1.5" and repr(x[0]) == "tensor(1.5000, device='cuda:1')"
    assert repr(x.requires_grad_())[-38:] == "], device='cuda:1', requires_grad=True)"[-38:]
    assert tg.ones(1).get_device() == -1 and len(x) == 2 and [v.item() for v in x] == [1.5, 2]


# ---- moving
def test_to_takes_what_torch_takes(gpus):
    x = tg.arange(6).reshape(2, 3)
    g = x.to("cuda")
    assert g.to("cuda") is g and g.to("cuda", copy=True) is not g and x.to("cpu") is x
    like = tg.ones(1, device="cuda:1").half()
    for moved in (x.to("cuda:1", tg.half), x.to(tg.half).to(1), x.to(like), x.cuda(1).half(),
                  x.to(device="cuda:1", dtype=tg.half, non_blocking=True)):
        assert (str(moved.device), moved.dtype) == ("cuda:1", tg.half)
        assert moved.cpu().tolist() == x.tolist()
    assert g.cpu().tolist() == g.to("cuda:1").cpu().tolist() == x.tolist()
    with pytest.raises(RuntimeError, match="must be cuda device, but got cpu"):
        x.cuda("cpu")


def test_gradients_go_back_to_where_values_came_from(gpus):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    w = tg.tensor([3.0, 4.0], device="cuda", requires_grad=True)
    y = (x.cuda() * w).to("cuda:1").sum().cpu()
    assert y.grad_fn.name() == "ToCopyBackward0"
    y.backward()
    assert repr(x.grad) == "tensor([3., 4.])"
    assert repr(w.grad) == "tensor([1., 2.], device='cuda:0')"


def test_copies_between_devices_in_place(gpus):
    a, g = tg.zeros(3), tg.zeros(2, 3, device="cuda")
    a.copy_(tg.tensor([1, 2, 3], device="cuda"))
    g.copy_(a)
    g[1, 1:] = tg.tensor([7.0, 8.0])
    g[0][0] = 9
    assert a.tolist() == [1, 2, 3] and g.tolist() == [[9, 2, 3], [1, 7, 8]]
    v = tg.ones(3, requires_grad=True)
    g[0] = v
    g.sum().backward()
    assert repr(v.grad) == "tensor([1., 1., 1.])"
    g.data = tg.zeros(1)
    assert g.device.type == "cpu"


def test_modules_move_with_all_that_is_theirs(gpus):
    m = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    p = m[0].weight
    m(tg.ones(4, 2)).sum().backward()
    assert m.cuda() is m and m[0].weight is p
    every = (*m.parameters(), *m.buffers(), *(q.grad for q in m.parameters()))
    assert {str(t.device) for t in every} == {"cuda:0"}
    assert m[1].num_batches_tracked.dtype is tg.int64
    m(tg.ones(4, 2, device="cuda")).sum().backward()
    m.to("cuda:1", tg.double)
    assert (str(p.device), p.dtype, p.grad.dtype) == ("cuda:1", tg.double, tg.double)
    assert m[1].num_batches_tracked.device == p.device
    assert m.cpu()[0].weight.device.type == p.grad.device.type == "cpu"
    with pytest.raises(TypeError, match="only accepts floating point"):
        m.to("cuda", tg.int32)


# ---- refusing
REFUSED = {
    "an operator": lambda c, g: c + g, "reversed": lambda c, g: g * c, "matmul": lambda c, g: c @ g,
    "cat": lambda c, g: tg.cat([g, c]), "stack": lambda c, g: tg.stack((c, g)),
    "in place": lambda c, g: g.add_(c), "into the CPU": lambda c, g: c.add_(g),
    "a number into the CPU": lambda c, g: tg.tensor(1.0).add_(g[0]),
    "where": lambda c, g: tg.where(c > 0, g, g), "an array": lambda c, g: g + np.ones(3),
    "linear": lambda c, g: nn.functional.linear(c, g[None]),
    "gather": lambda c, g: g.gather(0, c.long()), "two GPUs": lambda c, g: g + g.to("cuda:1"),
    "a number of another GPU": lambda c, g: g + g[0].to("cuda:1"),
    "dist": lambda c, g: tg.dist(c, g),
    "out on the CPU": lambda c, g: tg.add(g, g, out=c),
    "out on a GPU": lambda c, g: tg.exp(c, out=g),
    "a loss": lambda c, g: nn.functional.cross_entropy(g[None], c[:1].long()),
    "a module": lambda c, g: nn.Linear(3, 1)(g),
    "embedding": lambda c, g: nn.functional.embedding(c.long(), g[:, None].repeat(3, 1)),
}


@pytest.mark.parametrize("mixed", REFUSED.values(), ids=REFUSED)
def test_tensors_of_two_devices_are_refused(gpus, mixed):
    c, g = tg.ones(3), tg.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="same device, but found at least two devices"):
        mixed(c, g)
    assert c.tolist() == g.tolist() == [1, 1, 1]


def test_numbers_of_the_cpu_are_allowed_and_indices(gpus):
    g, two, at = tg.arange(6.0, device="cuda").reshape(2, 3), tg.tensor(2.0), tg.tensor([1, 0])
    assert repr((g * two)[0]) == repr((two * g)[0]) == "tensor([0., 2., 4.], device='cuda:0')"
    assert g[at].tolist() == [[3, 4, 5], [0, 1, 2]] and g[tg.tensor([False, True])].shape == (1, 3)
    g[at, 0] = two
    assert g.tolist() == [[2, 1, 2], [2, 4, 5]]
    with pytest.raises(RuntimeError, match=r"same device as the indexed tensor \(cpu\)"):
        tg.ones(3)[tg.tensor([0], device="cuda")]
    with pytest.raises(IndexError, match="index 7 is out of bounds"):
        g[tg.tensor([7])]
    with pytest.raises(RuntimeError, match="expected device cuda:0 but got cpu"):
        g.requires_grad_().sum().backward(tg.tensor(1.0))


def test_numpy_is_refused_in_torchs_words(gpus):
    g = tg.ones(2, device="cuda")
    words = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()"
    for read in (g.numpy, lambda: np.asarray(g), lambda: np.array(g), lambda: np.sum([g, g]),
                 lambda: np.asarray(g._array), lambda: np.add(g._array, 1)):
        with pytest.raises(TypeError) as error:
            read()
        assert words in str(error.value) or "__array_ufunc__" in str(error.value)
    assert g.numpy(force=True).tolist() == g.cpu().numpy().tolist() == g.tolist() == [1, 1]


# ---- saving
def test_files_remember_devices_and_what_shares_memory(gpus):
    x = tg.arange(6.0, device="cuda:1").reshape(2, 3)
    saved = {"x": x, "row": x[1], "t": x.t(), "c": tg.ones(2), "p": nn.Parameter(x * 2)}
    file = io.BytesIO()
    tg.save(saved, file)
    for to, places in ((None, {"cuda:1", "cpu"}), ("cpu", {"cpu"}), ("cuda", {"cuda:0"}),
                       ({"cuda:1": "cuda:0"}, {"cuda:0", "cpu"}), (lambda s, _: s, {"cpu"})):
        file.seek(0)
        loaded = tg.load(file, map_location=to)
        assert {str(t.device) for t in loaded.values()} == places
        assert all(loaded[k].tolist() == saved[k].tolist() for k in saved)
        loaded["x"][1, 0] = 50
        assert loaded["row"][0] == loaded["t"][0, 1] == 50
        assert loaded["t"].stride() == (1, 3) and type(loaded["p"]) is nn.Parameter


def test_a_file_of_a_gpu_that_is_not_there(gpus, no_driver):
    with fake_gpus(2):
        file = io.BytesIO()
        tg.save(tg.ones(2, device="cuda:1"), file)
    file.seek(0)
    with fake_gpus(1), pytest.raises(RuntimeError, match="deserialize object on cuda:1"):
        tg.load(file)
    file.seek(0)
    assert tg.load(file, map_location="cpu").tolist() == [1, 1]


def test_storages_of_a_device(gpus):
    x = tg.arange(6.0, device="cuda:1").reshape(2, 3)
    whole, part = x.storage(), x.t()[1:].untyped_storage()
    assert whole.tolist() == [0, 1, 2, 3, 4, 5] and part.nbytes() == 24 and part.is_cuda
    assert whole.data_ptr() == part.data_ptr() == x.data_ptr() and part.device == x.device


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int8", "bool"])
def test_a_storage_lists_its_numbers(dtype):
    x = tg.tensor([[0, 1], [1, 0]], dtype=getattr(tg, dtype))
    assert x.t().storage().tolist() == [0, 1, 1, 0]


def test_copies_and_pickles_stay_on_the_device(gpus):
    x = tg.arange(6.0, device="cuda:1").reshape(2, 3).t().requires_grad_()
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.clone(), x.detach()):
        assert str(y.device) == "cuda:1" and y.tolist() == x.tolist()
    assert copy.deepcopy(x).stride() == (1, 3) and pickle.loads(pickle.dumps(x)).requires_grad


# ---- torch.cuda
def test_the_functions_of_cuda(gpus):
    assert tg.cuda.is_available() and tg.cuda.device_count() == 2 and not tg.cuda.why_not()
    assert tg.cuda.current_device() == 0 and tg.cuda.is_initialized()
    with tg.cuda.device(1):
        assert tg.cuda.current_device() == 1 and str(tg.ones(1).cuda().device) == "cuda:1"
    with tg.cuda.device_of(tg.ones(1, device="cuda:1")):
        assert str(tg.zeros(1, device="cuda").device) == "cuda:1"
    tg.cuda.set_device("cuda:1")
    assert tg.cuda.current_device() == 1
    tg.cuda.set_device(0)
    properties = tg.cuda.get_device_properties(1)
    assert properties.name == tg.cuda.get_device_name("cuda") and properties.total_memory > 0
    assert tg.cuda.get_device_capability() == (properties.major, properties.minor)
    free, total = tg.cuda.mem_get_info()
    assert 0 < free <= total == properties.total_memory
    for wrong in (lambda: tg.cuda.set_device(7), lambda: tg.cuda.get_device_name(2)):
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            wrong()
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        tg.cuda.synchronize("cpu")
    tg.cuda.synchronize()


def test_memory_is_counted_and_given_back(gpus):
    before = tg.cuda.memory_allocated()
    x = tg.zeros(1000, 1000, device="cuda")
    assert tg.cuda.memory_allocated() - before >= x.nbytes == 4_000_000
    del x
    assert tg.cuda.memory_allocated() == before and tg.cuda.max_memory_allocated() >= 4_000_000
    tg.cuda.reset_peak_memory_stats()
    assert tg.cuda.max_memory_allocated() == before < tg.cuda.memory_reserved()
    tg.cuda.empty_cache()
    assert tg.cuda.memory_reserved() < 4_000_000 and tg.cuda.memory_allocated(1) == 0
    with pytest.raises(tg.cuda.OutOfMemoryError, match="Tried to allocate 3.73 GiB"):
        tg.zeros(1000, 1000, 1000, device="cuda")
    assert tg.cuda.memory_allocated() == before


def test_what_is_counted_of_memory(gpus):
    tg.cuda.empty_cache()
    tg.cuda.reset_peak_memory_stats()
    x = tg.zeros(1 << 20, device="cuda")
    stats = tg.cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == tg.cuda.memory_allocated() >= x.nbytes
    assert stats["reserved_bytes.all.peak"] == tg.cuda.max_memory_reserved() >= x.nbytes
    assert stats["allocation.all.current"] >= 1 and stats["num_ooms"] == 0
    with pytest.raises(tg.cuda.OutOfMemoryError):
        tg.empty(1 << 40, device="cuda")
    assert tg.cuda.memory_stats()["num_ooms"] == 1 == tg.cuda.memory_stats()["num_alloc_retries"]
    del x
    tg.cuda.empty_cache()
    assert tg.cuda.max_memory_reserved() > tg.cuda.memory_reserved()
    tg.cuda.reset_max_memory_allocated()
    assert tg.cuda.max_memory_reserved() == tg.cuda.memory_reserved()
    assert "allocated" in tg.cuda.memory_summary() and tg.cuda.memory_stats(1)["num_ooms"] == 0


def test_states_of_generators(gpus):
    tg.cuda.manual_seed_all(3)
    states = tg.cuda.get_rng_state_all()
    first = tg.rand(3, device="cuda:1")
    tg.cuda.set_rng_state_all(states)
    assert tg.rand(3, device="cuda").tolist() == first.tolist() and len(states) == 2
    tg.cuda.set_rng_state(states[1], 1)
    assert tg.rand(3, device="cuda").tolist() == first.tolist()


def test_names_for_profilers_and_other_small_functions(gpus):
    nvtx = tg.cuda.nvtx
    assert [nvtx.range_push("a"), nvtx.range_push("b")] == [0, 1]
    assert [nvtx.range_pop(), nvtx.range_pop(), nvtx.range_pop(), nvtx.range_push("c")] == [
        1, 0, -1, 0]
    nvtx.range_pop()
    with nvtx.range("step {}", 3):
        nvtx.range_end(nvtx.range_start("x"))
    assert tg.cuda.get_arch_list() == ["sm_90"] and not tg.cuda.can_device_access_peer(0, 1)
    assert not tg.cuda.is_current_stream_capturing() and tg.cuda.ipc_collect() is None
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        tg.cuda.can_device_access_peer(0, 2)
    own = tg.cuda.Stream()
    with own, own, tg.cuda.ExternalStream(own.cuda_stream) as same:
        assert tg.cuda.current_stream() == own == same
    assert tg.cuda.current_stream() == tg.cuda.default_stream()


def test_streams_and_events(gpus):
    own, default = tg.cuda.Stream(), tg.cuda.current_stream()
    assert own != default == tg.cuda.default_stream() and len({own, default}) == 2
    first, last = tg.cuda.Event(enable_timing=True), tg.cuda.Event(enable_timing=True)
    x = tg.ones(3, device="cuda")
    with tg.cuda.stream(own):
        assert tg.cuda.current_stream() == own
        own.wait_stream(default)
        first.record()
        y = x * 2
        last.record()
    with tg.cuda.stream(None):
        assert tg.cuda.current_stream() == default
    default.wait_event(last)
    assert (y + 1).tolist() == [3, 3, 3]
    last.synchronize()
    own.synchronize()
    assert last.query() and own.query() and first.elapsed_time(last) >= 0
    with pytest.raises(RuntimeError, match="enable_timing=True"):
        tg.cuda.Event().elapsed_time(last)
    with pytest.raises(RuntimeError, match="must be recorded"):
        tg.cuda.Event(enable_timing=True).elapsed_time(last)
    with tg.cuda.stream(tg.cuda.Stream("cuda:1")):
        assert tg.cuda.current_device() == 1
    assert tg.cuda.current_device() == 0


def test_a_seed_gives_the_same_numbers_on_all_devices(gpus):
    drawn = []
    for where in ("cpu", "cuda"):
        tg.cuda.manual_seed(5)
        x = tg.ones(50, device=where)
        drawn.append([tg.rand(3, device=where), nn.functional.dropout(x), tg.bernoulli(x * 0.4),
                      x.clone().normal_(), tg.multinomial(x, 5), tg.randn_like(x)])
    assert all(a.tolist() == b.tolist() for a, b in zip(*drawn, strict=True))
    g = tg.Generator(device="cuda").manual_seed(1)
    assert g.device == tg.device("cuda:0")
    assert tg.rand(2, device="cuda", generator=g).device == g.device
    for wrong in (lambda: tg.rand(2, generator=g), lambda: tg.ones(2).normal_(generator=g)):
        with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator"):
            wrong()


def test_a_child_process_is_told_that_it_cannot_use_the_gpus(gpus, monkeypatch):
    monkeypatch.setattr(Gpus, "forked", True)
    with pytest.raises(RuntimeError, match="Cannot re-initialize CUDA in forked subprocess"):
        tg.zeros(1, device="cuda")
    assert issubclass(Unavailable, RuntimeError)
