"""Every kernel compiled ahead of time, without a GPU: it fits, and spills nothing."""

import os
import re

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from tokprof.kernels import launch as launching  # noqa: E402 - not without Triton
from tokprof.kernels.activations import gelu, swiglu  # noqa: E402
from tokprof.kernels.attention import decode_attention  # noqa: E402
from tokprof.kernels.catalogue import cases  # noqa: E402
from tokprof.kernels.launch import compiled_for, compiled_resources, recording  # noqa: E402
from tokprof.kernels.lora import lora  # noqa: E402
from tokprof.kernels.matvec import matvec  # noqa: E402
from tokprof.kernels.norms import MAX_WIDTH, layer_norm, rms_norm  # noqa: E402
from tokprof.models.cost import shape_of  # noqa: E402
from tokprof.models.zoo import entry  # noqa: E402
from tokprof.profiler.commands.kernels import CAPABILITIES, compiled  # noqa: E402

pytestmark = pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter compiles nothing")

# What a program may have of a multiprocessor's shared memory, and a thread of its registers.
SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
REGISTERS = 255


def every_case():
    for model in ("Codestral-22B-v0.1", "StarCoder", "StarCoder2-7B", "SmolLM2-135M-Instruct"):
        yield from cases(shape_of(entry(model).config), model, batches=(1, 32), contexts=(512, 4096, 32768))


def check(found):
    names = set()
    for launch, case, capability, resources in found:
        names.add(launch.name)
        assert resources.spill_bytes == 0, (launch, case, capability)
        assert 0 < resources.register_count <= REGISTERS
        assert resources.shared_bytes <= SHARED_BYTES[capability]
    return names


def test_one_launch_of_every_kernel_compiles_without_spilling():
    first = {}
    for case in every_case():
        for launch in case.launches():
            first.setdefault(launch.name, case)
    assert len(first) == 14
    fewer = {case.kernel + case.shape: case for case in first.values()}.values()
    assert check(compiled(fewer, torch.bfloat16, [90])) >= set(first)


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_launch_of_four_models_compiles_without_spilling(capability):
    assert len(check(compiled(list(every_case()), torch.bfloat16, [capability]))) == 14


