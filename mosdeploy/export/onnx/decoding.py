"""The decode loop inside the graph: from a step function to token ids, greedy or by beam search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from .builder import GraphBuilder, LoopState

MAX_STEPS = "max_steps"
"""Graph input, int64 scalar: steps at most."""

MIN_STEPS = "min_steps"
"""Graph input, int64 scalar: steps before which the loop does not stop early; changes no answer,
but fixes the work of a measurement.
"""

Step = Callable[[GraphBuilder, str, str, Sequence[str]], tuple[str, list[str]]]
"""Add the nodes of one step to a loop body."""

_FLOAT = TensorProto.FLOAT
_INT = TensorProto.INT64
_BOOL = TensorProto.BOOL


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of a vocabulary that the loop knows."""

    pad_id: int
    bos_id: int
    eos_id: int


class NextTokens(Protocol):
    """Makes tokens of a step's vectors: of the whole vocabulary, or of what is allowed."""

    def best(self, builder: GraphBuilder, x: str, /) -> str:
        """Rows (R, d) to the likeliest token of each, int64 (R, 1)."""

    def likeliest(self, builder: GraphBuilder, x: str, count: int, /) -> tuple[str, str]:
        """Rows (R, d) to at least `count` tokens of each (or all): log p and ids, each (R, C)."""


@dataclass(frozen=True)
class Decoder:
    """What a loop decodes with."""

    step: Step
    next_tokens: NextTokens
    cache_shapes: tuple[tuple[int, int], ...]
    tokens: SpecialTokens


def step_limits() -> list[ValueInfoProto]:
    """Return the graph inputs that limit the loop."""
    return [helper.make_tensor_value_info(name, _INT, []) for name in (MAX_STEPS, MIN_STEPS)]


def greedy_search(builder: GraphBuilder, decoder: Decoder, batch: str) -> str:
    """Add a loop that takes the likeliest token in each step."""
    tokens = decoder.tokens
    token = _filled(builder, batch, [1], tokens.bos_id)
    ended = _filled(builder, batch, [1], False, np.bool_)
    states = [
        LoopState("token", token, _INT, ("B", 1)),
        LoopState("ended", ended, _BOOL, ("B", 1)),
        LoopState("ids", _filled(builder, batch, [0], tokens.pad_id), _INT, ("B", None)),
        *_caches(builder, decoder, batch),
    ]
    body = builder.body("step")
    token, ended, ids, *past_kv = (body.local(state.name) for state in states)
    rows, new_kv = decoder.step(body, token, body.local("index"), past_kv)
    pad = body.constant(tokens.pad_id)
    token = body.op("Where", ended, pad, decoder.next_tokens.best(body, rows))  # (B, 1)
    ended = body.op("Or", ended, body.op("Equal", token, body.constant(tokens.eos_id)))
    ids = body.op("Concat", ids, token, axis=1)  # (B, T + 1)
    return _loop(builder, body, states, [token, ended, ids, *new_kv])[2]


