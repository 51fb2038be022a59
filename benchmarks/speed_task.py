"""What the contenders of translation_speed.py are given: a network, its weights, sentences.

In: sizes. Out: a `Task`, a subnet with lively weights, token ids.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.shortlist import Shortlist
from mosdeploy.families.translation.tokenizer import EOS_ID
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.spec import Precision
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload

NUM_DECODER_LAYERS = {"sub": 2, "base": 6}
NUM_SENTENCES = 5


@dataclass(frozen=True)
class Task:
    """One sentence of `workload.source_len` ids, end included, into `workload.decode_steps` ids, by
    the only architecture of a space.
    """

    space: TranslationSpace
    vocab_size: int
    workload: TranslationWorkload

    @classmethod
    def of(
        cls, model: str, beam: int, threads: int, tiny: bool = False, shortlist: int = 0
    ) -> "Task":
        """The task of a model by its name; `tiny` makes a toy of it."""
        dim, ffn_dim, vocab_size, depth = (64, 128, 500, 1) if tiny else (512, 2048, 32_000, 6)
        space = TranslationSpace(
            encoder_embed_dim=(dim,),
            decoder_embed_dim=(dim,),
            encoder_layers=(depth,),
            decoder_layers=(min(depth, NUM_DECODER_LAYERS[model]),),
            encoder_ffn_dim=(ffn_dim,),
            decoder_ffn_dim=(ffn_dim,),
            encoder_heads=(8,),
            decoder_self_heads=(8,),
            decoder_cross_heads=(8,),
            qkv_dim=dim,
            norm="pre",
        )
        workload = TranslationWorkload(
            source_len=30, decode_steps=30, beam=beam, threads=threads, shortlist=shortlist
        )
        return cls(space, vocab_size, workload)

    @property
    def arch(self) -> TranslationArch:
        """The architecture."""
        arch = self.space.largest
        assert isinstance(arch, TranslationArch)
        return arch

    @property
    def num_steps(self) -> int:
        """Decode steps that are made, no fewer and no more."""
        return self.workload.decode_steps

    @property
    def num_positions(self) -> int:
        """Positions that a model must serve on either side."""
        return max(self.workload.source_len, self.num_steps)

    @property
    def whole(self) -> "Task":
        """The same with the whole vocabulary."""
        return replace(self, workload=self.workload.model_copy(update={"shortlist": 0}))

    @cached_property
    def shortlist(self) -> Shortlist | None:
        """A made-up one, as large as those of real sentences; None where all tokens are scored."""
        count = self.workload.shortlist
        if not count:
            return None
        return Shortlist.made_up(self.vocab_size, count, self.workload.num_frequent)

    def spec(self, precision: Precision = "fp32") -> ModelSpec:
        """The model in a precision."""
        return ModelSpec(self.space, self.vocab_size, self.workload).with_workload(
            precision=precision
        )

    def sentences(self) -> list[list[int]]:
        """Random sources, without end."""
        rng = np.random.default_rng(1)
        length = self.workload.source_len - 1
        return [
            rng.integers(EOS_ID + 1, self.vocab_size, length).tolist() for _ in range(NUM_SENTENCES)
        ]

    def is_lively(self, answers: Sequence[Sequence[int]]) -> bool:
        """Whether no answer ended early, and none repeats itself so much that it would hide a wrong
        cache.
        """
        varied = all(len(ids) == self.num_steps and len(set(ids)) >= 5 for ids in answers)
        return varied and len(set(map(tuple, answers))) > 1


@torch.no_grad()
def lively_subnet(task: Task) -> TranslationSubnet:
    """Weights whose translations change from step to step.

    Norms of random sign break the tie of input and output embedding, sharp attention makes
    positions count, and the end token lies opposite to the last norm's shift, so that it is never
    likely.
    """
    generator = torch.Generator().manual_seed(0)
    subnet = TranslationSubnet(task.arch, task.space, task.vocab_size).eval()
    for name, weight in subnet.named_parameters():
        weight.copy_(_scale(name, weight) * torch.randn(weight.shape, generator=generator))
    assert subnet.decoder.norm is not None
    shift = subnet.decoder.norm.bias
    shift.mul_((512 / len(shift)) ** 0.5)
    subnet.embed.weight[EOS_ID] = -shift
    return subnet


def _scale(name: str, weight: torch.Tensor) -> float:
    """Standard deviation of a weight's values."""
    if "norm.weight" in name:
        return 1.0
    if weight.dim() == 1:
        return 0.1
    sharpness = 3.0 if name.endswith(("q.weight", "k.weight")) else 1.5 if "fc" in name else 1.0
    return sharpness / math.sqrt(weight.shape[1])
