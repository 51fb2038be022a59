"""Texts as token ids with their targets, and padded batches of them with their losses."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...config.encoder import EncoderRunConfig, TaskKind
from ...data.batches import Ragged, cross_entropy, moved, pad_rows
from ...storage import atomic_file
from .examples import Example
from .tokenizer import EncoderTokenizer

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

NO_TARGET = -100
"""Label of a position that is not judged."""

PAD_MULTIPLE = 8
"""Texts of a training batch are padded to a multiple of so many positions: then batches have few
shapes, and the kernels that are compiled for each shape on a CPU in bf16 are used again.
"""

MASKED_SHARE = 0.15
MASK_SHARE, RANDOM_SHARE = (0.8, 0.1)
"""Of the hidden pieces."""

_CHUNK = 65_536  # texts tokenised at a time


# -- batches


@dataclass(frozen=True)
class Objective:
    """What is judged, and how much labels count beside a teacher's outputs."""

    kind: TaskKind
    label_weight: float = 0.1
    spread: float = 1.0


@dataclass(frozen=True)
class EncoderBatch:
    """One padded batch."""

    input_ids: Tensor  # (B, S), as are the next two
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor | None  # (B,) or (B, S)
    teacher: Tensor | None  # (B, C), (B, S, C) or (B, d)
    num_targets: int
    objective: Objective

    def to(self, device: torch.device) -> "EncoderBatch":
        """Copy to a device."""
        return moved(self, device)

    def inputs(self) -> tuple[Tensor, ...]:
        """Ids, attention mask and token types, each (B, S); of a masked-lm, the places of hidden
        pieces too, as a network need not guess the others.
        """
        inputs = (self.input_ids, self.attention_mask, self.token_type_ids)
        return inputs if self.hidden is None else (*inputs, self.hidden)

    @property
    def hidden(self) -> Tensor | None:
        """Places of hidden pieces among all B * S, (M,); None where none are to be found."""
        if self.objective.kind != "masked-lm" or self.labels is None:
            return None
        return (self.labels.flatten() != NO_TARGET).nonzero()[:, 0]

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Sum of the losses of all targets, as a scalar."""
        return self._target_losses(logits.float(), label_smoothing).sum()

    def losses(self, logits: Tensor) -> Tensor:
        """Sum of the losses of each text's targets, (B,) float64."""
        found = self._target_losses(logits.float(), 0.0).double()  # (B,), (B, S) or (M,)
        if self.hidden is not None:
            texts = self.hidden // self.input_ids.shape[1]  # (M,)
            return found.new_zeros(len(self.input_ids)).index_add(0, texts, found)
        return found.flatten(1).sum(1) if found.dim() > 1 else found

    def _target_losses(self, logits: Tensor, label_smoothing: float) -> Tensor:
        """Loss of each text (B,), hidden piece (M,), or position (B, S), 0 if it is not judged."""
        labels, teacher = self.labels, self.teacher
        if labels is None:
            assert teacher is not None  # else there is nothing to learn an embedding from
            return 1 - F.cosine_similarity(logits, teacher, dim=-1)  # (B,)
        if self.hidden is not None:
            pieces = labels.flatten()[self.hidden]  # (M,)
            return cross_entropy(logits, pieces, NO_TARGET, label_smoothing)
        objective = self.objective
        if objective.kind == "regression":
            # on a scale where the labels have spread 1
            by_label = ((logits[:, 0] - labels) / objective.spread) ** 2
        else:
            flat_logits = logits.flatten(0, -2)  # (B, C) or (B * S, C)
            flat = cross_entropy(flat_logits, labels.flatten(), NO_TARGET, label_smoothing)
            by_label = flat.view_as(labels)  # (B,) or (B, S)
        if teacher is None:
            return by_label
        if objective.kind == "regression":
            by_teacher = ((logits[:, 0] - teacher[:, 0]) / objective.spread) ** 2
        else:
            student = F.log_softmax(logits, dim=-1)
            wanted = F.log_softmax(teacher, dim=-1)
            divergence = F.kl_div(student, wanted, reduction="none", log_target=True)
            by_teacher = divergence.sum(-1)  # (B,) or (B, S)
            if labels.dim() > 1:
                by_teacher = by_teacher.masked_fill(labels == NO_TARGET, 0.0)
        return objective.label_weight * by_label + (1 - objective.label_weight) * by_teacher


