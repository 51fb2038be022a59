"""An external teacher: a network that was fine-tuned on the task before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...config.encoder import EncoderRunConfig, TaskConfig
from ...data.ragged import Ragged
from ...errors import ConfigError, StaleInputError
from ...record import read_json
from ...spaces.encoder import EncoderArch, Head
from ...supernet.layers import ACTIVATIONS
from .checkpoint import Checkpoint, load_checkpoint
from .checkpoint_files import CROSS_ENCODER_NAME, resolve_folder
from .checkpoint_head import output_order, warn_of_order
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
    path = config.teacher.path
    assert path is not None  # else none is given
    checkpoint = load_checkpoint(path, root, KEY)
    if config.task.kind == "regression":
        _check_activation(checkpoint.folder)
    network = _network(checkpoint, config.space.head, config.task)
    tokenizer = _tokenizer(checkpoint)
    max_positions = network.positions.num_embeddings
    if config.task.kind == "tagging":
        _check_pieces(checkpoint, config, root, max_positions)
    num_types = int(checkpoint.space().num_types)
    return ExternalTeacher(
        checkpoint=checkpoint,
        network=network,
        tokenizer=tokenizer,
        layout=BatchLayout(tokenizer.special.pad, tokenizer.special.sep, num_types),
        max_tokens=min(config.max_tokens, max_positions),
    )


def check_names(checkpoint: Checkpoint, task: TaskConfig) -> None:
    """Warn where the outputs of a teacher have no names, so that nobody knows their order."""
    if checkpoint.labels or not task.labels:
        return
    if task.kind == "tagging":
        raise ConfigError(
            f"{KEY}: the outputs in {checkpoint.folder} have no names; write them in id2label of "
            f"its config.json, in the order it was fine-tuned in: {', '.join(task.tag_names)}"
        )
    warn_of_order(checkpoint.folder, task)


def _network(checkpoint: Checkpoint, head: Head, task: TaskConfig) -> EncoderSubnet:
    """Build the checkpoint's network with its head, whose outputs are in the task's order."""
    folder = checkpoint.folder
    activation = _CLASSIFIERS.get(checkpoint.kind) if head == "pooled" else None
    weights = checkpoint.heads.get(head if activation is None else "classifier", {})
    out = weights.get("head.out.weight")
    if out is None:
        raise ConfigError(
            f"{KEY}: {folder} has no head for a {task.kind}; give a network that was fine-tuned on "
            "the task, saved by its class of transformers "
            f"({'ForTokenClassification' if head == 'tokens' else 'ForSequenceClassification'})"
        )
    if len(out) != task.num_outputs:
        raise ConfigError(
            f"{KEY}: the head in {folder} has {len(out)} outputs, the task {task.num_outputs}"
            f"{': ' if task.labels else ''}{', '.join(task.tag_names)}; give a network that was "
            "fine-tuned on this task"
        )
    if checkpoint.is_multi_label:
        raise ConfigError(
            f"{KEY}: {folder / 'config.json'} says multi_label_classification: a text may have "
            "several of its classes, of which a task here has one; give another network"
        )
    order = output_order(checkpoint.labels, task)
    if order is None:
        raise ConfigError(
            f"{KEY}: the outputs in {folder} are called {', '.join(checkpoint.labels)}, those of "
            f"task.labels {', '.join(task.tag_names)}; write its names in task.labels, or the "
            "task's in id2label of its config.json"
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
    names = network.state_dict().keys()
    try:
        network.load_state_dict({name: given[name] for name in names if name in given})
    except RuntimeError as error:
        raise ConfigError(
            f"{KEY}: the weights in {folder} are not those that its config.json says "
            f"({str(error).splitlines()[-1].strip()})"
        ) from error
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
        raise ConfigError(
            f"{KEY}: the numbers of {folder} go through {said[0]} (activation_fn of its "
            "CrossEncoder), which a subnet does not compute; give a network whose activation_fn is "
            "Identity or none, or write the answers of this one into the column task.label of "
            f"task.train, and leave {KEY} out"
        )


def _tokenizer(checkpoint: Checkpoint) -> EncoderTokenizer:
    path = checkpoint.tokenizer_path
    try:
        return EncoderTokenizer(path, checkpoint.vocab_size)
    except StaleInputError as error:
        raise ConfigError(
            f"{KEY}: {path} cannot be used ({error}); save it there with transformers: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        ) from error


def _check_pieces(
    checkpoint: Checkpoint, config: EncoderRunConfig, root: Path, max_positions: int
) -> None:
    """Check that a teacher tags the pieces that the subnets tag."""
    path = config.checkpoint.path
    own = None if path is None else resolve_folder(path, root) / checkpoint.tokenizer_path.name
    if own is None or _pieces_of(own) != _pieces_of(checkpoint.tokenizer_path):
        raise ConfigError(
            f"{KEY}: a tagging is learned piece by piece, and {checkpoint.tokenizer_path} is "
            f"another tokenizer than {own or 'the one that is trained on the texts'}; start from a "
            "checkpoint with the teacher's tokenizer, or leave teacher.path out"
        )
    # it tags the pieces of training texts, and of the test's, which are cut as a bundle cuts them
    lengths = {
        "task.max_tokens": config.max_tokens,
        "export.max_input_len": config.export.max_input_len,
    }
    for key, length in lengths.items():
        if length > max_positions:
            raise ConfigError(
                f"{KEY}: {checkpoint.folder} reads {max_positions} tokens, but {key} is {length}; "
                f"write {max_positions} or less"
            )


def _pieces_of(path: Path) -> object:
    """Read a tokenizer without how its texts are cut and padded, which is set anew."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: no tokenizer: it holds no JSON object")
    return {key: x for key, x in content.items() if key not in ("version", "truncation", "padding")}
