"""A model whose translations are trained on (sequence-level distillation, Kim & Rush 2016)."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from ...config.translation import TranslationRunConfig
from ...errors import BundleError, ConfigError, MosdeployError, StaleInputError
from ...family import TaskData, num_cores
from ...record import load_json, read_json
from ...runtime import BundleError as RuntimeBundleError
from ...runtime import Translator
from ...runtime.manifest import MANIFEST_NAME
from ...storage import append_line, fingerprint, read_lines, sha256_bytes
from .corpus import Pair, clean, teacher_folder, teacher_sha256

CHUNK = 512
"""Sources that are translated at a time, and that a kill costs at most."""
DEFAULT_BEAM = 5
CTRANSLATE2_FILE = "model.bin"
SOURCE_MODELS = ("source.spm", "source.model", "sentencepiece.model", "spm.model")
"""Where the SentencePiece model of the source may lie beside a CTranslate2 model: OPUS-MT's name
first, then those of models with one for both languages.
"""
TARGET_MODELS = ("target.spm", "target.model", "sentencepiece.model", "spm.model")
VOCABULARIES = ("shared_vocabulary", "source_vocabulary")
"""Names without .json or .txt of what holds the tokens of the source."""
LANGUAGE = re.compile(r">>([^<>\s]+)<<")
"""The token for a target language that a source of a multilingual OPUS-MT model begins with."""
OTHER_LANGUAGE = re.compile(r"__[a-z]{2,3}__|[a-z]{3}_[A-Z][a-z]{3}|[a-z]{2}_XX")
"""A token for a language of M2M-100, NLLB or mBART: `__fr__`, `fra_Latn`, `fr_XX`."""

MAX_BATCH_TOKENS = 1024
"""Source tokens that CTranslate2 translates at a time."""
UNKNOWN = "\u2047"
"""What SentencePiece writes for an unknown token."""

_Pieces = list[list[str]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TranslationTeacher:
    """A model that translates, and its settings in words."""

    setup: str
    translate: Callable[[Sequence[str]], Sequence[str]]


def distill(
    data: TaskData,
    config: TranslationRunConfig,
    root: Path,
    folder: Path,
    show: Callable[[int, int], None],
) -> Sequence[Pair]:
    """Return the training pairs, whose targets are the teacher's translations if there is one.

    The answers are kept in `folder`, so that a killed run goes on and later commands read them.
    """
    if config.teacher.path is None:
        return data.train
    sources = [source for source, _ in data.train]
    answers = _answers(sources, config, root, folder, show)
    if not answers:
        raise ConfigError(
            f"teacher.path '{config.teacher.path}': none of its translations is worth training on; "
            "is it trained, and for these languages?"
        )
    originals = data.train if config.teacher.data == "both" else ()
    return list(dict.fromkeys([*originals, *answers]))


def _answers(
    sources: Sequence[str],
    config: TranslationRunConfig,
    root: Path,
    folder: Path,
    show: Callable[[int, int], None],
) -> list[Pair]:
    """Translate the chunks that are not yet in the file of these sources and this teacher."""
    name = fingerprint(
        sha256_bytes("\n".join(sources).encode()),
        teacher_sha256(config, root),
        config.teacher.beam,
        config.corpus.max_tokens,
        config.export.max_decode_steps,
    )
    path = folder / f"answers-{name[:16]}.jsonl"
    answered = _read_answers(path)
    starts = range(0, len(sources), CHUNK)
    if len(answered) < len(starts):
        teacher = open_teacher(config, root, config.training.threads or num_cores())
        show(min(len(answered) * CHUNK, len(sources)), len(sources))
        for start in starts[len(answered) :]:
            chunk = sources[start : start + CHUNK]
            answered.append(answered_pairs(chunk, teacher.translate(chunk), config))
            append_line(path, answered[-1])
            show(start + len(chunk), len(sources))
        num_pairs = sum(map(len, answered))
        text = "%s, %s: %d of %d sources translated well enough to train on"
        _log.info(text, config.teacher.path, teacher.setup, num_pairs, len(sources))
    return [pair for chunk in answered for pair in chunk]


def _read_answers(path: Path) -> list[list[Pair]]:
    """Read the pairs of each chunk, in order."""
    try:
        chunks = [load_json(line) for line in read_lines(path)[0]]
        return [[(source, target) for source, target in chunk] for chunk in chunks]
    except (ValueError, TypeError, RecursionError) as error:
        raise StaleInputError(
            f"{path} is corrupt ({error}); delete it and run the same command again"
        ) from error


def answered_pairs(
    sources: Sequence[str], translations: Sequence[str], config: TranslationRunConfig
) -> list[Pair]:
    """Pair sources with translations and clean them as training pairs are; leave out translations
    with an unknown token.
    """
    answers = zip(sources, translations, strict=True)
    # normalising would make question marks of the unknown token's mark
    pairs = [pair for pair in answers if UNKNOWN not in pair[1]]
    return clean(pairs, config.corpus, Counter())


def open_teacher(config: TranslationRunConfig, root: Path, threads: int) -> TranslationTeacher:
    """Open the bundle or the CTranslate2 model that `teacher.path` names."""
    folder = teacher_folder(config, root)
    if (folder / MANIFEST_NAME).is_file():
        try:
            translators = [Translator(folder, 1) for _ in range(threads)]
        except RuntimeBundleError as error:
            raise BundleError(str(error)) from error
        return _bundle_teacher(translators, config.teacher.beam)
    if (folder / CTRANSLATE2_FILE).is_file():
        return _ctranslate2_teacher(folder, config, threads)
    raise ConfigError(
        f"teacher.path: {folder} is no teacher; name the folder of a bundle (with {MANIFEST_NAME}) "
        f"or of a CTranslate2 model (with {CTRANSLATE2_FILE})"
    )


def _bundle_teacher(translators: Sequence[Translator], beam: int | None) -> TranslationTeacher:
    """Translate with one translator a thread; Python's lock is free while a graph runs."""
    settings = translators[0].settings
    if beam not in (None, settings.beam):
        raise ConfigError(
            f"teacher.beam: {beam}, but the bundle translates with beam {settings.beam}; leave it "
            f"out, or make another bundle with `mosdeploy export --beam {beam}`"
        )

    def part(translator: Translator, sources: Sequence[str]) -> list[str]:
        found = []
        for parts in translator.predict_parts(sources):
            was_cut = any(len(ids) >= settings.max_decode_steps for ids in parts)
            found.append("" if was_cut else translator.text_of(parts))
        return found

    def translate(sources: Sequence[str]) -> list[str]:
        count = len(translators)
        shares = [sources[i::count] for i in range(count)]
        found = [""] * len(sources)
        with ThreadPoolExecutor(count) as executor:
            for i, texts in enumerate(executor.map(part, translators, shares)):
                found[i::count] = texts
        return found

    return TranslationTeacher(f"beam {settings.beam}", translate)