def beam_search(
    builder: GraphBuilder, decoder: Decoder, batch: str, beam: int, length_penalty: float
) -> str:
    """Add a loop that searches with a pool of the K best finished hypotheses."""
    states = _beam_states(builder, decoder.tokens, batch, beam)
    states += _caches(builder, decoder, builder.op("Mul", batch, builder.constant(beam)))
    body = builder.body("step")
    token, closed, live, live_sum, done, done_score, *past_kv = (
        body.local(state.name) for state in states
    )
    rows, new_kv = decoder.step(body, token, body.local("index"), past_kv)
    # 2K: even if K of them end, K live on
    sums, parent, token = _continue(body, decoder.next_tokens, rows, live_sum, 2 * beam)
    ids = _append(body, _pick(body, live, parent), token)  # (B, 2K, T + 1)
    ends = body.op("Equal", token, body.constant(decoder.tokens.eos_id))  # (B, 2K)
    step = body.op("Add", body.local("index"), body.constant(1))
    exponent = body.constant(length_penalty, np.float32)
    length = body.op("Pow", body.op("Cast", step, to=_FLOAT), exponent)

    # those that end, or are cut at the last step, join the pool, unless the example is closed
    is_open = body.op("Not", closed)
    finishes = body.op("And", is_open, body.op("Or", ends, body.op("Equal", step, MAX_STEPS)))
    scores = body.op("Where", finishes, body.op("Div", sums, length), _negative(body))
    done_score, best = _best(body, body.op("Concat", done_score, scores, axis=1), beam)
    padded = _append_pad(body, done, decoder.tokens.pad_id)  # (B, K, T + 1)
    done = _pick(body, body.op("Concat", padded, ids, axis=1), best)

    # the K best of the others live on
    alive = body.op("Where", ends, _negative(body), sums)
    live_sum, best = _best(body, alive, beam)  # (B, K)
    token = body.op("GatherElements", token, best, axis=1)

    closed = body.op("Or", closed, _is_full(body, done_score, live_sum, length, beam))

    # each new hypothesis continues the keys and values of its parent
    rows = _rows(body, body.op("GatherElements", parent, best, axis=1), beam)
    caches = [body.op("Gather", cache, rows) for cache in new_kv]
    results = [token, closed, _pick(body, ids, best), live_sum, done, done_score, *caches]
    hypotheses = _loop(builder, body, states, results)[4]
    return builder.op("Gather", hypotheses, builder.constant(0), axis=1)  # (B, T)


# -- parts of beam search --------------------------------------------------------------------------


def _beam_states(
    builder: GraphBuilder, tokens: SpecialTokens, batch: str, beam: int
) -> list[LoopState]:
    """What beam search hands on, beside the caches; no hypothesis is done at first."""
    # all K hypotheses start alike; only the first counts, or all would stay copies of it
    one = builder.constant([0.0], np.float32)
    only_first = builder.op("Pad", one, builder.constant([0, beam - 1]), _negative(builder))
    token = _filled(builder, batch, [beam], tokens.bos_id)
    closed = _filled(builder, batch, [1], False, np.bool_)
    live = _filled(builder, batch, [beam, 0], tokens.pad_id)
    live_sum = builder.op("Expand", only_first, _shape(builder, batch, [beam]))
    done = _filled(builder, batch, [beam, 0], tokens.pad_id)
    done_score = _filled(builder, batch, [beam], -np.inf, np.float32)
    return [
        LoopState("token", token, _INT, ("B", beam)),
        LoopState("closed", closed, _BOOL, ("B", 1)),
        LoopState("live", live, _INT, ("B", beam, None)),
        LoopState("live_sum", live_sum, _FLOAT, ("B", beam)),
        LoopState("done", done, _INT, ("B", beam, None)),
        LoopState("done_score", done_score, _FLOAT, ("B", beam)),
    ]


def _continue(
    body: GraphBuilder, next_tokens: NextTokens, rows: str, live_sum: str, count: int
) -> tuple[str, str, str]:
    """The best continuations of each example: sums of log p, live hypothesis, token; each (B,
    count).
    """
    # they are among the `count` likeliest tokens of each hypothesis
    log_p, tokens = next_tokens.likeliest(body, rows, count)  # (R, C)
    per_row = body.op("Shape", tokens, start=1, end=2)
    sums = body.op("Add", log_p, body.op("Reshape", live_sum, body.constant([-1, 1])))
    num_examples = body.op("Shape", live_sum, start=0, end=1)
    shape = body.op("Concat", num_examples, body.constant([-1]), axis=0)
    sums = body.op("Reshape", sums, shape)  # (B, K * C)
    best, index = _best(body, sums, count)
    token = body.op("GatherElements", body.op("Reshape", tokens, shape), index, axis=1)
    return best, body.op("Div", index, per_row), token


