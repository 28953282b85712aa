"""``tokprof limits``: the least time of a model's phases on a device, also on one that is not at hand."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprof.profiler.errors import InputError

if TYPE_CHECKING:
    from tokprof.models.cost import ModelShape
    from tokprof.models.devices import Ceiling


def limits(
    model: Annotated[str, typer.Argument(help="Zoo name (`tokprof models`), or a folder with a config.json.")],
    device: Annotated[
        str, typer.Option(help="h100, h200, a100-80gb, l4, ... by its data sheet; cpu, cuda or this as calibrated.")
    ] = "this",
    batch: Annotated[int, typer.Option(help="Sequences side by side.", min=1)] = 1,
    context: Annotated[
        int | None,
        typer.Option(
            help="Tokens of each sequence: of the prompt, or before the step. Default: 2048, or as many as fit.", min=1
        ),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; float32 on a CPU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as data.")] = False,
) -> None:
    """Print the least time that prefill and a decode step can take, and where the limits change.

    Floors follow from the model's configuration and from two figures of the device: as `tokprof calibrate` measured
    them here, or as the data sheet has them for a device that is not at hand. A real run takes longer.
    """
    from tokprof.models.cost import DTYPE_BYTES
    from tokprof.profiler.commands.models import model_errors

    if dtype is not None and dtype not in DTYPE_BYTES:
        raise InputError(f"--dtype {dtype}: unknown; choose one of {', '.join(DTYPE_BYTES)}")
    with model_errors():
        name, shape = _shape(model)
        ceiling, on_cpu = _ceiling(device)
    chosen = dtype or ("float32" if on_cpu else "bfloat16")
    if chosen not in ceiling.flops_per_s:
        known = ", ".join(kind for kind in DTYPE_BYTES if kind in ceiling.flops_per_s) or "no other"
        raise InputError(f"--dtype {chosen}: no rate of products for {ceiling.name}; there is one for {known}")
    if context is None:
        context = 2048 if shape.is_state_space else min(2048, shape.context_token_count - 1)
    if not shape.is_state_space and context >= shape.context_token_count:
        raise InputError(
            f"--context {context}: {name} takes up to {shape.context_token_count} tokens, new ones included"
        )
    facts = _facts(name, shape, ceiling, batch=batch, context=context, dtype=chosen)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode())
        return
    _print(facts)


def _shape(model: str) -> "tuple[str, ModelShape]":
    from tokprof.models.cost import shape_of
    from tokprof.models.loading import folder_config
    from tokprof.models.zoo import entry, find

    path = Path(model).expanduser()
    if path.is_file():
        raise InputError(f"{path}: a file; limits wants a model's folder or a zoo name (`tokprof models`)")
    if find(model) is None and path.is_dir():
        return path.name, shape_of(folder_config(path))
    found = entry(model)
    return found.name, shape_of(found.config)


def _ceiling(key: str) -> "tuple[Ceiling, bool]":
    """Return what a device can do, and whether it is a CPU."""
    from tokprof.models import devices

    if key != "this" and not re.fullmatch(r"cpu|cuda(:\d+)?", key):
        return devices.device(key), False
    from tokprof.profiler.analysis.roofline import ceiling_of
    from tokprof.profiler.commands.calibrate import chosen_device, kept_calibration
    from tokprof.profiler.environment import cpu_device, cuda_device

    place = chosen_device("auto" if key == "this" else key)
    here = cpu_device() if place == "cpu" else cuda_device(place)
    calibration = kept_calibration(here)
    if calibration is None:
        raise InputError(
            f"--device {key}: {here.name} was not calibrated; run `tokprof calibrate`, or name a device that has a "
            f"data sheet: {', '.join(devices.devices())}"
        )
    return ceiling_of(calibration), place == "cpu"


def _facts(
    name: str, shape: "ModelShape", ceiling: "Ceiling", *, batch: int, context: int, dtype: str
) -> dict[str, Any]:
    from dataclasses import replace

    from tokprof.models.cost import DTYPE_BYTES, parameter_count, step_cost
    from tokprof.profiler.analysis.roofline import cache_equals_weights_context, compute_bound_batch, floor_of

    phases: dict[str, Any] = {}
    memory = replace(ceiling, cache_bytes=0, cache_bandwidth_bytes_per_s=None)  # whose cache no operator has to itself
    for phase, new, old in (("prefill", context, 0), ("decode", 1, context)):
        step = step_cost(shape, batch_size=batch, token_count=new, context_token_count=old, dtype=dtype)
        floor = floor_of([step], ceiling, dtype)
        in_cache = floor.byte_count <= ceiling.cache_bytes
        alone = [floor_of([[one]], ceiling if in_cache else memory, dtype) for one in step]
        whole = floor.flop_count if floor.bound == "compute" else floor.byte_count
        phases[phase] = {
            "floor_s": floor.floor_s,
            "bound": floor.bound,
            "tokens_per_s": batch * new / floor.floor_s,
            "compute_s": floor.compute_s,
            "memory_s": floor.memory_s,
            "flop_count": floor.flop_count,
            "weight_bytes": sum(one.weight_bytes for one in step),
            "cache_bytes": sum(one.cache_bytes for one in step),
            "fits_device_cache": in_cache,
            "operators": [
                {
                    "name": one.name,
                    "flop_count": one.flop_count,
                    "weight_bytes": one.weight_bytes,
                    "cache_bytes": one.cache_bytes,
                    "activation_bytes": one.activation_bytes,
                    "floor_s": floor.floor_s * (own.flop_count if floor.bound == "compute" else own.byte_count) / whole,
                    "bound": own.bound if own.floor_s else None,
                }
                for one, own in zip(step, alone, strict=True)
            ],
        }
    # A step reads and writes a whole state, so that what it moves is two of them; prefill writes one.
    held_bytes = phases["prefill" if shape.is_state_space else "decode"]["cache_bytes"]
    parameter_bytes = parameter_count(shape) * DTYPE_BYTES[dtype]
    return {
        "model": name,
        "parameter_count": parameter_count(shape),
        "parameter_bytes": parameter_bytes,
        "device": ceiling.name,
        "device_figures": ceiling.source if ceiling.measured else f"data sheet, not measured: {ceiling.source}",
        "measured": ceiling.measured,
        "bandwidth_bytes_per_s": ceiling.bandwidth_bytes_per_s,
        "device_cache_bytes": ceiling.cache_bytes or None,
        "device_cache_bandwidth_bytes_per_s": ceiling.cache_bandwidth_bytes_per_s,
        "flops_per_s": ceiling.flops_per_s[dtype],
        "dtype": dtype,
        "batch_size": batch,
        "context_token_count": context,
        **phases,
        "compute_bound_batch_size": compute_bound_batch(shape, ceiling, context_token_count=context, dtype=dtype),
        "compute_bound_batch_size_without_context": None
        if shape.is_state_space
        else compute_bound_batch(shape, ceiling, context_token_count=0, dtype=dtype),
        "cache_equals_weights_context_token_count": cache_equals_weights_context(shape, batch_size=batch, dtype=dtype),
        "needed_memory_bytes": parameter_bytes + held_bytes,
        "memory_bytes": ceiling.memory_bytes,
        "is_state_space": shape.is_state_space,
        "window_token_count": shape.window_token_count,
        "longest_context_token_count": None if shape.is_state_space else shape.context_token_count,
    }


def _print(facts: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tokprof.profiler.report.terminal import open_console
    from tokprof.profiler.report.text import quantity

    console = open_console()
    count = facts["parameter_count"]
    parameters = quantity(count / 1e9, "B parameters") if count >= 1e9 else quantity(count / 1e6, "M parameters")
    work = f"{facts['dtype']} · batch {facts['batch_size']} · context {facts['context_token_count']:,} tokens"
    console.print(Text.assemble((facts["model"], "bold"), f" · {parameters} · {work}"))
    rates = f"{facts['bandwidth_bytes_per_s'] / 1e9:,.1f} GB/s, {quantity(facts['flops_per_s'] / 1e12)} TFLOP/s"
    console.print(Text(f"{facts['device']} · {rates} · {facts['device_figures']}"))
    console.print()
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("", "prefill", "decode step"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    phases = (facts["prefill"], facts["decode"])
    table.add_row("floor", *(f"{_time(p['floor_s'])}, by {p['bound']}" for p in phases))
    table.add_row("tokens/s at most", *(quantity(p["tokens_per_s"]) for p in phases))
    table.add_row("computing", *(_time(p["compute_s"]) for p in phases))
    table.add_row("reading and writing", *(_time(p["memory_s"]) for p in phases))
    table.add_row("operations", *(_amount(p["flop_count"], "FLOP") for p in phases))
    table.add_row("weights", *(_amount(p["weight_bytes"]) for p in phases))
    table.add_row("state" if facts["is_state_space"] else "KV cache", *(_amount(p["cache_bytes"]) for p in phases))
    console.print(table)
    console.print()
    operators = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    kept = "state" if facts["is_state_space"] else "KV cache"
    for title in ("of a decode step", "operations", "weights", kept, "activations", "of floor", "bound by"):
        left = title in ("of a decode step", "bound by")
        operators.add_column(title, justify="left" if left else "right", no_wrap=True)
    for one in facts["decode"]["operators"]:
        sizes = (_amount(one[f"{kind}_bytes"]) for kind in ("weight", "cache", "activation"))
        bound = (_time(one["floor_s"]), one["bound"]) if one["bound"] else ("", "")
        operators.add_row(one["name"], _amount(one["flop_count"], "FLOP"), *sizes, *bound)
    console.print(operators)
    console.print(Text(f"{_adding_up(facts, kept)}; each operator is bound as it is by itself", style="dim"))
    console.print()
    for line in _turns(facts):
        console.print(Text(line))


def _adding_up(facts: dict[str, Any], kept: str) -> str:
    """Say what the step's floor is made of, so that the operators' parts can be added up."""
    if facts["decode"]["fits_device_cache"]:
        rate = facts["device_cache_bandwidth_bytes_per_s"]
        words = f"weights and {kept} fit into the device's last cache ({_amount(facts['device_cache_bytes'])}): "
        words += f"the floor reads them at its {rate / 1e9:,.1f} GB/s" if rate else "the floor reads them in no time"
        return words + "; launching the operators is not in it"
    if facts["decode"]["bound"] == "compute":
        return "the floor is every operation at the rate above; bytes are read meanwhile"
    if facts["decode"]["bound"] == "cache":
        rate, size = facts["device_cache_bandwidth_bytes_per_s"], _amount(facts["device_cache_bytes"])
        return f"the floor is weights and {kept} at {rate / 1e9:,.1f} GB/s, the cache's: it could hold {size} of them"
    words = f"the floor is weights and {kept} over the bandwidth above; activations may stay on the chip"
    if size := facts["device_cache_bytes"]:
        words += f", and up to {_amount(size)} of the rest in its cache"
    return words


def _turns(facts: dict[str, Any]) -> list[str]:
    batch, context = facts["compute_bound_batch_size"], facts["cache_equals_weights_context_token_count"]
    empty = facts["compute_bound_batch_size_without_context"]
    if batch == 1:
        lines = ["decode is compute-bound at every batch (at this context)"]
    elif batch is not None:
        lines = [f"decode turns from memory- to compute-bound at batch {batch:,} (at this context)"]
    else:
        cache = "state" if facts["is_state_space"] else "cache"
        lines = [
            f"decode is memory-bound at every batch: a sequence's {cache} takes longer to read than to compute with"
        ]
    if empty is not None and empty != batch:
        lines.append(f"without any context it would turn at batch {empty:,}")
    if context is not None:
        longest = facts["longest_context_token_count"]
        beyond = f", beyond the model's own {longest:,}" if longest is not None and context > longest else ""
        lines.append(f"KV reads equal weight reads at a context of {context:,} tokens (at this batch){beyond}")
    elif facts["is_state_space"]:
        lines.append("the state has a constant size: no context makes a decode step slower")
    else:
        lines.append(f"KV reads never equal weight reads: the window ends at {facts['window_token_count']:,} tokens")
    if facts["memory_bytes"] is not None:
        needed, there = facts["needed_memory_bytes"], facts["memory_bytes"]
        verdict = "fit into" if needed <= there else "DO NOT FIT into"
        held = "weights and state" if facts["is_state_space"] else "weights and cache"
        unread = facts["parameter_bytes"] - facts["decode"]["weight_bytes"]
        words = f"{held}, {_amount(needed)}"
        if unread > needed / 1000:
            words += f" ({_amount(unread)} of them in tables of embeddings, of which a step reads single rows)"
        lines.append(f"{words}, {verdict} {_amount(there)}")
    return lines


def _time(seconds: float) -> str:
    from tokprof.profiler.report.text import quantity

    if 0 < seconds < 1e-7:
        return "< 0.1 µs"
    if seconds >= 1:
        return quantity(seconds, "s")
    return quantity(seconds * 1e3, "ms") if seconds >= 1e-3 else quantity(seconds * 1e6, "µs")


def _amount(count: float, unit: str = "B") -> str:
    """Write an amount with the prefix that suits it; nothing for none."""
    from tokprof.profiler.report.text import quantity

    if not count:
        return ""
    scales = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1))
    prefix, size = next((p, s) for p, s in scales if count >= s)
    return quantity(count / size, prefix + unit)
