"""What a translation bundle's graph depends on beside architecture, weights and workload."""

from dataclasses import dataclass

from ...config.translation import TranslationRunConfig
from ...export.onnx.model import GraphOptions
from ...family import TaskData
from ...spaces.translation_workload import TranslationWorkload
from .dataset import tokenize_pairs
from .shortlist import Shortlist
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class TranslationGraphOptions(GraphOptions):
    """The options of all families, and the shortlist if the workload has one."""

    shortlist: Shortlist | None = None


def graph_options(
    config: TranslationRunConfig,
    workload: TranslationWorkload,
    data: TaskData,
    tokenizer: Tokenizer,
) -> TranslationGraphOptions:
    """Positions for the longest source with its end token, for the most decode steps, and for those
    of the workload, with which the bundle is timed; the length penalty; a shortlist from the
    training pairs, if the workload has one.
    """
    limits = config.export
    shortlist = None
    if workload.shortlist:
        shortlist = Shortlist.learn(
            tokenize_pairs(tokenizer, data.train, config),
            vocab_size=tokenizer.vocab_size,
            num_tokens=workload.shortlist,
            num_frequent=workload.num_frequent,
        )
    return TranslationGraphOptions(
        max_positions=max(
            limits.max_source_len + 1,
            limits.max_decode_steps,
            workload.source_len,
            workload.decode_steps,
        ),
        length_penalty=limits.length_penalty,
        shortlist=shortlist,
    )
