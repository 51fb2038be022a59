"""Translating with a torch subnet: greedy and beam search, the reference that bundles are
held to.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.batches import pad_rows
from ...runtime.execution import group_by_length
from ...supernet.elastic import Subnet
from .network import TranslationSubnet
from .shortlist import Shortlist
from .tokenizer import BOS_ID, EOS_ID, PAD_ID

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
