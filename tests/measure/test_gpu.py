"""On a real GPU: device times against kernel times, the energy counter against power, and no waiting in a phase."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tokprof.models.engine import TransformersEngine  # noqa: E402
from tokprof.models.loading import ModelSpec, load  # noqa: E402
from tokprof.profiler.analysis.profiled import union_ns  # noqa: E402
from tokprof.profiler.measure.request import Request  # noqa: E402
from tokprof.profiler.measure.stopping import StopLimits  # noqa: E402
from tokprof.profiler.measure.supervisor import profile  # noqa: E402
from tokprof.profiler.record import PassKind, Phase, codes_of  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that keeps a GPU busy in prefill, with every pass that sees the device."""
    request = Request(
        model="StarCoderBase-1B",
        weights="random",
        device="cuda:0",
        prompt_token_count=4096,
        new_token_count=16,
        limits=StopLimits(repetition_count=5),
        passes=(PassKind.CLEAN, PassKind.ENERGY, PassKind.KERNELS),
    )
    return profile(request, tmp_path_factory.mktemp("gpu") / "run")[0]


def kernel_ns_per_span(run, phase):
    kernels = run.kernels.select(run.kernels.phase == codes_of(phase))
    spans = run.spans.of(pass_kind=PassKind.KERNELS, phase=phase, counted=True)
    return union_ns(kernels.start_ns, kernels.end_ns) / len(spans)


def clean_ns_per_span(run, phase):
    return float(run.spans.of(pass_kind=PassKind.CLEAN, phase=phase, counted=True).duration_ns.mean())


def test_a_busy_prefill_takes_as_long_as_its_kernels(run):
    assert kernel_ns_per_span(run, Phase.PREFILL) == pytest.approx(clean_ns_per_span(run, Phase.PREFILL), rel=0.1)


def test_kernels_of_a_step_take_no_longer_than_the_step(run):
    assert 0 < kernel_ns_per_span(run, Phase.DECODE) <= 1.05 * clean_ns_per_span(run, Phase.DECODE)


def test_the_energy_counter_agrees_with_integrated_power(run):
    assert {energy.phase for energy in run.energies} == set(Phase)
    for energy in run.energies:
        assert energy.energy_mj is not None, energy.reason
        assert energy.energy_mj == pytest.approx(energy.integrated_mj, rel=0.1)


def test_nothing_in_prefill_or_decode_waits_for_the_device():
    loaded = load(ModelSpec(name="tiny-llama", weights="random", device="cuda:0", dtype="bfloat16"))
    engine = TransformersEngine(loaded.model, list(range(16)), [1, 2, 3], end_ids=[0])
    engine.prefill()
    engine.watch(4)
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        token = engine.prefill()
        engine.ended(token)
        for step in range(3):
            token = engine.decode(engine.forced(step))
            engine.ended(token)
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_no_step_is_issued_before_prefill_has_ended(run):
    clean = run.spans.of(pass_kind=PassKind.CLEAN, counted=True)
    (error_ns,) = (alignment.error_ns for alignment in run.alignments if alignment.source == "cuda events")
    issued_ns, ended_ns = clean.host_start_ns[clean.step == 1], clean.device_end_ns[clean.step == 0]
    assert len(issued_ns) == run.stop.repetition_count
    assert (issued_ns >= ended_ns - error_ns - 100_000).all()  # the two clocks may drift meanwhile


def test_the_device_reads_its_own_clock_around_each_phase(run):
    pytest.importorskip("triton")
    repetitions = run.stop.repetition_count
    clocks = run.sm_clocks.select(run.sm_clocks.repetition >= 0)
    assert clocks.step.tolist() == [-1, 0, 15] * repetitions
    assert (clocks.duration_ns < 1_000_000).all()
    most = run.environment.device.max_sm_clock_mhz or 3000
    assert ((clocks.clock_mhz > 200) & (clocks.clock_mhz < 1.02 * most)).all()
