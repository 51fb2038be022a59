"""Texts as token ids with their targets, and padded batches of them."""

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

from ...config.encoder import EncoderRunConfig
from ...data.batches import pad_rows
from ...data.ragged import Ragged
from ...storage import atomic_file
from .batch import NO_TARGET, EncoderBatch, Objective, token_types
from .examples import Example
from .label_scale import center_and_spread
from .masking import Masking
from .tokenizer import EncoderTokenizer

Floats = npt.NDArray[np.float32]
_CHUNK = 65_536  # texts tokenised at a time

PAD_MULTIPLE = 8
"""Texts of a training batch are padded to a multiple of so many positions: then batches have few
shapes, and the kernels that are compiled for each shape on a CPU in bf16 are used again.
"""


def padded_lengths(lengths: npt.NDArray[np.int64], max_tokens: int) -> npt.NDArray[np.int64]:
    """Positions that texts of these lengths (N,) take in a batch, (N,)."""
    return np.minimum(-(-lengths // PAD_MULTIPLE) * PAD_MULTIPLE, max_tokens)


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
    def lengths(self) -> npt.NDArray[np.int64]:
        """Positions that each text takes in a batch, a multiple of `PAD_MULTIPLE` or `max_tokens`,
        (N,).
        """
        return padded_lengths(self.ids.lengths, self.max_tokens)

    @property
    def tie_lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, special ones included, (N,)."""
        return self.ids.lengths

    @cached_property
    def num_targets(self) -> npt.NDArray[np.int64]:
        """Of each text 1, its judged tags or its hidden pieces, (N,)."""
        if self.objective.kind == "tagging":
            return _row_sums(self.tags.flat != NO_TARGET, self.tags.offsets)
        if self.objective.kind == "masked-lm":
            flags = self.masking.may_hide(self.ids.flat)
            return self.masking.num_hidden(_row_sums(flags, self.ids.offsets))
        return np.ones(len(self), dtype=np.int64)

    def batch(self, rows: npt.NDArray[np.int64]) -> EncoderBatch:
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
        input_ids, attention_mask, types = self.layout.inputs(texts, width)
        return EncoderBatch(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=types,
            labels=labels,
            teacher=self._teacher_of(rows, width),
            num_targets=int(self.num_targets[rows].sum()),
            objective=self.objective,
        )

    def with_teacher(self, outputs: Sequence[npt.ArrayLike]) -> "EncoderDataset":
        """The same texts with a teacher's outputs."""
        arrays = [np.asarray(output, dtype=np.float32) for output in outputs]
        of_pieces = self.objective.kind == "tagging"
        found = [len(array) for array in arrays] if of_pieces else [1] * len(arrays)
        if self.objective.kind == "masked-lm" or found != (
            self.ids.lengths.tolist() if of_pieces else [1] * len(self)
        ):
            raise ValueError(f"{len(arrays)} outputs of a teacher do not fit {len(self)} texts")
        return replace(self, teacher=(np.concatenate if of_pieces else np.stack)(arrays))

    def save(self, path: Path) -> None:
        """Write everything into one file of numpy arrays."""
        parts = {name: asdict(getattr(self, name)) for name in ("layout", "masking", "objective")}
        settings = {**parts, "max_tokens": self.max_tokens}
        arrays = {
            "settings": np.array(json.dumps(settings)),
            "ids": self.ids.flat,
            "ids_offsets": self.ids.offsets,
            "labels": self.labels,
            "tags": self.tags.flat,
            "tags_offsets": self.tags.offsets,
        }
        if self.teacher is not None:
            arrays["teacher"] = self.teacher
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def open(cls, path: Path) -> "EncoderDataset":
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            settings = json.loads(str(arrays["settings"]))
            masking = settings["masking"]
            masking["special_ids"] = tuple(masking["special_ids"])
            return cls(
                ids=Ragged(arrays["ids"], arrays["ids_offsets"]),
                labels=arrays["labels"],
                tags=Ragged(arrays["tags"], arrays["tags_offsets"]),
                layout=BatchLayout(**settings["layout"]),
                masking=Masking(**masking),
                objective=Objective(**settings["objective"]),
                max_tokens=settings["max_tokens"],
                teacher=arrays.get("teacher"),
            )

    def _teacher_of(self, rows: npt.NDArray[np.int64], width: int) -> Tensor | None:
        if self.teacher is None:
            return None
        if self.objective.kind != "tagging":
            return torch.from_numpy(self.teacher[rows])  # (B, C) or (B, d)
        offsets = self.ids.offsets
        parts = [self.teacher[offsets[i] : offsets[i + 1]] for i in rows]
        padded = np.zeros((len(rows), width, self.teacher.shape[1]), np.float32)
        for i, part in enumerate(parts):
            padded[i, : len(part)] = part
        return torch.from_numpy(padded)  # (B, S, C)


def tokenize(
    tokenizer: EncoderTokenizer, examples: Sequence[Example], config: EncoderRunConfig
) -> EncoderDataset:
    """Turn examples into token ids; texts of more than `task.max_tokens` are cut."""
    # as lists, ids take ten times what they take as an array
    parts = [
        _token_ids(tokenizer, examples[start : start + _CHUNK], config)
        for start in range(0, len(examples), _CHUNK)
    ]
    labels = label_array(examples)
    objective = _objective(config)
    if config.task.kind == "regression":
        objective = replace(objective, spread=center_and_spread(labels)[1])
    return EncoderDataset(
        ids=Ragged.concatenate([ids for ids, _ in parts]),
        labels=labels,
        tags=Ragged.concatenate([tags for _, tags in parts]),
        layout=batch_layout(tokenizer, config).of(examples),
        masking=Masking(
            mask_id=tokenizer.special.mask,
            special_ids=tuple(sorted(tokenizer.special.everything)),
            vocab_size=tokenizer.vocab_size,
        ),
        objective=objective,
        max_tokens=config.max_tokens,
    )


def _token_ids(
    tokenizer: EncoderTokenizer, examples: Sequence[Example], config: EncoderRunConfig
) -> tuple[Ragged, Ragged]:
    """Ids of texts, and of their pieces the tags that they are asked for."""
    limit = config.max_tokens
    tags: list[list[int]] = []
    if config.task.kind == "tagging":
        ids = []
        for example in examples:
            found = tokenizer.encode_words(example.words, limit)
            of_pieces = [NO_TARGET] * len(found.ids)
            for position, tag in zip(found.first_pieces, example.tags, strict=True):
                if position >= 0:  # not cut off
                    of_pieces[position] = tag
            ids.append(found.ids)
            tags.append(of_pieces)
    else:
        ids = tokenizer.encode_many([(x.text, x.text_pair) for x in examples], limit)
    return Ragged.of(ids), Ragged.of(tags)


def label_array(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Classes or numbers of examples, (N,); empty where they have none."""
    return np.array([x.label for x in examples if x.label is not None], dtype=np.float64)


def batch_layout(tokenizer: EncoderTokenizer, config: EncoderRunConfig) -> BatchLayout:
    """The layout that a tokenizer and a space ask for."""
    special = tokenizer.special
    return BatchLayout(special.pad, special.sep, config.space.num_types)


def made_up_dataset(config: EncoderRunConfig) -> EncoderDataset:
    """One full batch of random texts, always the same, as long as the workload's, as far as
    training takes them; for trials of what a training costs.
    """
    task = config.task
    length = min(config.workload.input_len, config.max_tokens)
    padded = int(padded_lengths(np.array([length]), config.max_tokens)[0])
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
    return Objective(config.task.kind, config.teacher.label_weight, config.teacher.temperature)


def _row_sums(
    flags: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """How many flags of each row are set, (rows,)."""
    sums = np.zeros(len(offsets) - 1, dtype=np.int64)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        # not by a cumulated sum, which takes eight bytes for each token of a corpus
        sums[filled] = np.add.reduceat(flags, offsets[filled], dtype=np.int64)
    return sums