def _is_full(body: GraphBuilder, done_score: str, live_sum: str, length: str, beam: int) -> str:
    """Whether each example's pool has nothing worse than its best live hypothesis; bool (B, 1)."""
    # both are sorted: the best is in the first column, the worst in the last; a pool with a free
    # place has minus infinity there
    best_live = body.op("Div", _columns(body, live_sum, 0, 1), length)
    return body.op("GreaterOrEqual", _columns(body, done_score, beam - 1, beam), best_live)


def _best(body: GraphBuilder, values: str, count: int) -> tuple[str, str]:
    """The largest of each row of (B, N), falling, and where they are; each (B, count)."""
    values, index = body.ops("TopK", values, body.constant([count]), outputs=2, axis=1)
    return values, index


def _pick(body: GraphBuilder, hypotheses: str, index: str) -> str:
    """Rows `index` (B, N) of ids (B, M, T), as (B, N, T)."""
    index = body.op("Unsqueeze", index, body.constant([2]))
    return body.op("GatherND", hypotheses, index, batch_dims=1)


def _append(body: GraphBuilder, hypotheses: str, token: str) -> str:
    return body.op("Concat", hypotheses, body.op("Unsqueeze", token, body.constant([2])), axis=2)


def _append_pad(body: GraphBuilder, hypotheses: str, pad_id: int) -> str:
    return body.op("Pad", hypotheses, body.constant([0, 0, 0, 0, 0, 1]), body.constant(pad_id))


def _columns(body: GraphBuilder, x: str, first: int, last: int) -> str:
    return body.op("Slice", x, body.constant([first]), body.constant([last]), body.constant([1]))


def _rows(body: GraphBuilder, parent: str, beam: int) -> str:
    """Hypothesis (B, K) of each new hypothesis, as rows (R,) of the caches."""
    count = body.op("Squeeze", body.op("Shape", parent, start=0, end=1))
    example = body.op("Range", body.constant(0), count, body.constant(1))  # (B,)
    first_row = body.op("Mul", example, body.constant(beam))
    offset = body.op("Unsqueeze", first_row, body.constant([1]))
    return body.op("Reshape", body.op("Add", parent, offset), body.constant([-1]))


# -- parts of both ---------------------------------------------------------------------------------


def _caches(builder: GraphBuilder, decoder: Decoder, rows: str) -> list[LoopState]:
    """Keys and values of every layer's self-attention, at first of length 0; `rows` is a shape
    (1,).
    """
    states = []
    for i, (heads, width) in enumerate(decoder.cache_shapes):
        empty = _filled(builder, rows, [heads, 0, width], 0.0, np.float32)
        for part in ("keys", "values"):
            states.append(LoopState(f"{part}_{i}", empty, _FLOAT, ("R", heads, None, width)))
    return states


def _loop(
    builder: GraphBuilder, body: GraphBuilder, states: Sequence[LoopState], results: Sequence[str]
) -> list[str]:
    """Close the body and run it until every example has ended (and not before MIN_STEPS) or
    MAX_STEPS is reached; the second state says which examples have ended.
    """
    # there is no ReduceMin of booleans
    all_ended = body.op("ReduceMin", body.op("Cast", results[1], to=TensorProto.INT32), keepdims=0)
    open_left = body.op("Not", body.op("Equal", all_ended, body.constant(1, np.int32)))
    step = body.op("Add", body.local("index"), body.constant(1))
    go_on = body.op("Or", open_left, body.op("Less", step, MIN_STEPS))
    return builder.loop(body, states, results, go_on, MAX_STEPS)


def _shape(builder: GraphBuilder, rows: str, tail: Sequence[int]) -> str:
    return builder.op("Concat", rows, builder.constant(tail), axis=0)


def _filled(
    builder: GraphBuilder,
    rows: str,
    tail: Sequence[int],
    value: float,
    dtype: type[np.generic] = np.int64,
) -> str:
    """A tensor of shape (rows, *tail), the same value everywhere; `rows` is a shape (1,)."""
    return builder.op("Expand", builder.constant(value, dtype), _shape(builder, rows, tail))


def _negative(builder: GraphBuilder) -> str:
    return builder.constant(-np.inf, np.float32)
