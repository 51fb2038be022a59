"""A run file that fits a parallel corpus."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from walking import write_corpus

from mosdeploy.config import parse_run_config
from mosdeploy.config.sections import SupernetConfig
from mosdeploy.config.translation import TranslationRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.corpus import load_corpus
from mosdeploy.families.translation.plan import SIZES, choose_size, corpus_files, plan_run
from mosdeploy.families.translation.tokenizer import train_tokenizer
from mosdeploy.family import DataRequest, RunPlan

FILES = ("data/train.en", "data/train.de")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "data")
    return folder


@pytest.fixture(scope="module")
def plan(root: Path) -> RunPlan:
    return plan_run(DataRequest(FILES, root))


def parsed(plan: RunPlan) -> TranslationRunConfig:
    config = parse_run_config(tomllib.loads(plan.text), "plan")
    assert isinstance(config, TranslationRunConfig)
    return config


def test_what_was_found_is_told(plan: RunPlan) -> None:
    """500 lines of three number words, all different."""
    assert plan.facts["languages"] == "en to de (from the suffixes)"
    counts = [int(word) for word in plan.facts["pairs"].split() if word.isdigit()]
    assert sum(counts) == 500
    assert plan.facts["dropped"] == "none"
    assert plan.facts["size"].startswith("tiny")


def test_the_run_file_fits_the_data(plan: RunPlan) -> None:
    config = parsed(plan)
    # so little text yields fewer tokens than the size has
    assert config.vocab_size < SIZES["tiny"].vocab_size
    assert f"of {SIZES['tiny'].vocab_size:,} as size tiny has" in plan.text
    assert config.max_tokens == 16
    assert 3 <= config.workload.source_len <= config.max_tokens
    assert config.training.budget == SIZES["tiny"].min_steps
    assert (config.corpus.valid_fraction, config.corpus.test_fraction) == (0.1, 0.1)


def test_the_vocabulary_is_that_of_the_text_which_train_reads(tmp_path: Path) -> None:
    """A few long lines, of other words, are left out."""
    rng = np.random.default_rng(1)
    names = [f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in "nrstv"]
    words = [names[:100], names[100:]]
    lines = [" ".join(rng.choice(words[0], 3)) for _ in range(900)]
    lines[:4] = [" ".join(rng.choice(words[1], 400)) for _ in range(4)]
    for side in ("en", "de"):
        (tmp_path / f"train.{side}").write_text("\n".join(f"{line} {side}" for line in lines))
    config = parsed(plan_run(DataRequest(("train.en", "train.de"), tmp_path)))
    corpus = load_corpus(config.corpus, tmp_path)
    assert corpus.dropped["too_long"] > 0
    train_tokenizer(corpus.train, config.vocab_size, tmp_path / "tokenizer.model")


def test_a_table_of_pairs_is_planned_as_two_files_are(root: Path, plan: RunPlan) -> None:
    sources, targets = ((root / name).read_text().splitlines() for name in FILES)
    lines = [f"{source}\t{target}\n" for source, target in zip(sources, targets, strict=True)]
    (root / "pairs.tsv").write_text("".join(lines))
    found = plan_run(DataRequest(("pairs.tsv",), root, languages=("en", "de")))
    assert found.facts["pairs"] == plan.facts["pairs"]
    table = parsed(found)
    assert (table.corpus.format, table.corpus.train) == ("tsv", "pairs.tsv")
    assert table.model_copy(update={"corpus": parsed(plan).corpus}) == parsed(plan)


def test_a_time_changes_the_steps_alone(plan: RunPlan) -> None:
    twice = parsed(plan.scaled(2.0, "as long as asked"))
    once = parsed(plan)
    assert once.training.budget is not None
    assert twice.training.budget == 2 * once.training.budget
    assert twice.model_copy(update={"training": once.training}) == once


def test_what_is_read_a_few_times_needs_no_dropout(plan: RunPlan) -> None:
    """500 pairs of the 1,500 steps of `tiny` are read hundreds of times."""
    often = parsed(plan)
    assert often.supernet.dropout == SupernetConfig().dropout == 0.1
    assert "learned by heart" in plan.text
    seldom = plan.scaled(0.01, "a minute")
    assert parsed(seldom).supernet.dropout == 0.0
    assert "too seldom to be learned by heart" in seldom.text
    assert parsed(seldom.scaled(100.0, "as before")).supernet.dropout == 0.1


def test_several_winners_share_a_supernet_that_does_not_decay(root: Path, plan: RunPlan) -> None:
    four = parsed(plan_run(DataRequest(FILES, root, num_winners=4))).training
    one = parsed(plan).training
    assert one.budget is not None
    assert four.budget == 4 * one.budget
    assert (four.num_winners, four.schedule, four.sandwich) == (4, "constant", "none")
    assert (one.num_winners, one.schedule, one.sandwich) == (1, "cosine", "both")
    # ten validations on the way of either supernet
    assert four.validate_every == pytest.approx(0.038 * four.budget, abs=1)


def test_large_validation_files_are_read_seldom(root: Path, tmp_path: Path) -> None:
    """What two subnets read at each validation is at most what the supernet reads in between."""
    for side in ("en", "de"):
        lines = (root / f"data/train.{side}").read_text().splitlines()
        longer = [f"{line} {line}" for line in lines]  # none that is trained on
        (tmp_path / f"valid.{side}").write_text(20 * "\n".join([*longer, ""]))
    plan = plan_run(DataRequest(FILES, root, valid=str(tmp_path / "valid")))
    # 7% of 1,500 steps of 512 tokens, for 10,000 pairs of 4 tokens or more, twice
    assert parsed(plan).training.validate_every == pytest.approx(0.035 * 1500, abs=1)
    assert "2 times on the way of the supernet" in plan.text
    week = parsed(plan.scaled(100.0, "a week"))
    assert week.training.validate_every == pytest.approx(0.007 * 150_000, abs=10)


@pytest.mark.parametrize("name", SIZES)
def test_every_size_is_a_run_file(root: Path, name: str) -> None:
    config = parsed(plan_run(DataRequest(FILES, root, size=name)))
    assert max(config.space.encoder_embed_dim) == max(SIZES[name].dims)
    assert config.space.num_architectures > 500


def test_larger_corpora_choose_larger_sizes() -> None:
    chosen = [choose_size(None, number, True)[0] for number in (10**3, 10**5, 10**6, 10**7)]
    assert chosen == list(SIZES)
    assert choose_size(None, 10**7, has_gpu=False)[0] == "small"
    assert choose_size("large", 10, has_gpu=False) == ("large", "as asked")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("one\n" * 30, "eins\n" * 30, "no validation examples"),
        ("\n".join(map(str, range(60))), "\n".join(f"a{i}" for i in range(60)), "are too few"),
        (
            "\n".join(f"{i} " * 300 for i in range(300)),
            "\n".join(f"a{i} " * 300 for i in range(300)),
            "100.0% have more than 256 tokens",
        ),
    ],
)
def test_bad_files_are_named(tmp_path: Path, first: str | bytes, second: str, message: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / FILES[0]).write_bytes(first if isinstance(first, bytes) else first.encode())
    (tmp_path / FILES[1]).write_text(second)
    with pytest.raises(ConfigError, match=message):
        plan_run(DataRequest(FILES, tmp_path))


def test_an_unknown_size_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown size 'huge'; known: tiny, small, base, large"):
        plan_run(DataRequest(("gone.en", "gone.de"), tmp_path, size="huge"))


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()


NAMED = ("train.en", "train.de")
PACKED = ("train.en.gz", "train.de.gz")


@pytest.mark.parametrize(
    ("names", "beside", "asked", "languages", "valid"),
    [
        (NAMED, "dev.en dev.de test.en", {}, ("en", "de"), "dev"),
        (NAMED, "dev.en", {}, ("en", "de"), None),  # one side is missing
        (NAMED, "valid.en valid.de", {"valid": "last"}, ("en", "de"), "last"),
        *((NAMED, "", {"valid": f"x{end}"}, ("en", "de"), "x") for end in (".en", ".de.gz", "")),
        (NAMED, "dev.en dev.de", {"languages": ("xx", "yy")}, ("xx", "yy"), None),
        (PACKED, "valid.en.gz valid.de.gz", {}, ("en", "de"), "valid"),
        (("a.en", "b.pt_BR"), "", {}, ("en", "pt_BR"), None),
        (("english.txt", "german.txt"), "", {}, ("source", "target"), None),
        (("train.en-fr.tsv",), "valid.en-fr.tsv", {}, ("en", "fr"), "valid.en-fr.tsv"),
        (("train.tsv",), "", {"languages": ("xx", "yy")}, ("xx", "yy"), None),
        (("my-pairs.tsv",), "valid.tsv", {}, ("source", "target"), None),
        (("red-hat.en-fr.tsv",), "", {}, ("source", "target"), None),
    ],
)
def test_names_of_files_tell_languages_and_held_out_files(
    tmp_path: Path,
    names: tuple[str, ...],
    beside: str,
    asked: dict[str, Any],
    languages: tuple[str, str],
    valid: str | None,
) -> None:
    for name in (*names, *beside.split()):
        (tmp_path / name).touch()
    found = corpus_files(DataRequest(names, tmp_path, **asked))
    assert found.format == ("tsv" if len(names) == 1 else "text")
    assert found.train == (names[0] if len(names) == 1 else names)
    assert (found.languages, found.valid, found.test) == (languages, valid, None)
    assert ("say --languages" in found.told_by) == (languages == ("source", "target"))


def test_files_in_the_other_order_than_the_languages_are_swapped(tmp_path: Path) -> None:
    for name in ("train.de", "train.en", "valid.de", "valid.en"):
        (tmp_path / name).touch()
    request = DataRequest(("train.de", "train.en"), tmp_path, languages=("en", "de"))
    found = corpus_files(request)
    assert (found.languages, found.train, found.valid) == (("en", "de"), NAMED, "valid")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gone.en", "gone.de"), r"gone\.en: no such file"),
        (("a.txt",), r"a\.txt: one file of a parallel corpus is a \.tsv"),
        (("a.txt", "b.txt", "c.txt"), "got a.txt, b.txt"),
        (("a.txt", "a.txt"), "two files, one a language"),
    ],
)
def test_other_files_are_no_corpus(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=message):
        corpus_files(DataRequest(names, tmp_path))
