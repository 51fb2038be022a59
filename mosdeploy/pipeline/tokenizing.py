"""The tokenizer of a run folder, and what a training reads: token ids, and the card of the data."""

from ..family import TaskData, Tokenizer
from ..records import BegunTraining, DataCard
from ..run_folder.context import Context
from ..run_folder.run import Run
from ..run_folder.teacher import keep_teacher, train_teacher, training_examples
from ..run_folder.token_files import write_tokens
from ..storage import atomic_copy, readable_record, sha256_file, write_record
from ..workspace import Workspace
from .replacing import begun_teacher, telling_differences


def tokenize(
    context: Context,
    data: TaskData,
    begun: BegunTraining,
    old: Context,
) -> None:
    """Write tokenizer, card and token ids, after the teacher has labelled the examples."""
    config = context.config
    files = context.files
    if old is not context:
        keep_teacher(old.run, context.run, data.sha256)
    tokenizer = _tokenizer(context, data, old.files)
    # at once: of a tokenizer without a card nothing says that it is of this data
    write_record(files.data_card_path, data_card(context.run, data, 0))
    examples = training_examples(context.run, data, context.progress)
    context.progress.say(f"tokenizing {len(examples):,} training examples")
    train_set = context.family.tokenize(tokenizer, examples, config)
    valid_set = context.family.tokenize(tokenizer, data.valid, config)
    num_too_long = len(examples) - len(train_set)
    card = data_card(context.run, data, num_too_long)
    write_record(files.data_card_path, card)
    dropped = ", ".join(f"{reason} {count}" for reason, count in card.dropped.items()) or "none"
    num_unread = len(data.valid) - len(valid_set)
    context.progress.say(
        f"data: {len(train_set)} training, {len(valid_set)} validation, {len(data.test)} test "
        f"examples; dropped: {dropped}"
        + (f"; validation examples of too many tokens: {num_unread}" if num_unread else "")
    )
    rising = config.training.warmup_steps
    steps = config.training.steps
    if rising >= steps:
        context.progress.say(
            f"the learning rate rises to the very end: training.warmup_steps = {rising} of {steps} "
            f"steps; about {max(1, steps // 10)} are usual"
        )
    # what a stopped training resumes from is of what that was begun with
    if context.family.open_teacher is not None and not files.teacher_checkpoint_path.exists():
        write_record(files.teacher_begun_path, begun)
    with telling_differences(begun_teacher(files), config, begun):
        teacher = train_teacher(context.run, data.sha256, train_set, valid_set, context.progress)
    if teacher is not None:
        train_set = teacher.label(train_set, examples)
        valid_set = teacher.label(valid_set, data.valid)
    write_tokens(files.supernet_dir, train_set, valid_set)


def ensure_card(context: Context, data: TaskData) -> None:
    """Write the card of a finished supernet's data again if it was lost."""
    path = context.files.data_card_path
    if readable_record(DataCard, path):
        return
    context.progress.say(f"{path} was lost or damaged: tokenizing again to write it")
    tokenizer = context.family.load_tokenizer(context.files.tokenizer_path)
    examples = training_examples(context.run, data, context.progress)
    num_read = len(context.family.tokenize(tokenizer, examples, context.config))
    write_record(path, data_card(context.run, data, len(examples) - num_read))


def _tokenizer(context: Context, data: TaskData, old: Workspace) -> Tokenizer:
    """The tokenizer of the folder if it was made from this data, else a new one."""
    path = context.files.tokenizer_path
    if not has_tokenizer_of(context, data, context.files):
        if has_tokenizer_of(context, data, old):
            atomic_copy(old.tokenizer_path, path)
        else:
            context.progress.say("making the tokenizer")
            context.family.train_tokenizer(data, context.config, path)
    return context.family.load_tokenizer(path)


def has_tokenizer_of(context: Context, data: TaskData, files: Workspace) -> bool:
    """Whether a folder has a tokenizer that was made from this data and this vocabulary size."""
    card = readable_record(DataCard, files.data_card_path)
    if card is None or not files.tokenizer_path.exists():
        return False
    made_from = (card.sha256, card.vocab_size, card.tokenizer_sha256)
    return made_from == (
        data.sha256,
        context.config.vocab_size,
        sha256_file(files.tokenizer_path),
    )


def data_card(run: Run, data: TaskData, num_too_long: int) -> DataCard:
    """What a run folder says of its data, once its tokenizer is there."""
    return DataCard(
        description=run.config.title,
        num_train=len(data.train),
        num_valid=len(data.valid),
        num_test=len(data.test),
        dropped={**data.dropped, **({"too_many_tokens": num_too_long} if num_too_long else {})},
        sha256=data.sha256,
        vocab_size=run.config.vocab_size,
        tokenizer_sha256=sha256_file(run.workspace.tokenizer_path),
    )
