"""Examples of a task: splits share no text, and what is wrong in a file is named with its line."""

from pathlib import Path

import pytest
from encoder_task import encoder_config, sentences, write_csv, write_jsonl

from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.examples import (
    EncoderData,
    Example,
    Found,
    Target,
    check_taught,
    load_data,
    target_numbers,
    teach_all,
)

TAGGED = {"tokens": ["press", "the", "Save", "As", "key"], "tags": ["O", "O", "B-UI", "I-UI", "O"]}


def labelled(count: int) -> list[list[object]]:
    return [[text, "yes" if "old" in text else "no"] for text in sentences(count)]


def write_train(folder: Path, rows: list[list[object]]) -> None:
    write_csv(folder / "train.csv", ["text", "label"], rows)


def texts(data: EncoderData) -> list[set[str]]:
    return [{x.text.casefold() for x in split} for split in (data.train, data.valid, data.test)]


def test_splits_share_no_text_and_lose_nothing(tmp_path: Path) -> None:
    rows = labelled(300)
    shouted = [[str(text).upper(), "no"] for text, label in rows if label == "yes"]
    write_train(tmp_path, rows + shouted)
    data = load_data(encoder_config(), tmp_path)
    train, valid, test = texts(data)
    assert not train & valid and not train & test and not valid & test
    assert len(data.train) + len(data.valid) + len(data.test) == len(rows + shouted)
    assert 15 < len(valid) < 50 and 15 < len(test) < 50
    assert data.dropped == {}


def test_pairs_with_the_same_first_text_stay_together(tmp_path: Path) -> None:
    rows = [[f"premise {i // 3}", f"claim {i}", "yes" if i % 2 else "no"] for i in range(300)]
    write_csv(tmp_path / "train.csv", ["premise", "hypothesis", "label"], rows)
    train, valid, test = texts(load_data(encoder_config(), tmp_path))
    assert not train & valid and not train & test and not valid & test
    assert len(train) + len(valid) + len(test) == 100


def test_named_files_are_held_out(tmp_path: Path) -> None:
    rows = labelled(40)
    write_train(tmp_path, [*rows, rows[20]])
    write_csv(tmp_path / "valid.csv", ["text", "label"], [*rows[:4], ["", "no"]])
    write_csv(tmp_path / "test.csv", ["text", "label"], [*rows[3:8], rows[3]])
    config = encoder_config(valid="valid.csv", test="test.csv")
    data = load_data(config, tmp_path)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [32, 3, 6]
    assert data.dropped == {"duplicate": 1, "empty": 1, "held_out": 1 + 8}


def test_examples_by_hand(tmp_path: Path) -> None:
    write_train(tmp_path, [*labelled(60), [' two\n lines, "quoted" ', "yes"]])
    data = load_data(encoder_config(), tmp_path)
    everything = {*data.train, *data.valid, *data.test}
    assert Example('two lines, "quoted"', label=1) in everything
    assert Example("the red house of number-0 is new", label=0) in everything


def test_numbers_stand_for_labels_in_their_order(tmp_path: Path) -> None:
    write_train(tmp_path, labelled(60))
    named = load_data(encoder_config(), tmp_path)
    write_train(tmp_path, [[text, int(label == "yes")] for text, label in labelled(60)])
    assert load_data(encoder_config(), tmp_path) == named
    # labels that are numbers are names, as long as all cells are
    swapped = load_data(encoder_config(labels=["1", "0"]), tmp_path)
    assert [x.label for x in swapped.train] == [1 - x.label for x in named.train]


def test_tsv_and_json_lines_read_like_csv(tmp_path: Path) -> None:
    write_train(tmp_path, labelled(60))
    plain = load_data(encoder_config(), tmp_path)
    write_csv(tmp_path / "train.tsv", ["label", "text"], [row[::-1] for row in labelled(60)])
    assert load_data(encoder_config(train="train.tsv"), tmp_path) == plain
    rows = [{"text": text, "label": label == "yes"} for text, label in labelled(60)]
    write_jsonl(tmp_path / "train.jsonl", [{**row, "more": [1]} for row in rows])
    spelled = encoder_config(train="train.jsonl", labels=["false", "true"])
    found = load_data(spelled, tmp_path)
    assert [found.train, found.valid, found.test] == [plain.train, plain.valid, plain.test]


