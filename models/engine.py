"""Prefill and decode as two plain functions, so that a measurement can stand between them.

An engine issues work and never waits for it: no call here synchronises with the device, except where a docstring says
so. Tokens travel between calls as opaque handles that stay on the device.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tokprof.models.errors import ModelError


class Engine(Protocol):
    """What the measuring loop needs of a model with its prompt."""

    batch_size: int
    prompt_token_count: int

    def prefill(self) -> Any:
        """Start from an empty cache, run the prompt and sample the first new token."""

    def decode(self, token: Any) -> Any:
        """Append ``token`` to the cache and sample the next one."""

    def forced(self, index: int) -> Any:
        """Return the token ``index`` of the given continuation, to be decoded instead of the sampled one."""

    def watch(self, new_token_count: int) -> None:
        """Make ready to be asked :meth:`ended` of so many tokens; before the repetition, for it allocates."""

    def ended(self, token: Any) -> int | None:
        """Take note of a sampled token; return how many tokens had been sampled when every sequence had ended.

        On a GPU the answer may come some steps late, because nothing waits for the device; ``None`` while unknown.
        """

    def hold(self) -> None:
        """Keep a copy of the cache as it is now."""

    def rewind(self) -> None:
        """Bring the cache back to the copy that :meth:`hold` kept."""

    def release(self) -> None:
        """Free what :meth:`hold` kept."""

    def generate(self, new_token_count: int, on_forward: Callable[[], None]) -> int:
        """Run the library's own ``generate``; call ``on_forward`` before each forward; return the number of tokens."""

    def sampled_ids(self) -> list[list[int]]:
        """Return the tokens sampled since the last prefill, per sequence; synchronises."""


class TransformersEngine:
    """An :class:`Engine` around a transformers causal language model; greedy sampling.

    Parameters
    ----------
    model
        The loaded module, in eval mode.
    prompt_ids, continuation_ids
        Token ids of one sequence, repeated over the batch; the continuation may be empty if nothing is forced.
    end_ids
        Tokens that end a sequence.
    """

    def __init__(
        self,
        model: Any,
        prompt_ids: Sequence[int],
        continuation_ids: Sequence[int] = (),
        *,
        batch_size: int = 1,
        end_ids: Sequence[int] = (),
    ) -> None:
        import torch

        self.batch_size = batch_size
        self.prompt_token_count = len(prompt_ids)
        self._model = model
        self._device = next(model.parameters()).device
        self._prompt = torch.tensor([list(prompt_ids)] * batch_size, device=self._device)
        self._continuation = torch.tensor([list(continuation_ids)] * batch_size, device=self._device)
        self._end_ids = frozenset(end_ids)
        self._watch = _EndWatch(self._end_ids, batch_size, self._device) if end_ids else None
        self._cache: Any = None
        self._cache_name = cache_parameter(model)
        # Early transformers 5 asks this of state-space models alone, and only whether it is past the prompt.
        self._wants_position = (
            self._cache_name == "cache_params" and "cache_position" in inspect.signature(model.forward).parameters
        )
        self._held: Any = None
        self._sampled: list[Any] = []

    def prefill(self) -> Any:
        """Start from an empty cache, run the prompt and sample the first new token."""
        self._cache = None
        self._sampled = []
        return self._forward(self._prompt)

    def decode(self, token: Any) -> Any:
        """Append ``token`` to the cache and sample the next one."""
        return self._forward(token)

    def _forward(self, ids: Any) -> Any:
        import torch

        state = {self._cache_name: self._cache}
        if self._wants_position and self._cache is not None:
            state["cache_position"] = torch.tensor([self.prompt_token_count + len(self._sampled) - 1])
        with torch.inference_mode():
            output = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **state)
            self._cache = output[self._cache_name]
            token = output.logits[:, -1, :].argmax(dim=-1, keepdim=True)
        self._sampled.append(token)
        return token

    def forced(self, index: int) -> Any:
        """Return the token ``index`` of the given continuation, shape (batch, 1)."""
        return self._continuation[:, index : index + 1]

    def watch(self, new_token_count: int) -> None:
        """See :meth:`Engine.watch`."""
        if self._watch is not None:
            self._watch.begin(new_token_count)

    def ended(self, token: Any) -> int | None:
        """See :meth:`Engine.ended`."""
        return None if self._watch is None else self._watch.note(token)

    def hold(self) -> None:
        """Keep a copy of the cache as it is now."""
        self._held = copy.deepcopy(self._cache)

    def rewind(self) -> None:
        """Bring the cache back to the copy that :meth:`hold` kept."""
        self._cache = None  # before the copy: two caches lie in memory at once, not three
        self._cache = copy.deepcopy(self._held)
        self._sampled = self._sampled[:1]

    def release(self) -> None:
        """Free what :meth:`hold` kept."""
        self._held = None

    def generate(self, new_token_count: int, on_forward: Callable[[], None]) -> int:
        """See :meth:`Engine.generate`; greedy, and ended by end-of-sequence as users meet it."""
        import torch

        handle = self._model.register_forward_pre_hook(lambda *_: on_forward())
        try:
            with torch.inference_mode():
                ids = self._model.generate(
                    self._prompt,
                    attention_mask=torch.ones_like(self._prompt),
                    max_new_tokens=new_token_count,
                    do_sample=False,
                    pad_token_id=next(iter(self._end_ids), 0),
                )
        finally:
            handle.remove()
        self._sampled = list(ids[:, self.prompt_token_count :].split(1, dim=1))
        return len(self._sampled)

    def sampled_ids(self) -> list[list[int]]:
        """Return the tokens sampled since the last prefill, per sequence; synchronises."""
        import torch

        rows: list[list[int]] = torch.cat(self._sampled, dim=1).tolist() if self._sampled else []
        return rows


