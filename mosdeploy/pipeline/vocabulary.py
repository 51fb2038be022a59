"""The vocabulary of what is exported: all of the trained one, or what texts use of it.

In: a trained run and one of its subnets. Out: the subnet with a `SmallerVocabulary`, and what
follows from that for model, tokenizer and examples.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.sections import ExportConfig
from ..errors import ConfigError
from ..spaces import ModelSpec
from ..spaces.spec import Workload
from ..storage import atomic_write, sha256_bytes
from .subnets import SelectedSubnet
from .trained_run import TrainedRun

if TYPE_CHECKING:
    from ..family import SmallerVocabulary


def with_vocabulary(
    state: TrainedRun, chosen: SelectedSubnet, limits: ExportConfig
) -> SelectedSubnet:
    """The subnet as [export] wants it: with the part of the vocabulary that the training and the
    validation examples, and the lines of `vocabulary_texts`, use; or as it is.

    Raises
    ------
    ConfigError
        If the family cannot do with a part, or the file of texts cannot be read.
    ExportError
        If this tokenizer cannot.
    StaleInputError
        If the file of the tokenizer is no longer that of the supernet.
    """
    if not limits.trim_vocabulary:
        return chosen
    trim = state.family.trim_vocabulary
    if trim is None:
        raise ConfigError(
            f"the vocabulary of '{state.family.name}' cannot be trimmed; leave --trim-vocabulary "
            "out, and trim_vocabulary in [export]"
        )
    examples = [*state.data.train, *state.data.valid]
    smaller = trim(state.files.tokenizer_path, examples, _texts(state, limits))
    # a training that ends meanwhile replaces the file: this refuses another one
    state.tokenizer_bytes()
    return dataclasses.replace(chosen, vocabulary=smaller)


def exported_spec(state: TrainedRun, chosen: SelectedSubnet, workload: Workload) -> ModelSpec:
    """The model that is exported, at the precision of a workload."""
    smaller = chosen.vocabulary
    vocab_size = state.card.vocab_size if smaller is None else len(smaller)
    return ModelSpec(state.config.space, vocab_size, workload)


def exported_arrays(chosen: SelectedSubnet) -> dict[str, Any]:
    """Its weights."""
    from ..export.onnx.model import state_arrays

    arrays = state_arrays(chosen.subnet.state_dict())
    return arrays if chosen.vocabulary is None else chosen.vocabulary.weights(arrays)


def exported_tokenizer(state: TrainedRun, chosen: SelectedSubnet) -> Path:
    """The file of its tokenizer; that of a smaller vocabulary is written."""
    if chosen.vocabulary is None:
        return state.files.tokenizer_path
    path = state.files.trimmed_tokenizer_path
    atomic_write(path, chosen.vocabulary.tokenizer.encode())
    return path


def exported_tokenizer_sha256(state: TrainedRun, chosen: SelectedSubnet) -> str:
    """Of that file; another export that trims writes its own to the same place."""
    smaller = chosen.vocabulary
    if smaller is None:
        return state.card.tokenizer_sha256
    return sha256_bytes(smaller.tokenizer.encode())


def exported_ids(
    chosen: SelectedSubnet, input_ids: Sequence[Sequence[int]]
) -> Sequence[Sequence[int]]:
    """Ids as the exported model takes them."""
    smaller = chosen.vocabulary
    return input_ids if smaller is None else [smaller.new_ids(ids) for ids in input_ids]


def trained_ids(smaller: "SmallerVocabulary | None", input_ids: list[list[int]]) -> list[list[int]]:
    """Ids of the exported model as the trained network takes them."""
    return input_ids if smaller is None else [[smaller.ids[i] for i in ids] for ids in input_ids]


def _texts(state: TrainedRun, limits: ExportConfig) -> list[str]:
    from ..data.text_files import read_text_lines

    if limits.vocabulary_texts is None:
        return []
    return list(read_text_lines(state.run.data_root / limits.vocabulary_texts))
