"""What an architecture costs by its shape alone: weights and multiply-accumulates, exactly.

In: an architecture and its space. Out: whole numbers. What a device makes of them is not known here.
"""

from .translation import ArchConfig, SearchSpace


def num_parameters(space: SearchSpace, arch: ArchConfig, vocab_size: int) -> int:
    """Exact number of weights of the extracted subnet (one shared embedding table, no output bias)."""
    e, d, q = arch.encoder_embed_dim, arch.decoder_embed_dim, space.qkv_dim

    def attention(query_dim: int, memory_dim: int) -> int:
        return (query_dim * q + q) + 2 * (memory_dim * q + q) + (q * query_dim + query_dim)

    def ffn(dim: int, ffn_dim: int) -> int:
        return 2 * dim * ffn_dim + ffn_dim + dim

    total = vocab_size * max(e, d)
    total += sum(attention(e, e) + ffn(e, x.ffn_dim) + 4 * e for x in arch.encoder_layers)
    total += sum(attention(d, d) + attention(d, e) + ffn(d, x.ffn_dim) + 6 * d for x in arch.decoder_layers)
    return total + (2 * e + 2 * d if space.norm == "pre" else 0)


def num_macs(
    space: SearchSpace, arch: ArchConfig, vocab_size: int, source_len: int, decode_steps: int, beam: int = 1
) -> int:
    """Exact multiply-accumulates of one translation with a key/value cache (matrix products only)."""
    e, d, q, s, t = arch.encoder_embed_dim, arch.decoder_embed_dim, space.qkv_dim, source_len, decode_steps
    encoder = sum(s * (4 * e * q + 2 * e * x.ffn_dim) + 2 * s * s * q for x in arch.encoder_layers)
    cross_memory = sum(x.cross_span * s * 2 * e * q for x in arch.decoder_layers)
    steps = 0
    for x in arch.decoder_layers:
        steps += t * (4 * d * q + 2 * d * q + 2 * d * x.ffn_dim)  # projections and FFN
        steps += t * (t + 1) * q + t * 2 * x.cross_span * s * q  # scores and mixes, self and cross
    return encoder + cross_memory + beam * (steps + t * vocab_size * d)
