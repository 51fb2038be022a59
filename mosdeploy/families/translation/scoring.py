"""Translations of a torch subnet, and pairs on which networks are compared by BLEU and chrF."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import sacrebleu
import torch
from torch import Tensor
from torch.nn import functional as F

from ...config.translation import TranslationRunConfig
from ...data.batches import pad_rows
from ...errors import ConfigError
from ...export.parity import Shortcut
from ...family import ScoredExamples
from ...runtime.execution import group_by_length
from ...spaces.translation import TranslationWorkload
from ...supernet.elastic import Subnet
from .network import TranslationSubnet
from .shortlist import Shortlist, TranslationGraphOptions
from .tokenizer import BOS_ID, EOS_ID, PAD_ID, Tokenizer

# -- translating: greedy and beam search, the reference that bundles are held to


MAX_BATCH_TOKENS = 4096  # source positions times hypotheses that are decoded at a time


@torch.inference_mode()
def translate(
    subnet: Subnet,
    sources: Sequence[Sequence[int]],
    beam: int,
    max_steps: int,
    length_penalty: float,
    shortlist: Shortlist | None = None,
) -> list[list[int]]:
    """Translate token ids into token ids, in the order given; the answer for a sentence does not
    depend on the others.
    """
    assert isinstance(subnet, TranslationSubnet)
    device = next(subnet.parameters()).device
    subnet.eval()
    answers: list[list[int]] = [[] for _ in sources]
    lengths = [len(ids) + 1 for ids in sources]
    for group in group_by_length(lengths, len(sources), MAX_BATCH_TOKENS // beam):
        src = pad_rows([[*sources[i], EOS_ID] for i in group], PAD_ID).to(device)  # (B, S)
        penalties = _penalties(src, shortlist)
        if beam == 1:
            ids = _greedy(subnet, src, max_steps, penalties)  # (B, T)
        else:
            # (B, T)
            ids = _beam_search(subnet, src, beam, max_steps, length_penalty, penalties)
        for i, row in zip(group, ids.tolist(), strict=True):
            answers[i] = row[: row.index(EOS_ID)] if EOS_ID in row else row
    return answers


def _penalties(src: Tensor, shortlist: Shortlist | None) -> Tensor:
    """Return what to add to the logits of each sentence, (B, V): minus infinity where the shortlist
    lacks the token; without a shortlist (1, 1), zero.
    """
    if shortlist is None:
        return torch.zeros(1, 1, device=src.device)
    allowed = torch.from_numpy(shortlist.allowed(src.cpu().numpy())).to(src.device)
    return torch.where(allowed, 0.0, -torch.inf)


def _greedy(subnet: TranslationSubnet, src: Tensor, max_steps: int, penalties: Tensor) -> Tensor:
    state = subnet.start(subnet.encode(src))
    token = torch.full((len(src), 1), BOS_ID, device=src.device)  # (B, 1)
    ended = torch.zeros_like(token, dtype=torch.bool)  # (B, 1)
    ids: list[Tensor] = []
    while len(ids) < max_steps and not ended.all():
        logits, state = subnet.step(token, state)  # (B, V)
        token = (logits + penalties).argmax(-1, keepdim=True)  # (B, 1)
        ended |= token == EOS_ID
        ids.append(token)
    return torch.cat(ids, dim=1) if ids else token[:, :0]  # (B, T)


def _beam_search(
    subnet: TranslationSubnet,
    src: Tensor,
    beam: int,
    max_steps: int,
    length_penalty: float,
    penalties: Tensor,
) -> Tensor:
    """Ids (B, T) of the best hypothesis of each sentence, filled up with end."""
    num = len(src)
    negative = torch.tensor(-torch.inf, device=src.device)
    rows = torch.arange(num, device=src.device)[:, None]  # (B, 1)
    state = subnet.start(subnet.encode(src)).reorder(rows.expand(num, beam).flatten())  # B * K rows
    live = torch.full((num, beam, 1), BOS_ID, device=src.device)  # (B, K, 1 + T)
    live_sum = negative.repeat(num, beam)  # (B, K), sum of log p
    live_sum[:, 0] = 0.0  # the hypotheses start equal: only one counts
    done = torch.full((num, beam, 1), EOS_ID, device=src.device)  # (B, K, 1 + T)
    done_score = negative.repeat(num, beam)  # (B, K)
    is_open = torch.ones_like(rows, dtype=torch.bool)  # (B, 1)
    penalties = penalties[:, None]  # (B, 1, V)
    for step in range(1, max_steps + 1):
        logits, state = subnet.step(live[:, :, -1].reshape(-1, 1), state)  # (B * K, V)
        logits = logits.float().view(num, beam, -1) + penalties  # (B, K, V)
        log_p = logits.log_softmax(-1)  # (B, K, V)
        sums, index = (live_sum[:, :, None] + log_p).flatten(1).topk(2 * beam)  # (B, 2K)
        parent = index // log_p.shape[-1]  # (B, 2K), which hypothesis is continued
        token = index % log_p.shape[-1]  # (B, 2K), by which token
        longer = torch.cat([live[rows, parent], token[:, :, None]], dim=-1)  # (B, 2K, 1 + T)
        ends = token == EOS_ID  # (B, 2K)
        length = float(step) ** length_penalty
        # 2K continuations leave K live ones even if K of them end here
        may_finish = is_open & (torch.ones_like(ends) if step == max_steps else ends)
        finished_score = torch.where(may_finish, sums / length, negative)  # (B, 2K)
        done_score, best = torch.cat([done_score, finished_score], dim=1).topk(beam)  # (B, K)
        pool = torch.cat([F.pad(done, (0, 1), value=EOS_ID), longer], dim=1)  # (B, 3K, 1 + T)
        done = pool[rows, best]  # (B, K, 1 + T)
        live_sum, best = torch.where(ends, negative, sums).topk(beam)  # (B, K)
        live = longer[rows, best]  # (B, K, 1 + T)
        is_open = is_open & (done_score[:, -1:] < live_sum[:, :1] / length)
        if not is_open.any():
            break
        state = state.reorder((rows * beam + parent[rows, best]).flatten())
    return done[:, 0, 1:]  # (B, T)


# -- scores


USUAL_WORDS = "13a"
_WORDS = dict.fromkeys(("zh", "zho", "chi", "cmn", "yue", "wuu"), "zh") | dict.fromkeys(
    ("ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bur"), "char"
)
"""By target language that has no spaces between words, as two letters or three, what tells its
words apart for BLEU: 13a would take a clause for a word. sacrebleu's own choice for Japanese
needs a package.
"""


def words_of(target_lang: str) -> str:
    """Name sacrebleu's tokeniser of a target language."""
    return _WORDS.get(target_lang.replace("-", "_").partition("_")[0].lower(), USUAL_WORDS)


