"""The documentation says what the code does: its Python runs, its commands and keys exist."""

import base64
import dataclasses
import inspect
import json
import re
import runpy
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from pages import PAGES, PYTHON_PAGES, ROOT

import mosdeploy
from mosdeploy.cli.app import app
from mosdeploy.config import RUN_CONFIGS
from mosdeploy.config.device import DeviceProfile, MeasureProtocol
from mosdeploy.family import Family
from mosdeploy.workspace import CONFIG_NAME

NOTEBOOKS = tuple(sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")))
# mkdocs checks the links of the others
OUTSIDE_THE_SITE = (*sorted(ROOT.glob("*.md")), ROOT / "predictors" / "README.md")
PYTHON_PAGE, FAMILY_PAGE = PYTHON_PAGES
API_PAGE = ROOT / "docs" / "reference" / "api.md"
TROUBLE_PAGE = ROOT / "docs" / "troubleshooting.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^    |`|-m |/)mosdeploy ((?:[a-z]|-)[^`#|\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
KEY = re.compile(r"`\[?([a-z]+)\]?[. ]([a-z_0-9]+)(?: = [^`]*)?`")


def ids(pages: tuple[Path, ...]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def test_python_blocks_run_and_print_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "\n".join(BLOCK.findall(PYTHON_PAGE.read_text(encoding="utf-8")))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, PYTHON_PAGE.name, "exec"), {})
    printed = capsys.readouterr().out
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert len(promised) > 5
    for comment in promised:
        for part in comment.split("..."):  # what is left out
            assert part.strip() in printed


def test_words_of_a_new_family_run() -> None:
    blocks = BLOCK.findall(FAMILY_PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 2
    code = "\n".join(blocks)
    exec(compile(code, FAMILY_PAGE.name, "exec"), {"__name__": "words"})


def test_family_page_names_every_callable() -> None:
    text = FAMILY_PAGE.read_text(encoding="utf-8")
    callables = {field.name for field in dataclasses.fields(Family)} - {"name"}
    assert set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)) >= callables


def test_reference_names_every_verb() -> None:
    text = API_PAGE.read_text(encoding="utf-8")
    verbs = [name for name in vars(mosdeploy.RunFolder) if not name.startswith("_")]
    rows = {verb: re.search(rf"^\| `{verb}\(\)` \| .*$", text, re.MULTILINE) for verb in verbs}
    for verb in set(verbs) - {"root", "config"}:
        row = rows[verb]
        assert row, f"no row for {verb}"
        options = inspect.signature(getattr(mosdeploy.RunFolder, verb)).parameters
        for option in set(options) - {"self", "lines", "options"}:
            assert f"`{option}`" in row[0], f"{verb} does not tell of {option}"


def test_reference_names_everything_public() -> None:
    text = API_PAGE.read_text(encoding="utf-8")
    assert not [name for name in mosdeploy.__all__ if f"`{name}`" not in text]


# -- notebooks


def site() -> dict[str, Any]:
    """What the site makes pages of notebooks with."""
    return runpy.run_path(str(ROOT / "docs" / "hooks" / "notebooks.py"))


def test_a_page_shows_what_a_notebook_was_saved_with() -> None:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    outputs = [
        {"output_type": "stream", "text": ["one\n", "two\n"]},
        {"output_type": "display_data", "data": {"text/plain": ["train: 1 of 1"]}},
        {"output_type": "execute_result", "data": {"text/html": ["<table>"], "text/plain": "x"}},
        {"output_type": "execute_result", "data": {"image/svg+xml": "<svg>", "text/plain": "x"}},
    ]
    code = {"cell_type": "code", "source": ["a\n", "b"], "outputs": outputs}
    text = {"cell_type": "markdown", "source": "# Title\n\n[devices](../devices.md)"}
    assert site()["to_markdown"]({"cells": [text, code]}).split("\n\n") == [
        "# Title",
        "[devices](../devices.md)",
        "```python\na\nb\n```",
        "```text\none\ntwo\n```",
        "```text\ntrain: 1 of 1\n```",
        '<div><table class="notebook"></div>',
        f'<img alt="" src="data:image/svg+xml;base64,{base64.b64encode(b"<svg>").decode()}">\n',
    ]


