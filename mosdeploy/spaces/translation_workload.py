"""What one latency number of a translation stands for, and how many tokens a step then scores."""

from typing import ClassVar

from pydantic import Field

from .spec import Precision, Workload

MAX_SHORTLIST = 1000
"""Target tokens listed for each source token, at most."""


class TranslationWorkload(Workload):
    """One sentence, so many tokens in, so many steps out."""

    precisions: ClassVar[tuple[Precision, ...]] = (
        "fp32",
        "fp32-int4-logits",
        "int8",
        "int8-int4-logits",
        "int4",
    )

    source_len: int = Field(30, ge=1, le=4096)
    decode_steps: int = Field(30, ge=1, le=4096)
    beam: int = Field(1, ge=1, le=64)
    shortlist: int = Field(0, ge=0, le=MAX_SHORTLIST, exclude_if=lambda count: count == 0)

    @property
    def is_exact(self) -> bool:
        """Whether every token is scored, in float."""
        return super().is_exact and not self.shortlist

    @property
    def answer_passes(self) -> int:
        """Twice a step of decoding: 28 to 33 passes for 16 steps on an Intel Xeon."""
        return 2 * self.decode_steps

    @property
    def label(self) -> str:
        """What tells it from others of the same space, in a file's name."""
        return f"-beam{self.beam}" + (f"-shortlist{self.shortlist}" if self.shortlist else "")

    @property
    def num_frequent(self) -> int:
        """Tokens of a shortlist that every sentence may use: enough to continue a beam."""
        return 2 * max(self.shortlist, self.beam)

    def num_scored(self, vocab_size: int) -> int:
        """Target tokens that a step scores, with a shortlist about."""
        if not self.shortlist:
            return vocab_size
        return min(vocab_size, self.num_frequent + self.source_len * num_own(self.shortlist))


def num_own(shortlist: int) -> int:
    """How many of the target tokens listed for a source token no other token of the sentence
    lists.
    """
    return -(-shortlist // 2)
