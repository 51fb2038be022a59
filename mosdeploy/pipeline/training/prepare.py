"""What a training reads: the tokenizer, token ids, the card of the data, a teacher's outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...config.sections import TrainingConfig
from ...family import Family, TaskData, Tokenizer
from ...records import DataCard
from ...run_folder.context import Context, DrawsCurves, Progress
from ...run_folder.run import Run
from ...run_folder.teacher import is_taught, train_teacher, training_examples, validation_examples
from ...storage import atomic_copy, read_errors, readable_record, sha256_file, write_record
from ...workspace import Workspace, tokens_path

if TYPE_CHECKING:
    from ...data.batches import Batch, Batches, Dataset
    from ...training.log import LogLine


def write_tokens(folder: Path, train: "Dataset", valid: "Dataset") -> None:
    """Leave token ids in the folder of a training, for all ranks."""
    train.save(tokens_path(folder, "train"))
    valid.save(tokens_path(folder, "valid"))


def read_tokens(
    folder: Path, family: Family, config: TrainingConfig
) -> "tuple[Batches, list[Batch]]":
    """Read training and validation batches of the token ids in a folder."""
    from ...data.batches import Batches, ordered_batches

    with read_errors(folder):
        train = family.open_dataset(tokens_path(folder, "train"))
        valid = family.open_dataset(tokens_path(folder, "valid"))
    batches = Batches(train, config.tokens_per_batch, config.seed)
    return batches, ordered_batches(valid)


def remove_tokens(folder: Path) -> None:
    """Remove what `read_tokens` reads."""
    for split in ("train", "valid"):
        tokens_path(folder, split).unlink(missing_ok=True)


def training_progress(stage: str, progress: Progress) -> "Callable[[LogLine, int, float], None]":
    """Show the progress of a training as the trainer tells it, and its validation losses as a curve
    to whoever draws curves.
    """
    losses: list[float] = []

    def show(line: "LogLine", total: int, _: float) -> None:
        note = f"loss {line.loss:.3f}, {line.targets_per_s:,.0f} targets/s"
        if line.validation_loss is not None:
            losses.append(line.validation_loss)
        if losses:
            note += f", validation {losses[-1]:.3f}"
        if isinstance(progress, DrawsCurves):
            progress.curve(stage, losses)
        progress.update(stage, line.step, total, note)

    return show


def validated_seldom(config: TrainingConfig, num_batches: int) -> TrainingConfig:
    """The same training, which reads at least twice as many tokens between two validations as one
    of so many batches does: a short one would spend more time on these than on its steps.
    """
    from ...data.batches import VALIDATION_TOKENS

    least = 2 * num_batches * VALIDATION_TOKENS // config.tokens_per_batch
    return config.model_copy(update={"validate_every": max(config.validate_every, least)})


def prepare(context: Context, data: TaskData, old: Workspace) -> None:
    """Write tokenizer, card and token ids, after the teacher has labelled the examples."""
    config = context.config
    files = context.files
    tokenizer = _tokenizer(context, data, old)
    # at once: only the card tells that a tokenizer is of this data
    card = data_card(context.run, data)
    write_record(files.data_card_path, card)
    examples = training_examples(context.run, data, context.progress)
    valid = validation_examples(context.run, data)
    context.progress.say(f"tokenizing {len(examples):,} training examples")
    train_set = context.family.tokenize(tokenizer, examples, config)
    valid_set = context.family.tokenize(tokenizer, valid, config)
    if num_too_long := len(examples) - len(train_set):
        dropped = {**data.dropped, "too_many_tokens": num_too_long}
        card = card.model_copy(update={"dropped": dropped})
        write_record(files.data_card_path, card)
    told = ", ".join(f"{reason} {count}" for reason, count in card.dropped.items()) or "none"
    num_unread = len(valid) - len(valid_set)
    context.progress.say(
        f"data: {len(train_set)} training, {len(valid_set)} validation, {len(data.test)} test "
        f"examples; dropped: {told}"
        + (f"; validation examples of too many tokens: {num_unread}" if num_unread else "")
    )
    rising = config.training.warmup_steps
    steps = config.training.steps
    if rising >= steps:
        context.progress.say(
            f"the learning rate rises to the very end: training.warmup_steps = {rising} of {steps} "
            f"steps; about {max(1, steps // 10)} are usual"
        )
    show = training_progress("teacher", context.progress)
    teacher = train_teacher(context.run, data.sha256, train_set, valid_set, show, context.progress)
    if teacher is not None:
        train_set = teacher.label(train_set, examples)
        valid_set = teacher.label(valid_set, valid)
    write_tokens(files.supernet_dir, train_set, valid_set)


def restore_teacher(context: Context, data: TaskData) -> None:
    """Train the teacher of a supernet that is finished again if it was lost."""
    if is_taught(context.run, data.sha256):
        return
    context.progress.say("the supernet is whole, its teacher is not: training that again")
    tokenizer = context.family.load_tokenizer(context.files.tokenizer_path)
    examples = training_examples(context.run, data, context.progress)
    train, valid = (
        context.family.tokenize(tokenizer, part, context.config)
        for part in (examples, validation_examples(context.run, data))
    )
    show = training_progress("teacher", context.progress)
    train_teacher(context.run, data.sha256, train, valid, show, context.progress)


def _tokenizer(context: Context, data: TaskData, old: Workspace) -> Tokenizer:
    """The tokenizer of the folder if it was made from this data, else a new one."""
    path = context.files.tokenizer_path
    folders = (context.files, old)
    found = next((files for files in folders if _has_tokenizer_of(context, data, files)), None)
    if found is None:
        context.progress.say("making the tokenizer")
        context.family.train_tokenizer(data, context.config, path)
    elif found is old:
        atomic_copy(old.tokenizer_path, path)
    return context.family.load_tokenizer(path)


def _has_tokenizer_of(context: Context, data: TaskData, files: Workspace) -> bool:
    """Whether a folder has a tokenizer that was made from this data and this vocabulary size."""
    card = readable_record(DataCard, files.data_card_path)
    if card is None or not files.tokenizer_path.exists():
        return False
    made_from = (card.sha256, card.vocab_size, card.tokenizer_sha256)
    sha256 = sha256_file(files.tokenizer_path)
    return made_from == (data.sha256, context.config.vocab_size, sha256)


def data_card(run: Run, data: TaskData) -> DataCard:
    """What a run folder says of its data, once its tokenizer is there."""
    return DataCard(
        description=run.config.title,
        num_train=len(data.train),
        num_valid=len(data.valid),
        num_test=len(data.test),
        dropped=dict(data.dropped),
        sha256=data.sha256,
        vocab_size=run.config.vocab_size,
        tokenizer_sha256=sha256_file(run.workspace.tokenizer_path),
    )
