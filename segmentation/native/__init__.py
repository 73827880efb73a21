"""The hot paths in C, where they have been built; numpy does the same, bit for bit, where they have not.

`make native` builds `_native` in place, from the C files of this folder, split by subject: each has a table of
functions that `module.c` puts together; `_native.pyi` gives their contracts. A caller writes

    if ENABLED:
        return code.function(...)

and keeps its numpy code below, which is the slow twin that tests hold the C against. TIDEGATE_NATIVE=0 chooses the
slow twin. C functions check types, lengths and ranges of everything they get, do not keep references to arrays,
and let go of the interpreter's lock in long loops.
"""


#: Goes up, here and in module.c, whenever a function's contract changes: a build of before is not used then.
VERSION = 12

try:
    from segmentation.native import _native as code
except ImportError as error:
    code = None  # type: ignore[assignment]  # so that its importers need no care: they ask ENABLED first
    ENABLED, STATE = False, f"numpy (the C part is not built: {error}; `make native` builds it)"
else:
    if not code.wanted():
        ENABLED, STATE = False, "numpy (TIDEGATE_NATIVE=0)"
    elif code.VERSION != VERSION:
        ENABLED, STATE = False, "numpy (the C part was built from other sources; `make native` builds it again)"
    else:
        ENABLED, STATE = True, "C"

