"""Validation sentences that an exported model is held against, with the means to translate and
score them in torch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from .train import TrainedRun

if TYPE_CHECKING:
    from ..export.parity import ParitySet


def parity_set(
    state: TrainedRun, num_pairs: int, reference: Callable[[list[list[int]]], list[list[int]]]
) -> "ParitySet":
    """The first validation pairs whose source is no longer than the export's limit, at most
    `num_pairs`.
    """
    from ..export.parity import ParitySet
    from ..families.translation.decoding import bleu_chrf

    limits = state.run.config.export
    pairs = state.corpus.valid
    ids = state.tokenizer.encode_many([source for source, _ in pairs])
    fitting = [i for i, row in enumerate(ids) if len(row) <= limits.max_source_len][:num_pairs]
    references = [pairs[i][1] for i in fitting]
    return ParitySet(
        sources=[pairs[i][0] for i in fitting],
        source_ids=[ids[i] for i in fitting],
        reference=reference,
        decode=state.tokenizer.decode,
        bleu=lambda outputs: bleu_chrf(outputs, references)[0],
    )
