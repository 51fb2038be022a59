"""An external teacher: a network that was fine-tuned on the task before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...config.encoder import EncoderRunConfig, TaskConfig
from ...data.batches import Ragged
from ...errors import ConfigError, StaleInputError
from ...record import read_json
from ...spaces.encoder import EncoderArch, Head
from ...supernet.layers import ACTIVATIONS
from .checkpoint import Checkpoint, load_checkpoint, output_order, warn_of_order
from .checkpoint_files import CROSS_ENCODER_NAME, resolve_folder
from .dataset import BatchLayout
from .examples import Example
from .network import Activation, EncoderSubnet, PooledHead
from .scoring import outputs_of
from .tokenizer import EncoderTokenizer

KEY = "teacher.path"

_CLASSIFIERS: dict[str, Activation] = {
    "distilbert": ACTIVATIONS["relu"],
    "electra": ACTIVATIONS["gelu"],
}
"""Activations of classifiers that have another one than BERT's."""


@dataclass(frozen=True)
class ExternalTeacher:
    """A network that answers, and what turns texts into its inputs."""

    checkpoint: Checkpoint
    network: EncoderSubnet
    tokenizer: EncoderTokenizer
    layout: BatchLayout
    max_tokens: int

    @property
    def is_of_family(self) -> bool:
        """Whether its head computes what this family's compute, so that a subnet can have it."""
        is_pooled = isinstance(self.network.head, PooledHead)
        return self.checkpoint.kind not in _CLASSIFIERS or not is_pooled

    def ids(self, examples: Sequence[Example]) -> Ragged:
        """Ids of texts or pairs, by its own tokenizer."""
        texts = [(example.text, example.text_pair) for example in examples]
        return Ragged.of(self.tokenizer.encode_many(texts, self.max_tokens))

    def outputs(self, examples: Sequence[Example]) -> list[Tensor]:
        """Of each text (C,), or of its pieces (length, C)."""
        ids = self.ids(examples)
        texts = [ids[i].tolist() for i in range(len(ids))]
        return outputs_of(self.network, texts, self.layout.of(examples))


def load_external_teacher(config: EncoderRunConfig, root: Path) -> ExternalTeacher:
    """Read the teacher that a run file names."""
    checkpoint = load_checkpoint(str(config.teacher.path), root, KEY)
    if config.task.kind == "regression":
        _check_activation(checkpoint.folder)
    network = _network(checkpoint, config.space.head, config.task)
    try:
        tokenizer = EncoderTokenizer(checkpoint.tokenizer_path, checkpoint.vocab_size)
    except StaleInputError as error:
        raise _unfit(f"{checkpoint.tokenizer_path} cannot be used ({error})") from error
    max_positions = network.positions.num_embeddings
    if config.task.kind == "tagging":
        _check_pieces(checkpoint, config, root, max_positions)
    special = tokenizer.special
    return ExternalTeacher(
        checkpoint=checkpoint,
        network=network,
        tokenizer=tokenizer,
        layout=BatchLayout(special.pad, special.sep, checkpoint.space().num_types),
        max_tokens=min(config.max_tokens, max_positions),
    )


def _unfit(problem: str) -> ConfigError:
    return ConfigError(f"{KEY}: {problem}")


def check_names(checkpoint: Checkpoint, task: TaskConfig) -> None:
    """Warn where the outputs of a teacher have no names, so that nobody knows their order."""
    if checkpoint.labels or not task.labels:
        return
    if task.kind == "tagging":
        raise _unfit(
            f"the outputs in {checkpoint.folder} have no names; write them in id2label of its "
            f"config.json, in the order it was fine-tuned in: {', '.join(task.tag_names)}"
        )
    warn_of_order(checkpoint.folder, task)


