"""A shortlist inside a graph: from the ids of the sources to what scores the tokens to come."""

import numpy as np

from ...errors import ExportError
from ...export.onnx.builder import GraphBuilder
from ...export.onnx.decoding import NextTokens
from ...export.onnx.embedding import TiedEmbedding
from ...export.onnx.initializers import TensorSpec
from ...export.onnx.model import GraphOptions
from ...export.onnx.restricted import RestrictedLogits
from ...spaces.translation_workload import TranslationWorkload, num_own
from .graph_options import TranslationGraphOptions
from .shortlist import MULTIPLIER, Shortlist, made_up_frequent
from .tokenizer import EOS_ID


def check_shortlist(workload: TranslationWorkload, options: GraphOptions) -> None:
    """Make sure that a graph with weights is given the shortlist that its workload asks for."""
    if workload.shortlist and _shortlist_of(options) is None:
        raise ExportError(
            f"the workload has a shortlist of {workload.shortlist}, the options hold none; give "
            "those that `graph_options` makes from the training pairs"
        )


def choose_next_tokens(
    builder: GraphBuilder,
    embedding: TiedEmbedding,
    workload: TranslationWorkload,
    options: GraphOptions,
    source_ids: str,
) -> NextTokens:
    """What scores the tokens that may follow: the whole vocabulary, or what a shortlist allows each
    sentence (B, S). Without one in the options it is made up.
    """
    if not workload.shortlist:
        return embedding
    shortlist = _shortlist_of(options)
    if shortlist is None:
        listed, frequent = _made_up(builder, embedding.vocab_size, workload, source_ids)
    else:
        listed, frequent = _learned(builder, shortlist, source_ids)
    listed = builder.op("Flatten", listed, axis=1)  # (B, S * k)
    batch = builder.op("Shape", listed, start=0, end=1)
    shape = builder.op("Concat", batch, builder.op("Shape", frequent), axis=0)
    allowed = builder.op("Concat", listed, builder.op("Expand", frequent, shape), axis=1)
    return RestrictedLogits.of(builder, embedding, allowed, workload.beam)


def _shortlist_of(options: GraphOptions) -> Shortlist | None:
    return options.shortlist if isinstance(options, TranslationGraphOptions) else None


def _learned(builder: GraphBuilder, shortlist: Shortlist, source_ids: str) -> tuple[str, str]:
    """Ids (B, S, k) and (F,)."""
    # two bytes an id where they do: the table travels with the bundle
    dtype = np.uint16 if len(shortlist.table) <= 1 << 16 else np.int32
    specs = [
        TensorSpec("shortlist.table", shortlist.table.shape, dtype),
        TensorSpec("shortlist.frequent", shortlist.frequent.shape, dtype),
    ]
    table, frequent = builder.parameters(specs, lambda _: (shortlist.table, shortlist.frequent))
    return builder.op("Gather", table, source_ids), frequent


def _made_up(
    builder: GraphBuilder, vocab_size: int, workload: TranslationWorkload, source_ids: str
) -> tuple[str, str]:
    """What `Shortlist.made_up` gives, computed instead of stored."""
    columns = np.arange(workload.shortlist)
    first = builder.op("Mul", source_ids, builder.constant(workload.shortlist))
    first = builder.op("Unsqueeze", first, builder.constant([2]))  # (B, S, 1)
    ids = builder.op("Add", first, builder.constant(columns))
    ids = builder.op("Mul", ids, builder.constant(MULTIPLIER))
    ids = builder.op("Mod", ids, builder.constant(vocab_size))
    is_own = builder.constant(columns < num_own(workload.shortlist), np.bool_)
    listed = builder.op("Where", is_own, ids, builder.constant(EOS_ID))
    return listed, builder.constant(made_up_frequent(vocab_size, workload.num_frequent))
