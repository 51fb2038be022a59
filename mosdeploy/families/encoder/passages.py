"""Passages of equal length for training on text alone."""

from collections.abc import Iterable, Iterator


def passages(texts: Iterable[str], num_words: int) -> Iterator[str]:
    """Join texts and cut them into passages of `num_words` words; the last one may be shorter."""
    words: list[str] = []
    for text in texts:
        words += text.split()
        whole = len(words) - len(words) % num_words
        for start in range(0, whole, num_words):
            yield " ".join(words[start : start + num_words])
        del words[:whole]
    if words:
        yield " ".join(words)
