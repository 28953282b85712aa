"""How fast devices can be at best: by their vendors' data sheets, for devices that nobody here has measured."""

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokprof.models.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What a device can do at best, measured on it or as its data sheet has it."""

    name: str
    bandwidth_bytes_per_s: float  # of the device's memory
    flops_per_s: Mapping[str, float]  # of dense matrix products, by dtype
    cache_bytes: int = 0  # that can serve a working set without the memory; 0 where unknown
    cache_bandwidth_bytes_per_s: float | None = None
    memory_bytes: int | None = None
    sm_clock_hz: float | None = None  # under which it was measured
    measured: bool  # False: from the data sheet
    source: str


@functools.cache
def devices() -> dict[str, Ceiling]:
    """Return the data-sheet ceilings by key."""
    content = tomllib.loads(Path(__file__).with_name("devices.toml").read_text(encoding="utf-8"))
    return {
        key: Ceiling(
            name=fields["name"],
            bandwidth_bytes_per_s=fields["bandwidth_gb_per_s"] * 1e9,
            flops_per_s={dtype: value * 1e12 for dtype, value in fields["tflops"].items()},
            cache_bytes=int(fields.get("cache_mb", 0) * 2**20),
            memory_bytes=int(fields["memory_gb"] * 1e9),
            measured=False,
            source=fields["source"],
        )
        for key, fields in content.items()
    }


def device(key: str) -> Ceiling:
    """Return the data-sheet ceiling of a device, in any case.

    Raises
    ------
    ModelError
        There is none; the message offers near names and lists all.
    """
    known = devices()
    if key.lower() in known:
        return known[key.lower()]
    near = [name for name in known if name.startswith(key.lower())] or difflib.get_close_matches(
        key.lower(), known, n=1
    )
    hint = f"did you mean {' or '.join(near)}? Known are" if near else "known are"
    raise ModelError(f"{key!r}: no data sheet of such a device; {hint} {', '.join(known)}")