@pytest.mark.slow
def test_what_reads_much_asks_for_enough_of_it_at_a_time_on_every_multiprocessor_of_an_h100():
    # Its 3.35 TB/s times some 0.7 microseconds of latency are 18 KB to a multiprocessor, of which it has 132.
    multiprocessors, buffer_bytes = 132, 2 * 18_000
    readers = ("decode attention", "skinny product", "skinny product, int8", "LM head, greedy")
    seen = set()
    for case in every_case():
        if case.kernel not in readers or case.cost().bytes < 30e6:
            continue  # what takes less than ten microseconds waits for launches and latencies
        launch, *_ = case.launches()
        seen.add(launch.name)
        int8 = case.kernel == "skinny product, int8"
        constants = dict(launch.constants)
        # Of two programs that turn int8 weights into bfloat16 for the tensor cores, one does while the other waits.
        programs = 1.8 if int8 and "COUNT" in constants else 0.9
        assert launch.program_count >= programs * multiprocessors, case
        found = compiled_resources(launch, 90)
        registers = -(-found.register_count // 8) * 8 * 32 * launch.num_warps
        resident = min(65_536 // registers, 228 * 1024 // (found.shared_bytes + 1024))
        buffers = found.shared_bytes * min(resident, launch.program_count / multiprocessors)
        assert buffers >= buffer_bytes, case
        # Loads into shared memory, which no thread waits for, with their bytes: what is large comes 16 at a time, or 8
        # where int8 weights are on their way to Hopper's tensor cores.
        ptx = compiled_for(launch, 90).asm["ptx"]
        widths = [int(n, 16) for n in re.findall(r"cp\.async\.c[ag]\.shared\.global .*?, 0x([0-9a-f]+)", ptx)]
        wide = 8 if int8 else 16
        assert sum(n for n in widths if n >= wide) >= 0.9 * sum(widths) > 0, case
        if "COUNT" in constants:  # each program reads the vectors again from the cache: no more bytes than of weights
            assert 2 * constants["COUNT"] <= (1 if int8 else 2) * constants["HEIGHT"], case
            assert constants["HEIGHT"] == constants["ROWS"] or not int8, case  # what fills it up is converted
            # Products are under way while the next weights are converted: not each is waited for.
            sass = compiled_for(launch, 90).asm["sass"]
            assert 0 < 2 * sass.count("WARPGROUP.ARRIVE") <= sass.count("HGMMA"), case
    assert seen == {"decode_attention", "gemv", "skinny_gemm", "lm_head_gemv", "lm_head_gemm"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_largest_that_a_kernel_takes_compiles_without_spilling(dtype):
    def empty(*sizes, dtype=dtype):
        return torch.empty(*sizes, dtype=dtype, device="meta")

    with recording() as launches:
        rms_norm(empty(1, MAX_WIDTH), empty(MAX_WIDTH), 1e-5)
        layer_norm(empty(1, MAX_WIDTH), empty(MAX_WIDTH), empty(MAX_WIDTH), 1e-5)
        for heads in (8, 64):
            decode_attention(empty(1, heads, 1, 256), empty(1, 1, 5000, 256), empty(1, 1, 5000, 256))
        for outputs in (4096, 32768):
            matvec(empty(64, 4096), empty(outputs, 4096))
            matvec(empty(64, 4096), empty(outputs, 4096, dtype=torch.int8), empty(outputs, dtype=torch.float32))
            adapter = (torch.empty(*sizes, device="meta") for sizes in ((128, 4096), (outputs, 128)))
            lora(empty(64, 4096), empty(outputs, 4096), *adapter, 1.0)
    for launch in launches:
        for capability in CAPABILITIES:
            assert compiled_resources(launch, capability).spill_bytes == 0, (launch, capability)


def test_a_spill_is_seen():
    with recording() as launches:
        launching.launch(
            rms_norm.__globals__["_row_norm_kernel"],
            (1,),
            *(torch.empty(MAX_WIDTH, device="meta"),) * 2,
            None,
            torch.empty(MAX_WIDTH, device="meta"),
            MAX_WIDTH,
            1,
            MAX_WIDTH,
            1e-5,
            CENTRED=True,
            BLOCK=MAX_WIDTH,
            num_warps=1,
        )
    assert compiled_resources(launches[0], 90).spill_bytes > 0


def test_no_offset_within_a_row_passes_32_bits():
    wide = torch.empty(24_576, 32 * 8192, dtype=torch.bfloat16, device="meta").T  # a column apart at each element
    with recording() as launches:
        gelu(wide, tanh=True)
        swiglu(wide, wide)
        rms_norm(wide[:, :16_384], torch.empty(16_384, device="meta"), 1e-5)
    for launch in launches:
        constants = dict(launch.constants)
        assert all(constants[name] == 1 for name in constants if name.endswith("stride")), launch.name
        assert any(name.endswith("stride") for name in constants)


def test_a_launch_is_specialised_as_triton_does():
    x = torch.empty(32, 48, device="meta")
    with recording() as launches:
        rms_norm(x, torch.empty(48, device="meta"), 1e-5)
        rms_norm(x[:, 1:], torch.empty(47, device="meta"), 1e-5)
    aligned, odd = launches
    assert dict(aligned.signature) == {
        "x": "*fp32",
        "weight": "*fp32",
        "bias": "constexpr",
        "out": "*fp32",
        "x_row_stride": "i32",
        "x_stride": "constexpr",
        "width": "i32",
        "eps": "fp32",
        "CENTRED": "constexpr",
        "BLOCK": "constexpr",
    }
    names = [name for name, _ in aligned.signature]
    assert [names[position] for position in aligned.divisible] == ["x", "weight", "out", "x_row_stride", "width"]
    assert [names[position] for position in odd.divisible] == ["weight", "out", "x_row_stride"]
    assert dict(aligned.constants)["x_stride"] == 1
    assert dict(aligned.constants)["bias"] is None