def test_rows_are_filtered(tmp_path: Path) -> None:
    rows = [[*row, i % 2] for i, row in enumerate(labelled(80))]
    write_csv(tmp_path / "train.csv", ["text", "label", "source"], rows)
    data = load_data(encoder_config(where={"source": "1"}), tmp_path)
    write_train(tmp_path, labelled(80)[1::2])
    assert data.dropped == {"filtered": 40}
    assert load_data(encoder_config(), tmp_path).train == data.train
    with pytest.raises(ConfigError, match=r"no column 'source'; the columns are: 'text', 'label'"):
        load_data(encoder_config(where={"source": "1"}), tmp_path)


def test_tagged_words(tmp_path: Path) -> None:
    rows = [
        {"tokens": [*text.split(), "Save"], "tags": ["O"] * 7 + ["B-UI"]} for text in sentences(60)
    ]
    write_jsonl(tmp_path / "train.jsonl", [*rows, TAGGED])
    config = encoder_config(kind="tagging", train="train.jsonl", labels=["KEY", "UI"])
    data = load_data(config, tmp_path)
    (found,) = [x for x in (*data.train, *data.valid, *data.test) if "press" in x.words]
    assert found.text == "press the Save As key"
    assert found.words == ("press", "the", "Save", "As", "key")
    assert found.tags == (0, 0, 3, 4, 0)  # O, B-KEY, I-KEY, B-UI, I-UI
    write_csv(
        tmp_path / "train.csv",
        ["tokens", "tags"],
        [[" ".join(cell) for cell in row.values()] for row in [*rows, TAGGED]],  # type: ignore[arg-type]
    )
    config = encoder_config(kind="tagging", labels=["KEY", "UI"])
    assert load_data(config, tmp_path).train == data.train


def test_pairs_and_numbers(tmp_path: Path) -> None:
    rows: list[list[object]] = [[text, text[::-1], i / 2] for i, text in enumerate(sentences(60))]
    write_csv(tmp_path / "train.csv", ["first", "second", "score"], rows)
    config = encoder_config(kind="regression", text="first", text_pair="second", label="score")
    data = load_data(config, tmp_path)
    everything = [*data.train, *data.valid, *data.test]
    assert {x.label for x in everything} == {i / 2 for i in range(60)}
    assert all(x.text_pair == x.text[::-1] for x in everything)
    assert everything[0].line == f"{everything[0].text}\t{everything[0].text_pair}"


