"""Models whose translations others are trained on: sequence-level distillation (Kim & Rush, EMNLP
2016).
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch

from ...config.translation import TranslationRunConfig
from ...errors import BundleError, ConfigError, MosdeployError
from ...record import read_json
from ...runtime import BundleError as RuntimeBundleError
from ...runtime import Translator
from ...runtime.manifest import MANIFEST_NAME
from ...supernet.elastic import Subnet
from ...training.device import DeviceContext
from .corpus import clean
from .decoding import translate
from .pair_files import Pair
from .tokenizer import Tokenizer

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

MAX_BATCH_TOKENS = 2048
"""Source tokens that CTranslate2 translates at a time."""
UNKNOWN = "\u2047"
"""What SentencePiece writes for an unknown token."""

Translate = Callable[[Sequence[str]], Sequence[str]]
_Pieces = list[list[str]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TranslationTeacher:
    """Something that translates, and how it does."""

    setup: str
    translate: Translate
    config: TranslationRunConfig

    def answer(self, examples: Sequence[Pair]) -> list[Pair]:
        """Pairs of the same sources with its translations, cleaned as training pairs are; without
        those in which a token is unknown.
        """
        sources = [source for source, _ in examples]
        answers = zip(sources, self.translate(sources), strict=True)
        # normalising would make question marks of the unknown token's mark
        pairs = [pair for pair in answers if UNKNOWN not in pair[1]]
        return clean(pairs, self.config.corpus, Counter())


def open_teacher(
    origin: Subnet | Path,
    tokenizer: Tokenizer | None,
    config: TranslationRunConfig,
    beam: int | None = None,
    threads: int | None = None,
) -> TranslationTeacher:
    """Open what is to translate."""
    if isinstance(origin, Subnet):
        assert tokenizer is not None
        if threads is not None:
            torch.set_num_threads(threads)
        origin.to(DeviceContext.of(config.training).device)
        return _subnet_teacher(origin, tokenizer, config, beam or DEFAULT_BEAM)
    if (origin / MANIFEST_NAME).is_file():
        try:
            return _bundle_teacher(Translator(origin, threads), config, beam)
        except RuntimeBundleError as error:
            raise BundleError(str(error)) from error
    if (origin / CTRANSLATE2_FILE).is_file():
        return _ctranslate2_teacher(origin, config, beam or DEFAULT_BEAM, threads)
    raise ConfigError(
        f"{origin} is no teacher: name `largest`, the folder of a bundle (with {MANIFEST_NAME}) or "
        f"of a CTranslate2 model (with {CTRANSLATE2_FILE})"
    )


def _subnet_teacher(
    subnet: Subnet, tokenizer: Tokenizer, config: TranslationRunConfig, beam: int
) -> TranslationTeacher:
    limits = config.export

    def run(sources: Sequence[str]) -> list[str]:
        ids = translate(
            subnet,
            tokenizer.encode_many(sources),
            beam,
            limits.max_decode_steps,
            limits.length_penalty,
        )
        # one of so many tokens has no end: to learn it would be to learn to stop there
        return [tokenizer.decode(row) if len(row) < limits.max_decode_steps else "" for row in ids]

    setup = (
        f"beam {beam}, length penalty {limits.length_penalty}, at most {limits.max_decode_steps} "
        "tokens"
    )
    return TranslationTeacher(setup, run, config)


def _bundle_teacher(
    translator: Translator, config: TranslationRunConfig, beam: int | None
) -> TranslationTeacher:
    found = translator.settings.beam
    if beam not in (None, found):
        raise ConfigError(
            f"the bundle '{translator.manifest.name}' translates with beam {found}, not {beam}: "
            f"leave --beam out, or make another one with `mosdeploy export --beam {beam}`"
        )
    longest = translator.settings.max_decode_steps

    def run(sources: Sequence[str]) -> list[str]:
        return [
            # a part that is as long was cut
            translator.text_of(parts) if all(len(ids) < longest for ids in parts) else ""
            for parts in translator.predict_parts(sources)
        ]

    return TranslationTeacher(f"beam {found}", run, config)


def _ctranslate2_teacher(
    folder: Path, config: TranslationRunConfig, beam: int, threads: int | None
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
        translator = ctranslate2.Translator(str(folder), intra_threads=threads or 0)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"CTranslate2 cannot open {folder}: {error}") from error
    # models of Marian add the end themselves; what came by way of Transformers leaves it to us
    end = [] if _adds_end(folder) else ["</s>"]
    limit = config.export.max_decode_steps

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
    return TranslationTeacher(setup, run, config)


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
    """What a source begins with so that it is translated into a language; nothing for a model of
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
