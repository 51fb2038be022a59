import pytest

from mosdeploy.runtime.sentences import joined, sentences_of


@pytest.mark.parametrize(
    ("sentences", "gap"),
    [
        (["The cat sees.", "The dog runs!", "Why?", "So."], " "),
        (["Pi is 3.14 or so;", "e.g.", "this"], " "),
        (['He sees "a dog."', "The 'house.'", "(Yes.)", "No"], " "),
        (["Er sagt:", "„Nein.“", "„Doch!“", "Gut."], " "),
        (["« Oui ! »", "dit-il.", "Non."], " "),
        (["Wait...", "What?!", "No\u2026", "Yes"], " "),
        (["बिल्ली घर है।", "कुत्ता लाल है॥", "घर"], " "),
        (["گربه خانه است؟", "سگ سرخ است؛", "خانه."], " "),
        (["یہ گھر ہے۔", "بلی سرخ ہے۔"], " "),
        (["家。", "猫！", "犬？！", "山"], ""),
        (["「行こう。」", "家です（本当。）", "「山。」", "と言う。"], ""),
        (["“走。”", "他说：“好！”", "家"], ""),
        (["家。", "猫。"], " "),
    ],
)
def test_sentences_end_behind_what_closes_them(sentences: list[str], gap: str) -> None:
    expected = [("" if i == 0 else gap, sentence) for i, sentence in enumerate(sentences)]
    assert list(sentences_of(gap.join(sentences))) == expected


@pytest.mark.parametrize("text", ["", "no end", "a.b.c", "one sentence.", "家。", "3.14", '"'])
def test_a_text_of_one_sentence_stays_whole(text: str) -> None:
    assert list(sentences_of(text)) == ([("", text)] if text else [])


@pytest.mark.parametrize(
    "text", [". " * 9, "。" * 9 + "!", "a. 」 b。 」 c", ".)" * 5 + " x。。 。"]
)
def test_nothing_is_lost(text: str) -> None:
    text = text.strip()
    assert "".join(f"{gap}{sentence}" for gap, sentence in sentences_of(text)) == text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a house.", "a cat."], "a house. a cat."),
        (["", "a house.", "", "a cat.", ""], "a house. a cat."),
        ([], ""),
        (["家。", "猫。", "犬"], "家。猫。犬"),
        (["何ですか?", "はい!", "「猫」"], "何ですか?はい!「猫」"),
        (["家です(本当)", "(猫)です"], "家です(本当)(猫)です"),
        (["家です。", "Linux です。"], "家です。Linux です。"),
        (["Linux", "家"], "Linux 家"),
        (["집입니다.", "고양이."], "집입니다. 고양이."),
        (["घर है।", "बिल्ली"], "घर है। बिल्ली"),
        (["\u2047", "家"], "\u2047 家"),
    ],
)
def test_a_space_stands_between_texts_where_their_script_writes_one(
    texts: list[str], expected: str
) -> None:
    assert joined(texts) == expected