def token_types(input_ids: Tensor, attention_mask: Tensor, sep_id: int, num_types: int) -> Tensor:
    """0 up to and including the first separator, 1 after it, 0 at padding; (B, S) int64."""
    if num_types < 2:
        return torch.zeros_like(input_ids)
    is_sep = (input_ids == sep_id).long()
    passed = is_sep.cumsum(1) - is_sep  # separators before each position
    return (passed > 0).long() * attention_mask


@dataclass(frozen=True)
class BatchLayout:
    """How ids become a batch: the padding's id, the separator's, how many token types there are."""

    pad_id: int
    sep_id: int
    num_types: int

    def of(self, examples: Sequence[Example]) -> "BatchLayout":
        """The layout of these texts: itself, or with one type if they are no pairs."""
        has_pairs = any(example.text_pair is not None for example in examples)
        return self if has_pairs else replace(self, num_types=min(self.num_types, 1))

    def inputs(
        self, texts: Sequence[npt.ArrayLike], width: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, attention mask and token types of texts, each (B, S) int64, where S is the longest
        text's length, or `width` if that is more.
        """
        ids = pad_rows(texts, self.pad_id, width)
        # by the lengths, since a text may hold the padding's id too
        mask = pad_rows([np.ones(np.shape(text), np.int64) for text in texts], width=width)
        return ids, mask, token_types(ids, mask, self.sep_id, self.num_types)


# -- masked pieces


@dataclass(frozen=True)
class Masking:
    """Dynamic masking of pieces, as BERT and RoBERTa are trained: the mask's id, the ids that are
    never hidden, and how many ids there are.
    """

    mask_id: int
    special_ids: tuple[int, ...]
    vocab_size: int

    def may_hide(self, ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """Tell which ids stand for a piece of text."""
        flags: npt.NDArray[np.bool_] = ~np.isin(ids, self.special_ids)
        return flags

    def num_hidden(self, num_pieces: npt.ArrayLike) -> Ids:
        """Count the hidden pieces of texts with so many; at least one of a text that has any."""
        counts = np.asarray(num_pieces, dtype=np.int64)
        shares = np.rint(MASKED_SHARE * counts).astype(np.int64)
        found: Ids = np.maximum(shares, np.minimum(counts, 1))
        return found

    def hide(self, texts: Sequence[npt.NDArray[np.int32]], rows: Ids) -> list[tuple[Ids, Ids]]:
        """Return ids with some hidden, and labels: `NO_TARGET` but for the hidden pieces. The
        numbers of the rows are the seed: another batch hides other pieces.
        """
        seed = hashlib.sha256(np.ascontiguousarray(rows, dtype=np.int64).tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:8]))
        return [self._hide(ids.astype(np.int64), rng) for ids in texts]

    def _hide(self, ids: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        places = np.flatnonzero(self.may_hide(ids))
        hidden = rng.permutation(places)[: int(self.num_hidden(len(places)))]
        labels = np.full_like(ids, NO_TARGET)
        labels[hidden] = ids[hidden]
        draws = rng.random(len(hidden))
        shown = ids.copy()
        shown[hidden[draws < MASK_SHARE]] = self.mask_id
        swapped = hidden[(draws >= MASK_SHARE) & (draws < MASK_SHARE + RANDOM_SHARE)]
        shown[swapped] = rng.integers(0, self.vocab_size, len(swapped))
        return shown, labels


# -- datasets


@dataclass(frozen=True)
class EncoderDataset:
    """Token ids of texts, special ones included, with targets."""

    ids: Ragged
    labels: npt.NDArray[np.float64]
    tags: Ragged
    layout: BatchLayout
    masking: Masking
    objective: Objective
    max_tokens: int
    teacher: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> Ids:
        """Positions that each text takes in a batch, a multiple of `PAD_MULTIPLE` or `max_tokens`,
        (N,).
        """
        return _padded_lengths(self.ids.lengths, self.max_tokens)

    @property
    def tie_lengths(self) -> Ids:
        """Tokens of each text, special ones included, (N,)."""
        return self.ids.lengths

    @cached_property
    def num_targets(self) -> Ids:
        """Of each text 1, its judged tags or its hidden pieces, (N,)."""
        if self.objective.kind == "tagging":
            return _row_sums(self.tags.flat != NO_TARGET, self.tags.offsets)
        if self.objective.kind == "masked-lm":
            flags = self.masking.may_hide(self.ids.flat)
            return self.masking.num_hidden(_row_sums(flags, self.ids.offsets))
        return np.ones(len(self), dtype=np.int64)

    def batch(self, rows: Ids) -> EncoderBatch:
        """Pad the texts of these rows into one batch, in this order."""
        texts: list[Any] = [self.ids[i] for i in rows]
        width = int(self.lengths[rows].max())
        labels: Tensor | None = None
        if self.objective.kind == "classification":
            labels = torch.from_numpy(self.labels[rows].astype(np.int64))  # (B,)
        elif self.objective.kind == "regression":
            labels = torch.from_numpy(self.labels[rows].astype(np.float32))  # (B,)
        elif self.objective.kind == "tagging":
            labels = pad_rows([self.tags[i] for i in rows], NO_TARGET, width)  # (B, S)
        elif self.objective.kind == "masked-lm":
            hidden = self.masking.hide(texts, rows)
            texts = [shown for shown, _ in hidden]
            labels = pad_rows([wanted for _, wanted in hidden], NO_TARGET, width)  # (B, S)
        inputs = self.layout.inputs(texts, width)
        teacher = self._teacher_of(rows, width)
        num_targets = int(self.num_targets[rows].sum())
        return EncoderBatch(*inputs, labels, teacher, num_targets, self.objective)

    def with_teacher(self, outputs: Sequence[npt.ArrayLike]) -> "EncoderDataset":
        """Return the same texts with a teacher's outputs."""
        arrays = [np.asarray(output, dtype=np.float32) for output in outputs]
        is_tagging = self.objective.kind == "tagging"  # whose outputs of all pieces are end to end
        lengths = [len(array) for array in arrays] if is_tagging else [1] * len(arrays)
        if lengths != (self.ids.lengths.tolist() if is_tagging else [1] * len(self)):
            raise ValueError(f"{len(arrays)} outputs of a teacher do not fit {len(self)} texts")
        return replace(self, teacher=(np.concatenate if is_tagging else np.stack)(arrays))

    def _teacher_of(self, rows: Ids, width: int) -> Tensor | None:
        if self.teacher is None:
            return None
        if self.objective.kind != "tagging":
            return torch.from_numpy(self.teacher[rows])  # (B, C) or (B, d)
        padded = np.zeros((len(rows), width, self.teacher.shape[1]), np.float32)
        for place, i in enumerate(rows):
            part = self.teacher[self.ids.offsets[i] : self.ids.offsets[i + 1]]
            padded[place, : len(part)] = part
        return torch.from_numpy(padded)  # (B, S, C)

    def save(self, path: Path) -> None:
        """Write everything into one file of numpy arrays."""
        parts = {name: asdict(getattr(self, name)) for name in ("layout", "masking", "objective")}
        arrays: dict[str, Any] = {"labels": self.labels}
        for name, ragged in (("ids", self.ids), ("tags", self.tags)):
            arrays |= {name: ragged.flat, f"{name}_offsets": ragged.offsets}
        if self.teacher is not None:
            arrays["teacher"] = self.teacher
        settings = np.array(json.dumps({**parts, "max_tokens": self.max_tokens}))
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, settings=settings, **arrays)

    @classmethod
    def open(cls, path: Path) -> "EncoderDataset":
        """Read a file of `save`."""
        with np.load(path) as arrays:
            settings = json.loads(str(arrays["settings"]))
            masking = settings["masking"]
            return cls(
                Ragged(arrays["ids"], arrays["ids_offsets"]),
                arrays["labels"],
                Ragged(arrays["tags"], arrays["tags_offsets"]),
                BatchLayout(**settings["layout"]),
                Masking(**{**masking, "special_ids": tuple(masking["special_ids"])}),
                Objective(**settings["objective"]),
                settings["max_tokens"],
                arrays.get("teacher"),
            )