def _ctranslate2_teacher(
    folder: Path, config: TranslationRunConfig, threads: int
) -> TranslationTeacher:
    try:
        import ctranslate2
    except ImportError as error:
        raise ConfigError(
            f"{folder} is a CTranslate2 model, and ctranslate2 cannot be imported ({error}); run: "
            "pip install 'mosdeploy[teacher]'"
        ) from error
    language = _language_token(folder, config.corpus.target_lang)
    source_model = _pieces(folder, SOURCE_MODELS)
    target_model = _pieces(folder, TARGET_MODELS)
    try:
        translator = ctranslate2.Translator(str(folder), inter_threads=threads, intra_threads=1)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"CTranslate2 cannot open {folder}: {error}") from error
    # models of Marian add the end themselves; what came by way of Transformers leaves it to us
    end = [] if _adds_end(folder) else ["</s>"]
    limit = config.export.max_decode_steps
    beam = config.teacher.beam or DEFAULT_BEAM

    def translated(pieces: _Pieces) -> _Pieces:
        results = translator.translate_batch(
            pieces,
            beam_size=beam,
            batch_type="tokens",
            max_batch_size=MAX_BATCH_TOKENS,
            max_input_length=0,  # the default cuts a source after 1,024 tokens
            max_decoding_length=limit,
        )
        return [result.hypotheses[0] for result in results]

    def run(sources: Sequence[str]) -> list[str]:
        rows = source_model.encode(list(sources), out_type=str)
        found = _readable(translated, [[*language, *row, *end] for row in rows], folder)
        # what is as long was cut
        return [str(target_model.decode(row)) if len(row) < limit else "" for row in found]

    setup = ", ".join([f"beam {beam}", f"at most {limit} tokens", *language])
    return TranslationTeacher(setup, run)


