"""A subnet as it is exported: at a workload, with all of the trained vocabulary or what texts use
of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.sections import ExportConfig
from ..errors import ConfigError
from ..run_folder.subnets import SelectedSubnet
from ..run_folder.trained_run import TrainedRun
from ..run_folder.workloads import changed_workload
from ..spaces import ModelSpec
from ..spaces.genes import ArchConfig
from ..spaces.spec import Workload
from ..storage import atomic_write, sha256_bytes

if TYPE_CHECKING:
    from ..family import SmallerVocabulary


@dataclass(frozen=True)
class ExportedSubnet:
    """What is exported of a trained run; `vocabulary` is the part that is, None for all."""

    state: TrainedRun
    chosen: SelectedSubnet
    workload: Workload
    vocabulary: "SmallerVocabulary | None" = None

    def at(self, precision: str | None) -> "ExportedSubnet":
        """The same at another precision; None leaves its own."""
        return replace(self, workload=changed_workload(self.workload, precision))

    @property
    def arch(self) -> ArchConfig:
        """Its architecture."""
        return self.chosen.arch

    @property
    def spec(self) -> ModelSpec:
        """The model, at the precision of the workload."""
        smaller = self.vocabulary
        vocab_size = self.state.card.vocab_size if smaller is None else len(smaller)
        return ModelSpec(self.state.config.space, vocab_size, self.workload)

    def arrays(self) -> dict[str, Any]:
        """Its weights."""
        from ..export.onnx.model import state_arrays

        arrays = state_arrays(self.chosen.subnet.state_dict())
        return arrays if self.vocabulary is None else self.vocabulary.weights(arrays)

    def tokenizer(self) -> Path:
        """The file of its tokenizer; that of a smaller vocabulary is written."""
        files = self.state.files
        if self.vocabulary is None:
            return files.tokenizer_path
        path = files.trimmed_tokenizer_path
        atomic_write(path, self.vocabulary.tokenizer.encode())
        return path

    @property
    def tokenizer_sha256(self) -> str:
        """Of that file; another export that trims writes its own to the same place."""
        if self.vocabulary is None:
            return self.state.card.tokenizer_sha256
        return sha256_bytes(self.vocabulary.tokenizer.encode())

    def own_ids(self, input_ids: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """Ids of the trained network as the exported model takes them."""
        smaller = self.vocabulary
        return input_ids if smaller is None else [smaller.new_ids(ids) for ids in input_ids]

    def trained_ids(self, input_ids: list[list[int]]) -> list[list[int]]:
        """Ids of the exported model as the trained network takes them."""
        smaller = self.vocabulary
        if smaller is None:
            return input_ids
        return [[smaller.ids[i] for i in ids] for ids in input_ids]


def smaller_vocabulary(state: TrainedRun, limits: ExportConfig) -> "SmallerVocabulary | None":
    """The vocabulary as [export] wants it: the part that the training and the validation examples,
    and the lines of `vocabulary_texts`, use; None for all of it.
    """
    if not limits.trim_vocabulary:
        return None
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
    return smaller


def _texts(state: TrainedRun, limits: ExportConfig) -> list[str]:
    from ..data.text_files import read_text_lines

    if limits.vocabulary_texts is None:
        return []
    return list(read_text_lines(state.run.data_root / limits.vocabulary_texts))