def tokenize(
    tokenizer: EncoderTokenizer, examples: Sequence[Example], config: EncoderRunConfig
) -> EncoderDataset:
    """Turn examples into token ids; texts of more than `task.max_tokens` are cut."""
    # as lists, ids take ten times what they take as an array
    chunks = [examples[i : i + _CHUNK] for i in range(0, len(examples), _CHUNK)]
    parts = [_token_ids(tokenizer, chunk, config) for chunk in chunks]
    labels = label_array(examples)
    special = tokenizer.special
    objective = _objective(config)
    if config.task.kind == "regression":
        objective = replace(objective, spread=center_and_spread(labels)[1])
    return EncoderDataset(
        ids=Ragged.concatenate([ids for ids, _ in parts]),
        labels=labels,
        tags=Ragged.concatenate([tags for _, tags in parts]),
        layout=BatchLayout(special.pad, special.sep, config.space.num_types).of(examples),
        masking=Masking(special.mask, tuple(sorted(special.everything)), tokenizer.vocab_size),
        objective=objective,
        max_tokens=config.max_tokens,
    )


def _token_ids(
    tokenizer: EncoderTokenizer, examples: Sequence[Example], config: EncoderRunConfig
) -> tuple[Ragged, Ragged]:
    """Return ids of texts, and of a tagging the tag of each piece: that of its word at the first
    piece of a word, `NO_TARGET` elsewhere.
    """
    limit = config.max_tokens
    if config.task.kind != "tagging":
        ids = tokenizer.encode_many([(x.text, x.text_pair) for x in examples], limit)
        return Ragged.of(ids), Ragged.of([])
    ids = []
    tags: list[list[int]] = []
    for example in examples:
        found = tokenizer.encode_words(example.words, limit)
        of_pieces = [NO_TARGET] * len(found.ids)
        for position, tag in zip(found.first_pieces, example.tags, strict=True):
            if position >= 0:  # not cut off
                of_pieces[position] = tag
        ids.append(found.ids)
        tags.append(of_pieces)
    return Ragged.of(ids), Ragged.of(tags)


