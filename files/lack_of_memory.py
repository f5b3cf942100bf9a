"""Whether an error says that memory has run out, in the words of whoever found out."""

import errno

# How torch (CUDA, MPS, CPU on Linux and Windows), cuDNN, cuBLAS, oneDNN, C++ and the system say it.
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "not enough space",
    "alloc_failed",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "could not create a primitive",
    "could not create a memory",
    "insufficient memory",
    "invalid buffer size",  # of MPS
    "paging file is too small",
    "os error 12",
)
# How oneDNN says that it has no such operation for a type of numbers, or on this processor.
_UNSUPPORTED = "primitive descriptor"
# How the loader of shared libraries says it, and Python when it could not even make the error.
_LOADING = ("failed to map segment", "cannot create shared object descriptor")
_SPEECHLESS = ("error return without exception set", "returned null without setting an exception")
_WINDOWS = (8, 14, 1455)  # not enough memory, out of memory, paging file too small


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on whatever device.

    What is wrong with a file, whose name may be anything, is no lack of memory.
    """
    # Of torch, which is not imported for a name.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or getattr(error, "winerror", None) in _WINDOWS
    if isinstance(error, ImportError):
        return any(words in str(error).lower() for words in _LOADING)
    if isinstance(error, SystemError):
        return any(words in str(error).lower() for words in _SPEECHLESS)
    # Others quote what they read, and that may say anything.
    kinds = isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
    said = str(error).lower().replace(_UNSUPPORTED, "")
    return kinds and any(words in said for words in _WORDS)
