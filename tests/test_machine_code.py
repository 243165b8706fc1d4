"""Objects are loaded by their symbols: none that is not there is called, none is taken for another
of its name.
"""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import pytest
from processes import run

from tracegrad.runtime.cpu import machine_code


def compiled(text: str) -> bytes:
    """The object file of an LLVM module."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(text)
    machine = llvm.Target.from_default_triple().create_target_machine(reloc="static", jit=True)
    return machine.emit_object(module)


def returning(number: int, name: str = "f") -> bytes:
    return compiled(f"define i64 @{name}() {{ ret i64 {number} }}")


def call(address: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(address)()


CALLS = "declare i64 @{0}(i64)\ndefine i64 @g() {{ %a = call i64 @{0}(i64 -5)\n ret i64 %a }}"


def test_functions_of_one_name_are_told_apart():
    addresses = [machine_code.load(returning(k), "f") for k in range(4)]
    assert [call(a) for a in addresses] == [0, 1, 2, 3]
    more = [machine_code.load(returning(10 + k, f"f{k}"), f"f{k}") for k in range(4)]
    assert [call(a) for a in (*more, *addresses)] == [10, 11, 12, 13, 0, 1, 2, 3]


def test_symbols_are_told():
    if machine_code.symbols(returning(1)) is None:
        pytest.skip("not an ELF file")
    assert machine_code.symbols(compiled(CALLS.format("llabs"))) == ({"llabs"}, {"g"})


def lacking() -> None:
    code = compiled(CALLS.format("nobody_has_this_function"))
    print(machine_code.load(code, "g"))
    print(call(machine_code.load(compiled(CALLS.format("llabs")), "g")))


def test_an_object_that_needs_what_is_not_there_is_not_loaded():
    """LLVM would end the process."""
    assert run(lacking) == "None\n5\n"


def test_what_is_no_object_is_refused():
    for code in (b"", b"not machine code"):
        with pytest.raises(ValueError, match="no object file"):
            machine_code.load(code, "f")
