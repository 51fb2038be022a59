"""Pairs on which networks are compared: the references score 100, and a limit keeps the short."""

import itertools
import math

import pytest
import torch
from bundles import sentences
from training_fixtures import pairs, space, vocab_size  # noqa: F401

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import TranslationExportConfig, TranslationRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.scoring import bleu_chrf, scored_examples, translate, words_of
from mosdeploy.families.translation.tokenizer import BOS_ID, EOS_ID, Tokenizer, train_tokenizer
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload

PAIRS = [(text, text) for text in sentences(400, 0)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(PAIRS, 64, path)
    return Tokenizer(path)


def config_of(max_source_len: int) -> TranslationRunConfig:
    limits = TranslationExportConfig(max_source_len=max_source_len, max_decode_steps=40)
    return load_recipe("tiny").model_copy(update={"export": limits})


def test_the_references_are_perfect_and_others_are_not(tokenizer: Tokenizer) -> None:
    scored = scored_examples(tokenizer, PAIRS[:40], config_of(64), TranslationWorkload())
    assert len(scored) == 40
    assert scored.inputs == [source for source, _ in PAIRS[:40]]
    answers = [scored.decode(list(ids)) for ids in scored.input_ids]
    assert scored.metrics(answers) == pytest.approx({"BLEU": 100.0, "chrF": 100.0})
    assert scored.metrics(answers[1:] + answers[:1])["BLEU"] < 50
    assert scored.metric == "BLEU"


def test_a_limit_takes_the_first_that_a_bundle_takes(tokenizer: Tokenizer) -> None:
    scored = scored_examples(tokenizer, PAIRS, config_of(12), TranslationWorkload(), limit=5)
    lengths = [len(tokenizer.encode(source)) for source, _ in PAIRS]
    fitting = [source for (source, _), n in zip(PAIRS, lengths, strict=True) if n <= 12]
    assert max(lengths) > 12
    assert scored.inputs == fitting[:5]


def test_sources_that_are_all_too_long_for_a_bundle_are_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="none of 400 sources has at most"):
        scored_examples(tokenizer, PAIRS, config_of(1), TranslationWorkload(), limit=5)


def test_bleu_by_hand() -> None:
    """Precisions 4/5, 3/4, 2/3, 1/2, no brevity penalty: (0.2) ** (1/4)."""
    scores = bleu_chrf(["a b c d x"], ["a b c d e"])
    assert scores["BLEU"] == pytest.approx(100 * 0.2**0.25)


def test_a_language_without_spaces_has_words_of_its_own() -> None:
    reference, near = "\u6211\u4eec\u4fdd\u5b58\u6587\u4ef6", "\u6211\u4eec\u6253\u5f00\u6587\u4ef6"
    assert bleu_chrf([near], [reference])["BLEU"] == 0  # one word, which is wrong
    for lang in ("zh", "ja", "zho_Hans", "yue-Hant", "jpn_Jpan", "tha", "bur"):
        assert bleu_chrf([near] * 2, [reference, near], words_of(lang))["BLEU"] > 40


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
