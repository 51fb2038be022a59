"""Passages of equal length for training on text alone.

In: texts of any length, from sentences to articles. Out: passages of so many words.
"""

from collections.abc import Iterable, Iterator


def passages(texts: Iterable[str], num_words: int) -> Iterator[str]:
    """Join texts and cut them into passages of `num_words` words; the last one may be shorter.

    Words are what white space separates. A passage may hold the end of one text and the beginning
    of the next, as in RoBERTa's training (Liu et al. 2019, "full sentences").

    Examples
    --------
    >>> list(passages(["one two three", "four", "five six"], 2))
    ['one two', 'three four', 'five six']
    """
    words: list[str] = []
    for text in texts:
        words += text.split()
        whole = len(words) - len(words) % num_words
        for start in range(0, whole, num_words):
            yield " ".join(words[start : start + num_words])
        del words[:whole]
    if words:
        yield " ".join(words)