def label_array(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Classes or numbers of examples, (N,); empty where they have none."""
    return np.array([x.label for x in examples if x.label is not None], dtype=np.float64)


def center_and_spread(labels: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of labels (N,); no labels have 0 and 1, and equal ones 1."""
    if not len(labels):
        return 0.0, 1.0
    # equal ones need not have a standard deviation of 0: three of 0.1 have one of 1.4e-17
    spread = float(labels.std()) if labels.min() < labels.max() else 1.0
    return float(labels.mean()), spread


def made_up_dataset(config: EncoderRunConfig) -> EncoderDataset:
    """One full batch of random texts, always the same, as long as the workload's, as far as
    training takes them; for trials of what a training costs.
    """
    task = config.task
    length = min(config.workload.input_len, config.max_tokens)
    padded = int(_padded_lengths(np.array([length]), config.max_tokens)[0])
    count = max(1, config.training.tokens_per_batch // padded)
    rng = np.random.default_rng(0)
    pad, cls, sep, mask = range(4)
    ids = rng.integers(mask + 1, config.vocab_size, (count, length))
    ids[:, 0] = cls
    ids[:, -1] = sep
    num_outputs = max(task.num_outputs, 1)
    is_tagging = task.kind == "tagging"
    dataset = EncoderDataset(
        ids=Ragged.of(ids),
        labels=rng.integers(0, num_outputs, count).astype(np.float64),
        tags=Ragged.of(rng.integers(0, num_outputs, (count, length)) if is_tagging else []),
        layout=BatchLayout(pad, sep, config.space.num_types),
        masking=Masking(mask, (pad, cls, sep, mask), config.vocab_size),
        objective=_objective(config),
        max_tokens=config.max_tokens,
    )
    if task.kind != "embedding":
        return dataset
    return dataset.with_teacher(list(rng.normal(size=(count, max(config.space.embed_dim)))))


def _objective(config: EncoderRunConfig) -> Objective:
    return Objective(config.task.kind, config.teacher.label_weight)


def _padded_lengths(lengths: Ids, max_tokens: int) -> Ids:
    """Positions that texts of these lengths (N,) take in a batch, (N,)."""
    return np.minimum(-(-lengths // PAD_MULTIPLE) * PAD_MULTIPLE, max_tokens)


def _row_sums(flags: npt.NDArray[np.bool_], offsets: Ids) -> Ids:
    """How many flags of each row are set, (rows,)."""
    sums = np.zeros(len(offsets) - 1, dtype=np.int64)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        # not by a cumulated sum, which takes eight bytes for each token of a corpus
        sums[filled] = np.add.reduceat(flags, offsets[filled], dtype=np.int64)
    return sums
