"""What is compiled and may be missing: without it the same is done in Python, slower."""

import importlib
import os
from typing import Any

SCANNER_VERSION = 4  # of the interface of _scan.c


def optional(name: str) -> Any:
    """Return a module, or ``None`` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def scanner_module() -> Any:
    """Return the module compiled from _scan.c; ``None`` without it, or where ``TOKPROF_PURE_PYTHON`` is set."""
    if os.environ.get("TOKPROF_PURE_PYTHON"):
        return None
    module = optional("tokprof.profiler.trace._scan")
    return module if module is not None and module.VERSION == SCANNER_VERSION else None