def bleu_chrf(
    hypotheses: Sequence[str], references: Sequence[str], words: str = USUAL_WORDS
) -> dict[str, float]:
    """Corpus BLEU and chrF, 0 to 100, as the sacrebleu command prints them with its default
    options.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    bleu = sacrebleu.corpus_bleu(list(hypotheses), [list(references)], tokenize=words)
    chrf = sacrebleu.corpus_chrf(list(hypotheses), [list(references)])
    return {"BLEU": bleu.score, "chrF": chrf.score}


MAX_SHORTLIST_DROP = 0.1
"""Of BLEU, that a shortlist may cost."""

_ADVICE = "list more tokens (--shortlist 100), or score the whole vocabulary (--shortlist 0)"


def scored_examples(
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    config: TranslationRunConfig,
    workload: TranslationWorkload,
    limit: int | None = None,
    options: TranslationGraphOptions | None = None,
) -> ScoredExamples:
    """Source sentences with their references, translated at the beam of a workload."""
    limits = config.export
    ids = tokenizer.encode_many([source for source, _ in pairs])
    rows = list(range(len(pairs)))
    if limit is not None:
        rows = [i for i in rows if len(ids[i]) <= limits.max_source_len][:limit]
        if pairs and not rows:
            raise ConfigError(
                f"none of {len(pairs)} sources has at most export.max_source_len = "
                f"{limits.max_source_len} tokens, the most that a bundle takes; raise it"
            )
    references = [pairs[i][1] for i in rows]

    words = words_of(config.corpus.target_lang)
    setup = "greedy" if workload.beam == 1 else f"beam {workload.beam}"
    shortlist = options.shortlist if options else None

    def predict(
        subnet: Any, sources: list[list[int]], allowed: Shortlist | None = shortlist
    ) -> list[list[int]]:
        steps = limits.max_decode_steps
        penalty = limits.length_penalty
        return translate(subnet, sources, workload.beam, steps, penalty, shortlist=allowed)

    return ScoredExamples(
        inputs=[pairs[i][0] for i in rows],
        input_ids=[ids[i] for i in rows],
        predict=predict,
        decode=tokenizer.decode,
        metrics=lambda outputs: bleu_chrf(outputs, references, words),
        metric="BLEU",
        setup=setup if words == USUAL_WORDS else f"{setup}, BLEU of sacrebleu's tokeniser {words}",
        shortcut=Shortcut(
            name=f"a shortlist of {workload.shortlist}",
            exact=partial(predict, allowed=None),
            max_drop=MAX_SHORTLIST_DROP,
            advice=_ADVICE,
        )
        if shortlist
        else None,
    )