@pytest.mark.parametrize("page", NOTEBOOKS, ids=ids(NOTEBOOKS))
def test_notebooks_were_saved_as_they_ran(page: Path) -> None:
    """In one go or not at all, without an error, on a machine that is not named."""
    text = page.read_text(encoding="utf-8")
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    counts = [cell["execution_count"] for cell in code]
    assert counts == ([*range(1, len(code) + 1)] if outputs else [None] * len(code))
    assert all(output["output_type"] != "error" for output in outputs)
    charts = sum("image/svg+xml" in output.get("data", {}) for output in outputs)
    assert charts == bool(outputs)
    for place in ("/tmp/", "/root/", str(Path.home())):
        assert place not in text


def commands() -> list[tuple[str, str]]:
    return [
        (str(page.relative_to(ROOT)), words.strip())
        for page in (*PAGES, *NOTEBOOKS)
        for words in COMMAND.findall(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("page", "words"), commands())
def test_every_command_and_option_exists(page: str, words: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in words.split():
        if word.startswith("-"):
            option = word.partition("=")[0].rstrip(",.;:")
            known = {name for x in command.params for name in (*x.opts, *x.secondary_opts)}
            assert option in known | {"--help"}, f"{page}: `mosdeploy {words}`"
        elif hasattr(command, "commands"):  # a group
            name = word.rstrip(",.;:")
            assert name in command.commands, f"{page}: `mosdeploy {words}`"
            command = command.commands[name]


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=ids((*PAGES, *NOTEBOOKS)))
def test_a_step_of_training_has_one_name_on_pages(page: Path) -> None:
    assert "updates" not in page.read_text(encoding="utf-8").lower()


def test_sizes_have_binary_units_in_messages(source: str) -> None:
    assert re.search(r"\b[MG]iB\b", source)
    assert re.findall(r".*\b[MG]B\b.*", source) == []


def benchmarks() -> list[tuple[str, str]]:
    """Script and options of every command line, those of continued lines too."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(r"^ +python benchmarks/(\w+)\.py(.*)$", text, re.MULTILINE)
    return found


@pytest.mark.parametrize(("script", "words"), benchmarks())
def test_every_benchmark_has_the_options_it_is_called_with(script: str, words: str) -> None:
    folder = ROOT / "benchmarks"
    text = (folder / f"{script}.py").read_text(encoding="utf-8")
    beside = {path.stem: path for path in folder.glob("*.py")}
    for name in re.findall(r"^from (\w+) import", text, re.MULTILINE):
        if name in beside:
            text += beside[name].read_text(encoding="utf-8")
    for option in re.findall(r"--[a-z-]+", words):
        assert f'"{option}"' in text or f'"{option.replace("--no-", "--")}"' in text


def sections() -> dict[str, set[str]]:
    """Keys of each section of a run file, of whatever family."""
    found = {"measure": set(MeasureProtocol.model_fields)}
    for config in RUN_CONFIGS.values():
        hints = get_type_hints(config)
        for name in config.model_fields:
            keys = set(getattr(hints.get(name), "model_fields", ()))
            if keys:
                found[name] = found.get(name, set()) | keys
    return found


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_key_of_a_section_exists(page: Path) -> None:
    known = sections()
    for section, key in KEY.findall(page.read_text(encoding="utf-8")):
        if section in known and key not in ("toml", "json", "jsonl", "pt", "py"):
            assert key in known[section], f"[{section}] {key}"


def test_every_key_of_a_device_profile_is_explained() -> None:
    text = (ROOT / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
    keys = [name for name in DeviceProfile.model_fields if name != "measure"]
    keys += [f"measure.{name}" for name in MeasureProtocol.model_fields]
    missing = [key for key in keys if f"`{key}`" not in text]
    assert not missing


@pytest.fixture(scope="module")
def source() -> str:
    """The package, with each string that goes over several lines on one."""
    files = Path(mosdeploy.__file__).parent.rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    joined = re.sub(r"""["']\s*\n\s*f?["']""", "", text)
    return joined.replace("{CONFIG_NAME}", CONFIG_NAME)


def messages() -> list[str]:
    """What the page on trouble quotes: first column of its tables, in backticks."""
    return re.findall(r"^\| `(.+?)` \|", TROUBLE_PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("message", messages())
def test_every_quoted_message_is_one_that_mosdeploy_has(source: str, message: str) -> None:
    parts = [part for part in message.split("...") if part]
    assert sum(map(len, parts)) >= 10, "too little to tell it from other messages"
    assert re.search(".*".join(map(re.escape, parts)), source)


def test_the_page_on_trouble_is_short() -> None:
    assert 15 <= len(messages()) <= 25


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts and mkdocs make it."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.mark.parametrize("page", OUTSIDE_THE_SITE, ids=ids(OUTSIDE_THE_SITE))
def test_links_outside_the_site_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link
