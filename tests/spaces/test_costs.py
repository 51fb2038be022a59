from mosdeploy.spaces.costs import AttentionSize, Inventory, Product, ffn_activations

WEIGHT = Product("fc1", "step", rows=3, inputs=4, outputs=5)
SHARED = Product("logits", "step", rows=3, inputs=4, outputs=10, matrix="shared")
SCORES = Product("scores", "step", rows=3, inputs=4, outputs=3, matrix="activation")
INVENTORY = Inventory(
    products=(WEIGHT, SHARED, SCORES), norm_widths=(4, 4), table_parts=(4, 2), vocab_size=10
)


def test_number_of_parameters_by_hand() -> None:
    assert WEIGHT.num_parameters == 4 * 5 + 5
    assert SHARED.num_parameters == SCORES.num_parameters == 0
    # the matrix and its bias, gains and biases of the norms, the two parts of the table
    assert INVENTORY.num_parameters == 25 + 2 * 8 + 10 * (4 + 2)


def test_number_of_macs_by_hand() -> None:
    assert INVENTORY.num_macs == 3 * 4 * 5 + 3 * 4 * 10 + 3 * 4 * 3


def test_four_bytes_a_weight_are_four_times_the_parameters() -> None:
    found = INVENTORY.num_bytes(
        matrix_bytes=lambda product: 4 * product.inputs * product.outputs,
        table_bytes=lambda rows, columns: 4 * rows * columns,
    )
    assert found == 4 * INVENTORY.num_parameters


def test_number_of_bytes_by_hand() -> None:
    # one byte a weight of a matrix, four a number of the bias, the norms and the table
    found = INVENTORY.num_bytes(
        matrix_bytes=lambda product: product.inputs * product.outputs,
        table_bytes=lambda rows, columns: 4 * rows * columns,
    )
    assert found == 20 + 4 * 5 + 4 * 16 + 4 * 60


def test_activations_by_hand() -> None:
    # 6 positions, 2 of them computed, each attends to 3 by 4 heads; states of 5, queries of 8
    attention = AttentionSize(num_positions=6, num_read=2, num_attended=3, heads=4, qkv_dim=8)
    states = 6 * 5 + 2 * 5
    projected = 2 * 8 + 2 * 6 * 8 + 2 * 8  # queries, keys and values, their mixture
    assert attention.num_activations(5) == states + projected + 2 * 4 * 3
    assert ffn_activations(num_positions=6, dim=5, ffn_dim=20) == 2 * 6 * 5 + 2 * 6 * 20
    assert Inventory((), (), (), 10, num_activations=7).activation_bytes == 28