def _readable(translated: Callable[[_Pieces], _Pieces], pieces: _Pieces, folder: Path) -> _Pieces:
    """Translations, empty for sources with more tokens than the model has positions for."""
    try:
        return translated(pieces)
    except RuntimeError as error:
        reason = error
    found: _Pieces = []
    num_failed = 0
    for row in pieces:
        try:
            found += translated([row])
        except RuntimeError:
            found.append([])
            num_failed += 1
    try:
        if num_failed == len(pieces):
            translated([pieces[0][:1]])
    except RuntimeError as error:
        raise MosdeployError(f"{folder}: CTranslate2 failed: {error}") from error
    if num_failed:
        text = "%s: left out %d of %d sources, which it cannot translate: %s"
        _log.warning(text, folder, num_failed, len(pieces), reason)
    return found


def _language_token(folder: Path, target_lang: str) -> list[str]:
    """Return the token that a source begins with to choose the language; nothing for a model of
    one target language.
    """
    tokens = _source_vocabulary(folder)
    if sum(OTHER_LANGUAGE.fullmatch(token) is not None for token in tokens) > 1:
        raise ConfigError(
            f"{folder} is a multilingual model like NLLB, M2M-100 or mBART, which is not supported "
            "as a teacher; use an OPUS-MT model"
        )
    codes = sorted(match[1] for token in tokens if (match := LANGUAGE.fullmatch(token)))
    if not codes:
        return []
    found = [code for code in codes if code == target_lang]
    found = found or [code for code in codes if code.startswith(target_lang)]
    if len(found) != 1:
        raise ConfigError(
            f"{folder} translates into several languages, and corpus.target_lang '{target_lang}' "
            f"is the code of none, or the beginning of several; set it to one of: "
            f"{', '.join(codes)}"
        )
    return [f">>{found[0]}<<"]


def _source_vocabulary(folder: Path) -> list[str]:
    for name in VOCABULARIES:
        if (path := folder / f"{name}.json").is_file():
            tokens = read_json(path)
            return list(map(str, tokens)) if isinstance(tokens, list) else []
        if (path := folder / f"{name}.txt").is_file():
            return path.read_text(encoding="utf-8", errors="replace").split("\n")
    return []


def _pieces(folder: Path, names: Sequence[str]) -> sentencepiece.SentencePieceProcessor:
    for name in names:
        if (folder / name).is_file():
            try:
                return sentencepiece.SentencePieceProcessor(
                    model_proto=(folder / name).read_bytes()
                )
            except RuntimeError as error:
                raise ConfigError(f"{folder / name} is no SentencePiece model") from error
    raise ConfigError(
        f"{folder} has no SentencePiece model beside its {CTRANSLATE2_FILE}; copy it there as "
        f"{names[0]}, or as {names[-2]} if both languages share one"
    )


def _adds_end(folder: Path) -> bool:
    path = folder / "config.json"
    if not path.exists():
        return False
    config = read_json(path)
    return isinstance(config, dict) and bool(config.get("add_source_eos", False))
