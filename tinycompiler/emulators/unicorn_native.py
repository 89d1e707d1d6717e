"""The two callbacks of unicorn that are called millions of times, by its C interface.

The wrappers of its Python binding do the same and take two to three times as long; they are used when the binding is
not laid out as in 2.1. Exceptions do not leave a native callback: it must not raise.
"""

import ctypes
from collections.abc import Callable
from typing import Any

BlockCallback = Callable[[object, int, int, object], None]  # (engine, address, size, data)
ReadRegister = Callable[[int], int]  # (address) -> value
WriteRegister = Callable[[int, int], None]  # (address, value)

_Block = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
_Read = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
_Write = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p)


def _library() -> Any:
    """Unicorn's shared library, as its binding has loaded it; None when the binding has another layout."""
    try:
        from unicorn.unicorn_py3.unicorn import uclib
    except ImportError:
        return None
    return uclib


def hook_blocks(engine: Any, kind: int, callback: BlockCallback, begin: int, end: int) -> Callable[[], None]:
    """Call `callback` for each block that begins in begin..end (1, 0: anywhere). Returns what removes the hook."""
    library = _library()
    if library is None:
        hook = engine.hook_add(kind, callback, begin=begin, end=end)
        return lambda: engine.hook_del(hook)
    native, handle = _Block(callback), ctypes.c_size_t()
    bounds = ctypes.c_uint64(begin), ctypes.c_uint64(end)
    status = library.uc_hook_add(engine._uch, ctypes.byref(handle), kind, native, None, *bounds)
    assert status == 0

    def unhook(keep: object = native) -> None:  # unicorn holds only the address of `native`
        library.uc_hook_del(engine._uch, handle)

    return unhook


def map_registers(engine: Any, base: int, size: int, read: ReadRegister, write: WriteRegister) -> object:
    """Let `read` and `write` answer for base..base+size. What is returned must live as long as the engine."""
    library = _library()
    if library is None:
        engine.mmio_map(
            base,
            size,
            lambda _engine, offset, _size, _data: read(base + offset),
            None,
            lambda _engine, offset, _size, value, _data: write(base + offset, value),
            None,
        )
        return None
    natives = (
        _Read(lambda _engine, offset, _size, _data: read(base + offset)),
        _Write(lambda _engine, offset, _size, value, _data: write(base + offset, value)),
    )
    status = library.uc_mmio_map(engine._uch, base, size, natives[0], None, natives[1], None)
    assert status == 0
    return natives
