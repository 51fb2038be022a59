from bundles import sentences

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import TranslationExportConfig
from mosdeploy.families.translation.corpus import Corpus
from mosdeploy.families.translation.graph_options import TranslationGraphOptions, graph_options
from mosdeploy.families.translation.tokenizer import Tokenizer, train_tokenizer
from mosdeploy.spaces.translation_workload import TranslationWorkload

PAIRS = tuple((text, text) for text in sentences(200, 0))


SHORT = TranslationWorkload(source_len=8, decode_steps=8)


def options_of(
    tokenizer: Tokenizer, workload: TranslationWorkload = SHORT, **limits: float
) -> TranslationGraphOptions:
    config = load_recipe("tiny").model_copy(update={"export": TranslationExportConfig(**limits)})
    corpus = Corpus(PAIRS, PAIRS[:1], (), {}, "")
    return graph_options(config, workload, corpus, tokenizer)


def test_positions_penalty_and_shortlist_follow_the_config_and_workload(tmp_path) -> None:
    train_tokenizer(PAIRS, 64, tmp_path / "tokenizer.model")
    tokenizer = Tokenizer(tmp_path / "tokenizer.model")
    # positions serve the end token too
    assert options_of(tokenizer, max_source_len=20, max_decode_steps=20).max_positions == 21
    assert options_of(tokenizer, max_source_len=20, max_decode_steps=30).max_positions == 30
    # a bundle is timed with as many tokens as the workload has
    limits = {"max_source_len": 20, "max_decode_steps": 20}
    for update in ({"source_len": 40}, {"decode_steps": 40}):
        workload = SHORT.model_copy(update=update)
        assert options_of(tokenizer, workload, **limits).max_positions == 40
    assert options_of(tokenizer, length_penalty=1.5).length_penalty == 1.5
    assert options_of(tokenizer).shortlist is None
    learned = options_of(tokenizer, SHORT.model_copy(update={"shortlist": 5})).shortlist
    assert learned is not None
    assert learned.table.shape == (64, 5) and learned.frequent.shape == (10,)