@pytest.mark.parametrize(
    "columns", [("sentence", None), ("question1", "question2"), ("premise", "hypothesis")]
)
def test_columns_of_glue_need_no_names(tmp_path: Path, columns: tuple[str, str | None]) -> None:
    second = columns[1]
    rows = [
        {columns[0]: text, **({second: "a " + text} if second else {}), "label": i % 2, "idx": i}
        for i, text in enumerate(sentences(60))
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    data = load_data(encoder_config(train="train.jsonl"), tmp_path)
    example = data.train[0]
    assert example.text in sentences(60)
    assert example.text_pair == (f"a {example.text}" if second else None)


@pytest.mark.parametrize("kind", ["embedding", "masked-lm"])
def test_plain_lines_need_no_labels(tmp_path: Path, kind: str) -> None:
    (tmp_path / "lines.en").write_text("\n".join([*sentences(60), "", "again", "again"]))
    data = load_data(encoder_config(kind=kind, train="lines.en"), tmp_path)
    assert data.dropped == {"duplicate": 1, "empty": 1}
    assert set.union(*texts(data)) == {*sentences(60), "again"}
    assert data.train[0].label is None
    with pytest.raises(ConfigError, match=r"'lines.en' does not end in \.csv, \.tsv, \.jsonl"):
        load_data(encoder_config(train="lines.en"), tmp_path)


def test_the_digest_follows_what_a_supernet_depends_on(tmp_path: Path) -> None:
    write_train(tmp_path, labelled(60))

    def digest(config: EncoderRunConfig) -> str:
        return load_data(config, tmp_path).sha256

    config = encoder_config()
    teacher = config.teacher.model_copy(update={"steps": 7})
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    started = config.model_copy(
        update={"checkpoint": config.checkpoint.model_copy(update={"path": "checkpoint"})}
    )
    digests = [digest(config), digest(config.model_copy(update={"teacher": teacher}))]
    digests += [digest(encoder_config(labels=["no", "yes", "perhaps"])), digest(started)]
    (folder / "config.json").write_text('{"changed": 1}')
    digests.append(digest(started))
    assert len(set(digests)) == 5
    (tmp_path / "train.csv").rename(tmp_path / "moved.csv")
    assert digest(encoder_config(train="moved.csv")) == digests[0]


def test_rare_classes_are_trained_on(tmp_path: Path) -> None:
    # each is said to be another thing, too: no text is in two splits
    rare = "".join(f"a rare text {i},rare {i}\na rare text {i},no\n" for i in range(12))
    write_train(tmp_path, labelled(60))
    path = tmp_path / "train.csv"
    path.write_text(path.read_text() + rare)
    labels = ["no", "yes", *(f"rare {i}" for i in range(12))]
    data = load_data(encoder_config(labels=labels, valid_fraction=0.3), tmp_path)
    assert {x.label for x in data.train} >= set(range(2, 14))
    train, valid, test = texts(data)
    assert valid and not (train & valid or train & test or valid & test)


def test_held_out_texts_are_in_no_passage_of_others(tmp_path: Path) -> None:
    """Before they are joined: their words stand at other places of the passages then."""
    lines = [f"line {i} holds a few words of its own" for i in range(60)]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "valid.txt").write_text("\n".join(x.upper() for x in lines[5:35:2]))
    (tmp_path / "test.txt").write_text("\n".join(lines[5:12:2]))
    config = encoder_config(
        kind="masked-lm",
        train="train.txt",
        valid="valid.txt",
        test="test.txt",
        passage_words=16,
    )
    data = load_data(config, tmp_path)

    def numbers(part: str) -> set[str]:
        return {x for e in getattr(data, part) for x in e.text.split() if x.isdigit()}

    test, valid = {str(i) for i in range(5, 12, 2)}, {str(i) for i in range(13, 35, 2)}
    assert (numbers("test"), numbers("valid")) == (test, valid)
    assert numbers("train") == {str(i) for i in range(60)} - test - valid
    assert data.dropped == {"held_out": 4 + 15}
    (tmp_path / "valid.txt").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="no example is left to train on"):
        load_data(config, tmp_path)


def test_training_examples_of_several_files(tmp_path: Path) -> None:
    for name, rows in (("a.csv", labelled(60)[:30]), ("b.csv", labelled(60)[30:])):
        write_csv(tmp_path / name, ["text", "label"], rows)
    write_train(tmp_path, labelled(60))
    together = load_data(encoder_config(), tmp_path)
    assert load_data(encoder_config(train=["a.csv", "b.csv"]), tmp_path) == together
    (tmp_path / "b.csv").write_text("text,label\n")
    with pytest.raises(ConfigError, match=r"task\.train 'b\.csv' holds no example"):
        load_data(encoder_config(train=["a.csv", "b.csv"]), tmp_path)


def test_a_published_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "glue"
    folder.mkdir()
    rows = [{"sentence": text, "label": i % 2, "idx": i} for i, text in enumerate(sentences(60))]
    write_jsonl(folder / "train.jsonl", rows)
    published = load_data(encoder_config(train=f"datasets:{folder}/default/train"), tmp_path)
    assert published == load_data(encoder_config(train="glue/train.jsonl"), tmp_path)
    with pytest.raises(ConfigError, match="row 1: no column 'title'; the columns are: 'sentence'"):
        load_data(encoder_config(train=f"datasets:{folder}/default/train", text="title"), tmp_path)


@pytest.mark.parametrize("kind", ["embedding", "masked-lm"])
def test_articles_and_sentences_become_passages(tmp_path: Path, kind: str) -> None:
    articles, lines = ([f"{name}{i}" for i in range(40)] for name in ("article", "line"))
    rows = [{"title": "first", "text": " ".join(articles[:30])}, {"text": " ".join(articles[30:])}]
    write_jsonl(tmp_path / "articles.jsonl", rows)
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    sources = ["articles.jsonl", "lines.txt"]
    config = encoder_config(
        kind=kind, train=sources, passage_words=16, valid_fraction=0.3, test_fraction=0.0
    )
    data = load_data(config, tmp_path)
    words = [*articles, *lines]
    found = sorted(
        (x.text.split() for x in data.train + data.valid), key=lambda x: words.index(x[0])
    )
    assert [word for passage in found for word in passage] == words
    assert [len(passage) for passage in found] == [16, 16, 8, 16, 16, 8]