def _network(checkpoint: Checkpoint, head: Head, task: TaskConfig) -> EncoderSubnet:
    """Build the checkpoint's network with its head, whose outputs are in the task's order."""
    folder = checkpoint.folder
    names = ", ".join(task.tag_names)
    activation = _CLASSIFIERS.get(checkpoint.kind) if head == "pooled" else None
    weights = checkpoint.heads.get(head if activation is None else "classifier", {})
    if "head.out.weight" not in weights:
        saved_by = "ForTokenClassification" if head == "tokens" else "ForSequenceClassification"
        raise _unfit(
            f"{folder} has no head for a {task.kind}; give a network that was fine-tuned on the "
            f"task, saved by its class of transformers ({saved_by})"
        )
    num_outputs = len(weights["head.out.weight"])
    if num_outputs != task.num_outputs:
        raise _unfit(
            f"the head in {folder} has {num_outputs} outputs, the task {task.num_outputs} "
            f"({names}); give a network that was fine-tuned on this task"
        )
    if checkpoint.is_multi_label:
        raise _unfit(
            f"{folder / 'config.json'} says multi_label_classification: a text may have several of "
            "its classes, of which a task here has one; give another network"
        )
    order = output_order(checkpoint.labels, task)
    if order is None:
        raise _unfit(
            f"the outputs in {folder} are called {', '.join(checkpoint.labels)}, those of "
            f"task.labels {names}; write its names in task.labels, or the task's in id2label of "
            "its config.json"
        )
    space = checkpoint.space(head, task.num_outputs)
    largest = space.largest
    assert isinstance(largest, EncoderArch)
    network = EncoderSubnet(largest, space, checkpoint.vocab_size)
    if activation is not None:
        network.head = PooledHead(largest.embed_dim, task.num_outputs, 0.0, activation)
    rows = {name: weights[name][order] for name in weights if name.startswith("head.out.")}
    # its numbers are on the labels' scale, as it was fine-tuned
    scale = dict(network.named_buffers())
    given = scale | checkpoint.body | weights | rows
    try:
        network.load_state_dict({k: x for k, x in given.items() if k in network.state_dict()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise _unfit(f"weights in {folder} are not those of its config.json ({reason})") from error
    return network.eval()


def _check_activation(folder: Path) -> None:
    """Check that numbers are answered as they leave the head; a CrossEncoder of
    sentence-transformers may have an activation behind it.
    """
    config = read_json(folder / "config.json")
    newest = folder / CROSS_ENCODER_NAME
    places = (
        (read_json(newest) if newest.is_file() else None, "activation_fn"),
        (config.get("sentence_transformers"), "activation_fn"),
        (config, "sbert_ce_default_activation_function"),
    )
    said = [str(place[key]) for place, key in places if isinstance(place, dict) and place.get(key)]
    if said and said[0].rpartition(".")[2] != "Identity":
        raise _unfit(
            f"the numbers of {folder} go through {said[0]} (activation_fn of its CrossEncoder), "
            "which a subnet does not compute; give a network whose activation_fn is Identity or "
            f"none, or label task.train with this one's answers and leave {KEY} out"
        )


def _check_pieces(
    checkpoint: Checkpoint, config: EncoderRunConfig, root: Path, max_positions: int
) -> None:
    """Check that a teacher tags the pieces that the subnets tag."""
    path = config.checkpoint.path
    own = None if path is None else resolve_folder(path, root) / checkpoint.tokenizer_path.name
    if own is None or _pieces_of(own) != _pieces_of(checkpoint.tokenizer_path):
        raise _unfit(
            f"a tagging is learned piece by piece, and {checkpoint.tokenizer_path} is another "
            f"tokenizer than {own or 'the one that is trained on the texts'}; start from a "
            f"checkpoint with the teacher's tokenizer, or leave {KEY} out"
        )
    # it tags the pieces of training texts, and of the test's, which are cut as a bundle cuts them
    longest = max(config.max_tokens, config.export.max_input_len)
    if longest > max_positions:
        raise _unfit(
            f"{checkpoint.folder} reads {max_positions} tokens, but task.max_tokens or "
            f"export.max_input_len is {longest}; write {max_positions} or less"
        )


def _pieces_of(path: Path) -> object:
    """Read a tokenizer without how its texts are cut and padded, which is set anew."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: no tokenizer: it holds no JSON object")
    return {key: x for key, x in content.items() if key not in ("version", "truncation", "padding")}
