"""Files that were made to do harm, and files that are damaged: each gives one clear error, or loads
as if nothing were wrong with it.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import random
import resource
import struct
import zipfile
from collections import Counter, OrderedDict

import pytest
from processes import run

import tracegrad as tg
from tracegrad import serialization

REFUSED = (pickle.UnpicklingError, RuntimeError)
P = b"\x80\x02"


def archive(pickled: bytes, storages=(("0", bytes(16)),), method=zipfile.ZIP_STORED, extra=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as z:
        z.writestr("x/data.pkl", pickled)
        for key, content in storages:
            z.writestr(f"x/data/{key}", content)
        for name, content in extra:
            z.writestr(name, content)
    file.seek(0)
    return file


def name(module: str, word: str) -> bytes:
    return f"c{module}\n{word}\n".encode()


def number(n: int) -> bytes:
    return pickle.dumps(n, 2)[2:-1]


FLOATS = name("torch", "FloatStorage")
STORAGE = b"(X\x07\0\0\0storage" + FLOATS + b"X\x01\0\0\0" + b"0X\x03\0\0\0cpu"
BUILD = name("torch._utils", "_rebuild_tensor_v2")


def tensor(offset=0, shape=(4,), strides=(1,), grad=b"\x89", size=4, key=b"0", dtype="Float"):
    storage = b"(X\x07\0\0\0storage" + name("torch", f"{dtype}Storage") + b"X\x01\0\0\0" + key
    storage += b"X\x03\0\0\0cpu" + number(size) + b"tQ"
    put = lambda v: v if isinstance(v, bytes) else pickle.dumps(v, 2)[2:-1]  # noqa: E731
    parts = storage, number(offset), put(shape), put(strides), grad, b")"
    return BUILD + b"(" + b"".join(parts) + b"tR"


DEEP = b"N" + b"\x85" * 300_000
PICKLES = {
    # names
    "a function of the system": P + name("os", "system") + b"X\x04\0\0\0echo\x85R.",
    "eval": P + name("builtins", "eval") + b"X\x01\0\0\0001\x85R.",
    "eval by another name": P + name("__builtin__", "eval") + b"X\x01\0\0\0001\x85R.",
    "getattr": P + name("builtins", "getattr") + b".",
    "a name within a name": P + name("torch", "Size.__new__") + b".",
    "a function of ours": P + name("tracegrad.serialization", "load") + b"X\x01\0\0\0a\x85R.",
    "torch's loader": P + name("torch", "load") + b"X\x01\0\0\0a\x85R.",
    "a name from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R.",
    "a name that is no text": P + b"K\x01K\x02\x93.",
    "a class as a value": P + name("collections", "OrderedDict") + b".",
    "a class in a list": P + b"]" + name("torch", "Size") + b"a.",
    "a class as a key": P + b"}" + name("torch", "Size") + b"K\x01s.",
    "a class of the memo": P + name("torch", "Size") + b"q\0]h\0a.",
    # calls
    "a call of a text": P + b"X\x01\0\0\0a)R.",
    "a call of a tensor": P + tensor() + b")R.",
    "a call of a dtype": P + name("torch", "float32") + b")R.",
    "arguments that are no tuple": P + name("torch", "Size") + b"]R.",
    "a Size of texts": P + name("torch", "Size") + b"X\x01\0\0\0a\x85\x85R.",
    "a codec": P + name("_codecs", "encode") + b"X\x01\0\0\0aX\x03\0\0\0bz2\x86R.",
    "a bytearray of any length": P + name("builtins", "bytearray") + number(1 << 40) + b"\x85R.",
    "bytes of any length": P + name("builtins", "bytes") + number(1 << 40) + b"\x85R.",
    "a set of a number": P + name("builtins", "set") + b"K\x01\x85R.",
    "a Counter of a text": P + name("collections", "Counter") + b"X\x01\0\0\0a\x85R.",
    "an OrderedDict of a tensor": P + name("collections", "OrderedDict") + tensor() + b"\x85R.",
    "a complex number of texts": P + name("builtins", "complex") + b"X\x02\0\0\x001j\x85R.",
    "a device of a list": P + name("torch", "device") + b"]\x85R.",
    "a Parameter of a number": P + name("torch._utils", "_rebuild_parameter") + b"K\1\x89)\x87R.",
    # objects
    "an old instance": P + b"(icollections\nOrderedDict\n.",
    "an old object": P + b"(" + name("collections", "OrderedDict") + b"o.",
    "a new object": P + name("torch", "Size") + b")\x81.",
    "a new object with names": b"\x80\x04" + name("torch", "Size") + b")}\x92.",
    "an extension": P + b"\x82\xf0.",
    "a persistent id as text": P + b"Px\n.",
    # attributes
    "attributes of a dtype": P + name("torch", "float32") + b"}X\x08\0\0\0itemsizeK\x09sb.",
    "slots of a dtype": P + name("torch", "float32") + b"N}X\x08\0\0\0itemsizeK\x09s\x86b.",
    "attributes of a class": P + name("torch", "Size") + b"}X\x05\0\0\0numelK\x09sb.",
    "attributes of a function": P + BUILD + b"}X\x01\0\0\0aK\x09sb.",
    "attributes of a tensor": P + tensor() + b"}X\x06\0\0\0_arrayNsb.",
    "slots of a tensor": P + tensor() + b"N}X\x06\0\0\0_arrayNs\x86b.",
    "attributes of a Size": P + name("torch", "Size") + b"(K\x01t\x85R}X\x01\0\0\0aK\x09sb.",
    "attributes of a set": P + name("builtins", "set") + b")R}X\x01\0\0\0aK\x09sb.",
    "attributes of a dict": P + b"}}X\x01\0\0\0aK\x09sb.",
    "a method of a dict": P + name("collections", "OrderedDict") + b")R}X\x05\0\0\0itemsK\x01sb.",
    "an attribute without a name": P + name("collections", "OrderedDict") + b")R}K\x01K\x01sb.",
    "a class for an attribute": P + name("collections", "OrderedDict") + b")R}X\x01\0\0\0a"
    + name("torch", "Size") + b"sb.",
    # containers
    "items of a list": P + b"]K\x00K\x01s.",
    "items of a tensor": P + tensor() + b"K\x00K\x01s.",
    "appended to a tensor": P + tensor() + b"K\x00a.",
    "appended to a dict": P + b"}K\x00a.",
    "an odd number of items": P + b"}(K\x00K\x01K\x02u.",
    "members of a list": b"\x80\x04](K\x01\x90.",
    "a key that has no hash": P + b"}]K\x01s.",
    "a key that is deep": P + b"}" + DEEP + b"K\x01s.",
    "a member that is deep": P + name("builtins", "set") + b"]" + DEEP + b"a\x85R.",
    "a pair that is deep": P + name("collections", "OrderedDict") + b"]" + DEEP + b"N\x86a\x85R.",
    "a Counter that is deep": P + name("collections", "Counter") + b"]" + DEEP + b"N\x86a\x85R.",
    # the machine
    "nothing": b"",
    "no end": P + b"K\x01",
    "an end without a value": P + b".",
    "too little on the stack": P + b"K\x01\x86.",
    "a mark that is not there": P + b"K\x01t.",
    "a pop of nothing": P + b"0.",
    "a value that was not kept": P + b"h\x07.",
    "what is unknown": P + b"\xff.",
    "a memo of any size": P + b"r\xff\xff\xff\xffN.",
    "a huge memo": P + b"Nr\xff\xff\xff\x7f" + b"j\xff\xff\xff\x6f.",
    "a huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
    "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"a.",
    "a huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 38) + b"a.",
    "a huge number": P + b"\x8b" + struct.pack("<i", 1 << 30) + b"a.",
    "a number of less than nothing": P + b"\x8b" + struct.pack("<i", -1) + b"a.",
    "a number in digits": P + b"L" + b"9" * 100_000 + b"L\n.",
    "a huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"J.",
    "a buffer from outside": b"\x80\x05\x97.",
    "no text": P + b"X\x02\0\0\0\xff\xff.",
    # tensors
    "an offset below": P + tensor(-1) + b".",
    "an offset beyond": P + tensor(4, (1,)) + b".",
    "an offset beyond everything": P + tensor(1 << 70, (1,)) + b".",
    "a shape beyond": P + tensor(0, (5,)) + b".",
    "a stride beyond": P + tensor(0, (2,), (4,)) + b".",
    "a stride below": P + tensor(3, (2,), (-1,)) + b".",
    "strides that go round": P + tensor(0, (2, 2), (1 << 63, 1)) + b".",
    "a shape below": P + tensor(0, (-1,)) + b".",
    "two shapes below": P + tensor(0, (-2, -2), (1, 1)) + b".",
    "a huge shape": P + tensor(0, (1 << 62, 4), (0, 0)) + b".",
    "a huge empty shape": P + tensor(0, (1 << 62, 0), (1, 1)) + b".",
    "an empty shape below": P + tensor(0, (0, -1), (1, 1)) + b".",
    "too many dimensions": P + tensor(0, (1,) * 100, (1,) * 100) + b".",
    "a shape of floats": P + tensor(0, (4.0,)) + b".",
    "a shape of bools": P + tensor(0, (True,)) + b".",
    "a shape that is a number": P + tensor(0, 4) + b".",
    "a shape without strides": P + tensor(0, (2, 2), (1,)) + b".",
    "whole numbers with gradients": P + tensor(grad=b"\x88", size=2, dtype="Long",
                                              shape=(2,)) + b".",
    "gradients that are no truth": P + tensor(grad=b"K\x01") + b".",
    "a storage that is not there": P + tensor(key=b"1") + b".",
    "a storage that is larger": P + tensor(size=5) + b".",
    "a storage that is smaller": P + tensor(size=3, shape=(3,)) + b".",
    "a storage of a size that is a text": P + tensor().replace(b"K\x04tQ", b"X\0\0\0\0tQ") + b".",
    "a storage of two types": P + tensor() + tensor(dtype="Int") + b"\x86.",
    "a storage that is a tensor": P + BUILD + b"(" + tensor() + b"K\0)))tR.",
    "a storage of no type": P + tensor().replace(name("torch", "FloatStorage"), b"N") + b".",
    "a storage of no name": P + tensor().replace(b"X\x01\0\0\x000", b"]") + b".",
    "a persistent id of one": P + b"K\x01Q.",
    "another persistent id": P + STORAGE.replace(b"storage", b"modules") + b"K\x04tQ.",
    "a storage by itself": P + STORAGE + b"K\x04tQ.",
    "a storage in a list": P + b"]" + STORAGE + b"K\x04tQa.",
    "a tensor without arguments": P + BUILD + b")R.",
}


def state() -> list:
    """What a file must not change."""
    things = [tg.float32, tg.int64, tg.Size, tg.Tensor, tg.nn.Parameter, OrderedDict, Counter]
    slots = [[getattr(d, s, None) for s in ("name", "itemsize", "storage")] for d in things[:2]]
    spaces = [sorted(vars(t)) for t in things if hasattr(t, "__dict__")]
    return [*slots, *spaces, sorted(vars(serialization)), list(serialization._KNOWN)]


@pytest.mark.parametrize("weights_only", [True, None])
@pytest.mark.parametrize("name", PICKLES)
def test_a_harmful_pickle_is_refused(name, weights_only, tmp_path, capfd):
    path = tmp_path / "some.pt"
    path.write_bytes(archive(PICKLES[name]).getvalue())
    before = state()
    if name == "an extension":
        copyreg.add_extension("os", "system", 0xF0)
    try:
        with pytest.raises(REFUSED, match="some.pt"):
            tg.load(path, weights_only=weights_only)
    finally:
        copyreg._extension_registry.pop(("os", "system"), None)
        copyreg._inverted_registry.pop(0xF0, None)
    assert state() == before and capfd.readouterr() == ("", "")


def load_all():
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    for name, pickled in PICKLES.items():
        try:
            print("loaded", name, tg.load(archive(pickled)))
        except REFUSED:
            pass
    print("all")


def test_no_pickle_ends_the_process_or_takes_much_memory():
    assert run(load_all) == "all\n"


def test_what_the_attacks_are_made_of_is_fine_without_the_attack():
    one = tg.load(archive(P + tensor(1, (2, 1), (2, 1)) + b"."))
    assert one.shape == (2, 1) and one.stride() == (2, 1) and one.dtype is tg.float32
    assert tg.load(archive(P + tensor(0, (0, 3), (3, 1)) + b".")).shape == (0, 3)
    assert tg.load(archive(P + tensor(3, (5, 2), (0, 0), grad=b"\x88") + b".")).requires_grad
    shallow = P + b"}N" + b"\x85" * 50 + b"K\x01s."
    assert list(tg.load(archive(shallow)).values()) == [1]
    assert tg.load(archive(P + b"](K\x01K\x02e(h\x070K\x031.".replace(b"h\x070", b""))) == [1, 2]


PLAIN = [1, -3, 2**40, -(2**70), 1.5, float("inf"), True, None, "é \U0001f600", "", b"", b"\xff",
         bytearray(b"a"), bytearray(), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [[[]]], {},
         {1: {2: 3}}, set(), {1, "a"}, OrderedDict(a=1), Counter("aab"), 1 + 2j, [{}]]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_values_of_every_protocol_are_read(protocol):
    found = tg.load(archive(pickle.dumps(PLAIN, protocol)))
    assert found == PLAIN and list(map(type, found)) == list(map(type, PLAIN))


def test_values_that_hold_themselves_are_read():
    loop: list = [1]
    loop.append((loop, {"a": loop}))
    for protocol in (2, 4):
        found = tg.load(archive(pickle.dumps(loop, protocol)))
        assert found[1][0] is found and found[1][1]["a"] is found


def bomb() -> io.BytesIO:
    """Many entries of one stretch of the file."""
    file = archive(P + tensor() + b".", [("0", bytes(100_000))])
    with zipfile.ZipFile(file, "a") as z:
        (whole,) = (e for e in z.infolist() if e.filename == "x/data/0")
        for k in range(1, 100):
            entry = zipfile.ZipInfo(f"x/data/{k}")
            for what in ("file_size", "compress_size", "CRC", "header_offset"):
                setattr(entry, what, getattr(whole, what))
            z.filelist.append(entry)
            z.NameToInfo[entry.filename] = entry
        z._didModify = True
    return file


def twice() -> io.BytesIO:
    file = archive(P + b"K\x01.")
    with zipfile.ZipFile(file, "a") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr("x/data.pkl", P + b"K\x02.")
    return file


GOOD = P + tensor() + b"."
MADE = b"PK\1\2\x14\3\x14\0"
ARCHIVES = {
    "compressed": lambda: archive(GOOD, [("0", bytes(1 << 20))], zipfile.ZIP_DEFLATED),
    "overlapping": bomb,
    "two pickles of one name": twice,
    "two pickles": lambda: archive(GOOD, extra=[("y/data.pkl", P + b"N.")]),
    "no pickle": lambda: archive(GOOD, extra=()).getvalue().replace(b"data.pkl", b"data.pkz"),
    "another byte order": lambda: archive(GOOD, extra=[("x/byteorder", b"big")]),
    "encrypted": lambda: archive(GOOD).getvalue().replace(MADE + b"\0", MADE + b"\1"),
    "a storage elsewhere": lambda: archive(GOOD.replace(b"\1\0\0\x000", b"\x0b\0\0\0../data.pkl")),
    "text": lambda: b"not an archive",
    "nothing": lambda: b"",
    "an empty archive": lambda: b"PK\5\6" + bytes(18),
}


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("weights_only", [True, False])
def test_an_archive_that_is_not_as_it_should_be_is_refused(name, weights_only):
    if name == "a storage elsewhere" and not weights_only:
        pytest.skip("Python's own unpickler reads the name")
    file = ARCHIVES[name]()
    file = file if isinstance(file, io.BytesIO) else io.BytesIO(file)
    with pytest.raises(REFUSED, match="the BytesIO"):
        tg.load(file, weights_only=weights_only)


def shown(value):
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(v) for v in value]
    if isinstance(value, tg.Tensor):
        return value.dtype, value.shape, value.stride(), value.requires_grad, value.tolist()
    return value


def test_a_damaged_file_is_an_error_that_names_it_or_loads_the_same(tmp_path):
    path, seed = tmp_path / "model.pt", random.Random(0)
    base = tg.arange(20.0)
    value = {"w": base.view(4, 5).t(), "b": base[3:7], "n": [1, "text", (2.5, None)],
             "p": tg.nn.Parameter(tg.ones(2)), "i": tg.arange(3)}
    tg.save(value, path)
    whole, wanted = path.read_bytes(), shown(value)
    outcomes = Counter()
    cases = [whole[:k] for k in range(0, len(whole), 3)]
    cases += [whole[:k] + bytes([whole[k] ^ 1 << seed.randrange(8)]) + whole[k + 1 :]
              for k in range(len(whole))]
    for _ in range(400):
        at, size = seed.randrange(len(whole)), seed.randrange(1, 40)
        other = seed.choice([bytes(size), seed.randbytes(size), b"", whole[:size]])
        cases.append(whole[:at] + other + whole[at + size :])
    for damaged in cases:
        path.write_bytes(damaged)
        try:
            found = tg.load(path)
        except REFUSED as error:
            assert "model.pt" in str(error)
            outcomes["refused"] += 1
        else:
            assert shown(found) == wanted
            outcomes["equal"] += 1
    assert outcomes["refused"] > 1000 and outcomes["equal"] > 50


def test_damage_without_a_checksum_is_no_crash():
    """As above, with checksums that were made anew: pickles of any content."""
    file = io.BytesIO()
    tg.save({"w": tg.ones(3, 2), "l": [1, (2, "a")], "s": tg.Size([2])}, file)
    with zipfile.ZipFile(file) as z:
        text, data = z.read("archive/data.pkl"), z.read("archive/data/0")
    seed, before = random.Random(1), state()
    for _ in range(4000):
        new = bytearray(text)
        for _ in range(seed.randrange(1, 4)):
            other = [seed.randrange(256), *b"cRbQt(.h\x85\x86s"]
            new[seed.randrange(len(new))] = seed.choice(other)
        try:
            tg.load(archive(bytes(new), [("0", data)]))
        except REFUSED:
            pass
    assert state() == before