# -- targets


def found(*targets: Target) -> list[Found]:
    return [Found(f"line {i}", Example(f"text {i}"), x) for i, x in enumerate(targets, start=2)]


def test_classes_that_begin_like_tags_are_told_apart() -> None:
    task = encoder_config(labels=["B-cell", "I-cell"]).task
    check_taught(found("B-cell", "I-cell"), found("I-cell"), task)
    with pytest.raises(ConfigError, match="all 2 examples have the label 'B-cell'"):
        check_taught(found("B-cell", "B-cell"), [], task)
    train, split_off = found("B-cell"), found("I-cell")
    teach_all(train, [split_off])
    assert (len(train), split_off) == (2, [])


def test_begin_and_inside_are_one_type_of_entity() -> None:
    task = encoder_config(kind="tagging", labels=["UI", "I-KEY"]).task
    train = found(("O", "B-UI"), ("B-I-KEY",))
    check_taught(train, found(("I-UI", "I-I-KEY")), task)
    with pytest.raises(ConfigError, match="no training example has the label 'I-KEY'"):
        check_taught(train[:1], found(("I-I-KEY",)), task)


@pytest.mark.parametrize(
    ("labels", "cells", "stranger"),
    [(["1", "2", "3"], "1210", "0"), (["-1", "1"], "01", "0"), (["1", "2"], "10", "0")],
)
def test_one_odd_row_makes_no_positions_of_labels_that_are_digits(
    labels: list[str], cells: str, stranger: str
) -> None:
    where = f"line {cells.index(stranger) + 2}: column 'label' holds '{stranger}'; .* it may hold"
    with pytest.raises(ConfigError, match=where):
        target_numbers(found(*cells), encoder_config(labels=labels).task)


# -- bad input

GOOD = "text,label\n" + "".join(f"{text},{label}\n" for text, label in labelled(60))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence1,label\nx,yes\n", r"line 2: no column 'text'; the columns are: 'sentence1'"),
        (GOOD + "x,maybe\n", r"line 62: column 'label' holds 'maybe'; .* yes, or .* 1 if no row"),
        (GOOD + '"two\nlines",yes\nx\n', r"line 64: 1 cells for 2 columns"),
        ("text,label,label\nx,yes,no\n", r"line 1: two columns are called 'label'"),
        ("", r"task\.train 'train\.csv' holds no example"),
        ("text,label\nx,yes\nzw\udcf6lf,no\n", r"train\.csv, line 3: not UTF-8"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "train.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    (tmp_path / "valid.csv").write_text("text,label\nanother,yes\n")
    with pytest.raises(ConfigError, match=message):
        load_data(encoder_config(valid="valid.csv", test_fraction=0.0), tmp_path)


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("tagging", '{"tokens": ["a", "b"], "tags": ["O"]}', "2 words in 'tokens' and 1 tags"),
        ("tagging", '{"tokens": ["a"], "tags": ["E-UI"]}', "column 'tags' holds 'E-UI'"),
        ("tagging", '{"tokens": ["a", " "], "tags": ["O", "O"]}', "an empty word, number 2"),
        ("tagging", '["press"]', "no JSON object"),
        ("regression", '{"text": "a", "label": "high"}', "holds 'high'; regression needs a number"),
        ("regression", '{"label": 1, "text": "a", "label": 2}', "the key 'label' is there twice"),
        ("regression", r'{"text": "a \uD800", "label": 1}', "half of a character"),
        ("regression", '{"text": ["a"], "label": 1}', r"column 'text' holds \['a'\], no text"),
        ("regression", '{"text": "a", "label"', "not JSON"),
        ("classification", '{"text": "a", "label": null}', "column 'label' holds ''"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, kind: str, line: str, message: str) -> None:
    labels = {"tagging": ["UI"], "classification": ["1", "null"]}
    good = '{"text": "b", "label": 1, "tokens": ["Save"], "tags": ["B-UI"]}\n'
    (tmp_path / "train.jsonl").write_text(good + line)
    config = encoder_config(kind=kind, train="train.jsonl", labels=labels.get(kind, []))
    with pytest.raises(ConfigError, match=rf"train\.jsonl, line 2: .*{message}"):
        load_data(config, tmp_path)
