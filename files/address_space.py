"""Limits of the address space (`ulimit -v`), and what is left of them."""

from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None

USED = Path("/proc/self/statm")  # where this is not, no limit is kept


def address_space_limit() -> int | None:
    """Bytes that this process may map; None without a limit, or where none is kept."""
    if resource is None or not USED.exists():
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def free_address_space() -> int | None:
    """Bytes that this process may still map; None without a limit."""
    limit = address_space_limit()
    if limit is None or resource is None:
        return None
    return max(0, limit - int(USED.read_text().split()[0]) * resource.getpagesize())
