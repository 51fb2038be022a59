"""How good a network is: validation loss, translations, BLEU and chrF.

In: a network and token ids, or texts. Out: numbers, or token ids. This file trains nothing and
reads no file.

Shapes: B sentences, K hypotheses a sentence (beam), S source positions, T target positions so far,
V vocabulary.
"""

from collections.abc import Sequence

import sacrebleu
import torch
from torch import Tensor
from torch.nn import functional as F

from ...spaces.translation import TranslationArch
from ...supernet.supernet import Supernet
from .dataset import Batch, pad_rows
from .network import Subnet
from .tokenizer import BOS_ID, EOS_ID, PAD_ID

MAX_BATCH_TOKENS = 4096  # source positions times hypotheses that are decoded at a time


@torch.no_grad()
def validation_loss(
    model: Supernet | Subnet, batches: Sequence[Batch], arch: TranslationArch | None = None
) -> float:
    """Mean negative log-likelihood of the target tokens, in nats a token; no label smoothing, no
    dropout.

    Parameters
    ----------
    model
        A supernet, or a plain subnet. It comes back in the mode (training or not) it was in.
    arch
        The architecture to run of a supernet; None for a subnet.

    Raises
    ------
    ValueError
        If there are no batches, or a supernet comes without an architecture, or a subnet with one.
    """
    if not batches or isinstance(model, Supernet) != (arch is not None):
        raise ValueError(
            "validation_loss needs batches, and an architecture with a Supernet and only with it"
        )
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=device)
    for part in batches:
        batch = part.to(device)
        logits = model(batch.src, batch.prev, *([arch] if arch else []))  # (B, T, V)
        total += F.cross_entropy(
            logits.flatten(0, 1).float(),
            batch.target.flatten(),
            ignore_index=PAD_ID,
            reduction="sum",
        )
    model.train(was_training)
    return total.item() / sum(batch.num_tokens for batch in batches)