def cache_parameter(model: Any) -> str:
    """Return what a model's ``forward`` calls its cache, as an argument and in its output.

    transformers has three names for it, by family and version, and answers to the others only where a family once had
    them. A name that a family never had is swallowed in silence, and every step then starts from an empty cache; so the
    signature decides.

    Raises
    ------
    ModelError
        The model takes no cache.
    """
    taken = inspect.signature(model.forward).parameters
    for name in ("cache", "past_key_values", "cache_params"):
        if name in taken:
            return name
    raise ModelError(f"{type(model).__name__}: takes no cache, so it cannot decode token by token")


class _EndWatch:
    """Learns when every sequence has ended, without waiting for the device; notes allocate nothing on the host."""

    def __init__(self, end_ids: frozenset[int], batch_size: int, device: Any) -> None:
        import torch

        self._end_ids = torch.tensor(sorted(end_ids), device=device)
        self._over = torch.zeros((batch_size, 1), dtype=torch.bool, device=device)
        self._device = device
        self._flags: Any = None  # on a GPU, where the device tells the host, one per token
        self._arrived: list[Any] = []
        self._stream: Any = None
        self._count = 0
        self._known_count = 0

    def begin(self, token_count: int) -> None:
        """Forget what was noted and make room for ``token_count`` notes."""
        self._over.zero_()
        self._count = self._known_count = 0
        if self._device.type != "cuda":
            return
        import torch

        self._stream = torch.cuda.current_stream(self._device)
        if len(self._arrived) < token_count:
            self._flags = torch.empty(token_count, dtype=torch.bool, pin_memory=True)
            self._arrived = [torch.cuda.Event() for _ in range(token_count)]  # type: ignore[no-untyped-call]
            for event in self._arrived:
                event.record(self._stream)  # the driver makes it when it is first recorded

    def note(self, token: Any) -> int | None:
        import torch

        self._over |= torch.isin(token, self._end_ids)
        everyone = self._over.all()
        self._count += 1
        if self._device.type != "cuda":
            return self._count if bool(everyone) else None
        self._flags[self._count - 1].copy_(everyone, non_blocking=True)
        self._arrived[self._count - 1].record(self._stream)
        while self._known_count < self._count and self._arrived[self._known_count].query():
            self._known_count += 1
            if bool(self._flags[self._known_count - 1]):
                return self._known_count
        return None
