import itertools
import math

import pytest
import torch
from training_fixtures import pairs, space, vocab_size  # noqa: F401

from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.tokenizer import BOS_ID, EOS_ID
from mosdeploy.spaces.translation import TranslationSpace


@pytest.fixture
def subnet(space: TranslationSpace, vocab_size: int) -> TranslationSubnet:
    """Random weights, large enough for sentences to differ, some of which end early."""
    torch.manual_seed(9)
    subnet = TranslationSubnet(space.largest, space, vocab_size).eval()
    with torch.no_grad():
        for name, weight in subnet.named_parameters():
            weight.mul_(3 if "fc" in name or "attn." in name else 1)
    return subnet


@pytest.fixture
def sources(pairs: TranslationDataset) -> list[list[int]]:
    return [pairs.sources[i].tolist() for i in range(20)]


@torch.no_grad()
def slow_greedy(subnet: TranslationSubnet, source: list[int], max_steps: int) -> list[int]:
    """The definition, without cache or padding."""
    ids: list[int] = []
    for _ in range(max_steps):
        logits = subnet(
            torch.tensor([[*source, EOS_ID]]), torch.tensor([[BOS_ID, *ids]])
        )  # (1, T, V)
        token = int(logits[0, -1].argmax())
        if token == EOS_ID:
            break
        ids.append(token)
    return ids


@torch.no_grad()
def scores(
    subnet: TranslationSubnet, source: list[int], rows: list[tuple[int, ...]], length_penalty: float
) -> list[float]:
    """Of hypotheses of one length, by the definition."""
    ids = torch.tensor(rows)  # (N, T)
    prev = torch.cat([torch.full((len(rows), 1), BOS_ID), ids[:, :-1]], dim=1)
    log_p = subnet(torch.tensor([[*source, EOS_ID]] * len(rows)), prev).log_softmax(-1)  # (N, T, V)
    sums = log_p.gather(2, ids[:, :, None]).sum((1, 2))  # (N,)
    return (sums / ids.shape[1] ** length_penalty).tolist()


def test_greedy_is_argmax_step_by_step(subnet: TranslationSubnet, sources: list[list[int]]) -> None:
    answers = translate(subnet, sources, beam=1, max_steps=8, length_penalty=0.0)
    assert answers == [slow_greedy(subnet, source, 8) for source in sources]
    lengths = {len(answer) for answer in answers}
    assert 8 in lengths and len(lengths) > 1


@pytest.mark.parametrize("beam", [1, 4])
def test_an_answer_does_not_depend_on_the_others(
    subnet: TranslationSubnet, sources: list[list[int]], beam: int
) -> None:
    def answer(sources: list[list[int]]) -> list[list[int]]:
        return translate(subnet, sources, beam, max_steps=8, length_penalty=0.6)

    together = answer(sources)
    assert answer(sources[::-1]) == together[::-1]
    assert [answer([source])[0] for source in sources] == together


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.5])
def test_a_beam_as_wide_as_the_tree_finds_the_best(
    space: TranslationSpace, sources: list[list[int]], length_penalty: float
) -> None:
    vocab_size = 6
    steps = 3
    torch.manual_seed(5)
    subnet = TranslationSubnet(space.largest, space, vocab_size).eval()
    with torch.no_grad():
        subnet.embed.weight.mul_(2)
    others = [token for token in range(vocab_size) if token != EOS_ID]
    small = [[4 + token % 2 for token in source] for source in sources[:8]]
    answers = translate(subnet, small, beam=40, max_steps=steps, length_penalty=length_penalty)
    for source, answer in zip(small, answers, strict=True):
        best: tuple[float, tuple[int, ...]] = (-math.inf, ())
        for length in range(1, steps + 1):
            last = range(vocab_size) if length == steps else [EOS_ID]
            rows = [
                (*body, end)
                for body in itertools.product(others, repeat=length - 1)
                for end in last
            ]
            best = max(best, *zip(scores(subnet, source, rows, length_penalty), rows, strict=True))
        assert answer == [token for token in best[1] if token != EOS_ID]


@pytest.mark.parametrize("beam", [1, 2])
def test_edges(subnet: TranslationSubnet, beam: int) -> None:
    assert translate(subnet, [], beam, max_steps=5, length_penalty=0.6) == []
    assert translate(subnet, [[5, 6], [7]], beam, max_steps=0, length_penalty=0.6) == [[], []]
    (answer,) = translate(subnet, [[]], beam, max_steps=1, length_penalty=0.6)
    assert len(answer) <= 1