@torch.inference_mode()
def translate(
    subnet: Subnet,
    sources: Sequence[Sequence[int]],
    beam: int,
    max_steps: int,
    length_penalty: float,
) -> list[list[int]]:
    """Translate piece ids into piece ids, in the order given; the answer for a sentence does not
    depend on the others.

    `beam = 1` is greedy: from the begin token, the most likely token at each step (the lowest id on
    ties), up to the end token or `max_steps` tokens. No token is banned. See `_beam_search` for
    wider beams.

    Parameters
    ----------
    sources
        Piece ids as `Tokenizer.encode` gives them: without end, which is added here.
    length_penalty
        A finished hypothesis scores sum of log p / length ** length_penalty; the length counts the
        end token.

    Returns
    -------
    list of list of int
        Piece ids without begin and end.
    """
    device = next(subnet.parameters()).device
    subnet.eval()
    answers: list[list[int]] = [[] for _ in sources]
    for group in _by_length(sources, MAX_BATCH_TOKENS // beam):
        src = pad_rows([[*sources[i], EOS_ID] for i in group]).to(device)  # (B, S)
        ids = (
            _greedy(subnet, src, max_steps)
            if beam == 1
            else _beam_search(subnet, src, beam, max_steps, length_penalty)
        )
        for i, row in zip(group, ids.tolist(), strict=True):
            answers[i] = row[: row.index(EOS_ID)] if EOS_ID in row else row
    return answers


def bleu_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Corpus BLEU and chrF, 0 to 100, as the sacrebleu command prints them with its default
    options.

    BLEU: 13a tokeniser, case-sensitive, exponential smoothing. chrF: chrF2, character order 6, no
    word n-grams (the sacrebleu signature chrF2). One reference a hypothesis.

    Raises
    ------
    ValueError
        If there are none, or not as many of one as of the other.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    bleu = sacrebleu.corpus_bleu(list(hypotheses), [list(references)])
    chrf = sacrebleu.corpus_chrf(list(hypotheses), [list(references)])
    return bleu.score, chrf.score


# -- decoding --------------------------------------------------------------------------------------
# ----------------


def _by_length(sources: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Indices of the sources, longest first, in groups of at most `max_tokens` padded positions (or
    one sentence).
    """
    groups: list[list[int]] = []
    for i in sorted(range(len(sources)), key=lambda i: -len(sources[i])):
        if groups and (len(groups[-1]) + 1) * (len(sources[groups[-1][0]]) + 1) <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _greedy(subnet: Subnet, src: Tensor, max_steps: int) -> Tensor:
    state = subnet.start(subnet.encode(src))
    token = torch.full((len(src), 1), BOS_ID, device=src.device)  # (B, 1)
    ended = torch.zeros_like(token, dtype=torch.bool)  # (B, 1)
    ids: list[Tensor] = []
    while len(ids) < max_steps and not ended.all():
        logits, state = subnet.step(token, state)  # (B, V)
        token = logits.argmax(-1, keepdim=True)  # (B, 1)
        ended |= token == EOS_ID
        ids.append(token)
    return torch.cat(ids, dim=1) if ids else token[:, :0]  # (B, T)


def _beam_search(
    subnet: Subnet, src: Tensor, beam: int, max_steps: int, length_penalty: float
) -> Tensor:
    """Ids (B, T) of the best hypothesis of each sentence, filled up with end.

    Each step continues the K live hypotheses by every token and keeps the best 2K. Those that end
    join the K best finished ones; the K best of the others live on. A sentence is closed, and
    changes no more, once K finished ones score no less than the best live one would if it were cut
    here. At `max_steps` the live ones are cut and join.
    """
    num, negative = len(src), torch.tensor(-torch.inf, device=src.device)
    rows = torch.arange(num, device=src.device)[:, None]  # (B, 1)
    state = subnet.start(subnet.encode(src)).reorder(rows.expand(num, beam).flatten())  # B * K rows
    live = torch.full((num, beam, 1), BOS_ID, device=src.device)  # (B, K, 1 + T)
    live_sum = negative.repeat(num, beam)  # (B, K), sum of log p
    live_sum[:, 0] = 0.0  # the hypotheses start equal: only one counts
    done = torch.full((num, beam, 1), EOS_ID, device=src.device)  # (B, K, 1 + T)
    done_score = negative.repeat(num, beam)  # (B, K)
    is_open = torch.ones_like(rows, dtype=torch.bool)  # (B, 1)
    for step in range(1, max_steps + 1):
        logits, state = subnet.step(live[:, :, -1].reshape(-1, 1), state)  # (B * K, V)
        log_p = logits.float().log_softmax(-1).view(num, beam, -1)  # (B, K, V)
        sums, index = (live_sum[:, :, None] + log_p).flatten(1).topk(2 * beam)  # (B, 2K)
        parent, token = index // log_p.shape[-1], index % log_p.shape[-1]  # (B, 2K)
        grown = torch.cat([live[rows, parent], token[:, :, None]], dim=-1)  # (B, 2K, 1 + T)
        ends, length = token == EOS_ID, float(step) ** length_penalty
        may_finish = is_open & (torch.ones_like(ends) if step == max_steps else ends)
        pool = torch.cat(
            [done_score, torch.where(may_finish, sums / length, negative)], dim=1
        )  # (B, 3K)
        done_score, best = pool.topk(beam)  # (B, K)
        done = torch.cat([F.pad(done, (0, 1), value=EOS_ID), grown], dim=1)[rows, best]
        live_sum, best = torch.where(ends, negative, sums).topk(beam)  # (B, K)
        live = grown[rows, best]
        is_open = is_open & (done_score[:, -1:] < live_sum[:, :1] / length)
        if not is_open.any():
            break
        state = state.reorder((rows * beam + parent[rows, best]).flatten())
    return done[:, 0, 1:]  # (B, T)
