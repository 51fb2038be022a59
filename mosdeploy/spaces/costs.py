"""One inventory of what a network holds and computes; parameters, multiply-accumulates and bytes
are sums over it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Product:
    """One matrix product: `rows` vectors of `inputs` numbers times a matrix (inputs, outputs).

    Attributes
    ----------
    name
        As in the network: `encoder.layers.0.self_attn.qkv`.
    part
        Which part of the graph it belongs to; parts may be stored in different number formats.
    matrix
        What is multiplied by: `weight` (a matrix of its own, with a bias), `shared` (a table
        counted elsewhere), or `activation` (something computed: scores and mixed values of an
        attention).
    """

    name: str
    part: str
    rows: int
    inputs: int
    outputs: int
    matrix: Literal["weight", "shared", "activation"] = "weight"

    @property
    def num_macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.inputs * self.outputs

    @property
    def num_parameters(self) -> int:
        """Numbers in the matrix and its bias; 0 where the matrix is not the product's own."""
        return (self.inputs + 1) * self.outputs if self.matrix == "weight" else 0


@dataclass(frozen=True)
class Inventory:
    """Everything that one network holds and computes on one workload.

    Attributes
    ----------
    products
        Every matrix product.
    norm_widths
        Width of each norm, which has a gain and a bias.
    table_parts
        Columns of each part of the embedding table, of `vocab_size` rows.
    num_other
        Further weights, which stay fp32 in every precision: position tables, biases.
    id_bytes
        Bytes of what a file holds beside weights: lists of ids.
    num_activations
        Most numbers that are computed and still needed at one time of a run; 0 where a family does
        not count them.
    """

    products: tuple[Product, ...]
    norm_widths: tuple[int, ...]
    table_parts: tuple[int, ...]
    vocab_size: int
    num_other: int = 0
    id_bytes: int = 0
    num_activations: int = 0

    @property
    def activation_bytes(self) -> int:
        """Bytes of the most activations at one time."""
        return 4 * self.num_activations

    @property
    def num_parameters(self) -> int:
        """Exact number of weights."""
        return self.num_body_parameters + self.vocab_size * sum(self.table_parts)

    @property
    def num_body_parameters(self) -> int:
        """Exact number of weights without the embedding table."""
        weights = sum(product.num_parameters for product in self.products)
        return weights + 2 * sum(self.norm_widths) + self.num_other

    @property
    def num_macs(self) -> int:
        """Exact multiply-accumulates of one run (matrix products only)."""
        return sum(product.num_macs for product in self.products)

    def num_bytes(
        self, matrix_bytes: Callable[[Product], int], table_bytes: Callable[[int, int], int]
    ) -> int:
        """Bytes of all weights, and of lists of ids, in a file."""
        own = [product for product in self.products if product.matrix == "weight"]
        num_biases = sum(product.outputs for product in own)
        vectors = 4 * (2 * sum(self.norm_widths) + num_biases + self.num_other)
        tables = sum(table_bytes(self.vocab_size, columns) for columns in self.table_parts)
        return vectors + sum(matrix_bytes(product) for product in own) + tables + self.id_bytes


@dataclass(frozen=True)
class AttentionSize:
    """Sizes of one attention: `num_read` of its `num_positions` are computed, each attends to
    `num_attended` by every head, and queries, keys and values are `qkv_dim` wide.
    """

    num_positions: int
    num_read: int
    num_attended: int
    heads: int
    qkv_dim: int

    @property
    def num_scores(self) -> int:
        """Scores of all heads."""
        return self.num_read * self.heads * self.num_attended

    def num_states(self, dim: int) -> int:
        """Numbers that it holds between states of width `dim`, beside the scores: its input and
        output, queries, keys, values and their mixture.
        """
        return (self.num_positions + self.num_read) * (dim + 2 * self.qkv_dim)

    def num_activations(self, dim: int) -> int:
        """All numbers that it holds between states of width `dim`."""
        return self.num_states(dim) + self.num_scores


def ffn_activations(num_positions: int, dim: int, ffn_dim: int) -> int:
    """Numbers that an FFN holds: its input and output, and what goes into its activation function
    and comes out.
    """
    return 2 * num_positions * (dim + ffn_dim)
