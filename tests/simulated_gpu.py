"""A GPU's stream, simulated, in place of ``torch.cuda``: what events tell of work that a host issues into a queue.

Nothing runs and nothing waits; instants are made up, in nanoseconds on one clock.
"""

from collections import deque


class SimulatedGpu:
    """A host that issues launches into a queue, and a device that runs them in their order.

    As in a CUDA stream the queue holds a limited number of launches: whoever launches more waits until one has ended.
    """

    def __init__(self, queue_length=1024):
        self.host_ns = self.device_ns = 0
        self._ends_ns = deque()
        self._queue_length = queue_length

    def now_ns(self):
        return int(self.host_ns)

    def launch(self, *, device_ns, host_ns):
        """Issue work of ``device_ns``, which takes the host ``host_ns``; return when the device is done with it."""
        self.host_ns += host_ns
        while self._ends_ns and self._ends_ns[0] <= self.host_ns:
            self._ends_ns.popleft()
        if len(self._ends_ns) == self._queue_length:
            self.host_ns = self._ends_ns.popleft()
        self.device_ns = max(self.device_ns, self.host_ns) + device_ns
        self._ends_ns.append(self.device_ns)
        return self.device_ns

    def synchronize(self, _device=None):
        self.host_ns = max(self.host_ns, self.device_ns)

    def current_stream(self, _device=None):
        return self

    def Event(self, *, enable_timing):  # noqa: N802 - torch's name
        assert enable_timing
        return _Event(self)


class _Event:
    def __init__(self, gpu):
        self._gpu = gpu
        self._at_ns = None

    def record(self, _stream=None):
        self._at_ns = self._gpu.launch(device_ns=0, host_ns=1_000)

    def query(self):
        return self._at_ns <= self._gpu.host_ns

    def synchronize(self):
        self._gpu.host_ns = max(self._gpu.host_ns, self._at_ns)

    def elapsed_time(self, end):
        return (end._at_ns - self._at_ns) / 1e6
