"""Starting values of a network.

Matrices start at the scale of their inputs, what writes into the streams a little lower.  Where a
circuit should form early it gets a hint: each sub-layer reads mostly one stream, and each group of
channels of a compressed row prefers one token of its block.
"""

import math

import torch
from torch import Tensor

from training.model.attention import Attention
from training.model.compressor import Compressor
from training.model.config import SPARSE
from training.model.experts import Experts
from training.model.network import Block, Head, Network

SLOT_OWN = 1.5  # of the token in the row's own block; 34 % of its channels at the start
SLOT_BEFORE = 1.0  # of the same slot in the block before; 21 %
READ_STREAM = 1.5  # sigmoid 0.82 for the stream a sub-layer reads, 0.18 for the others
KEEP_STREAM = 4.0  # of the diagonal of comb: streams stay apart
FINAL_NORM = 0.1  # logits of a tied head start near uniform


@torch.no_grad()
def initialise(network: Network, token_counts: Tensor, seed: int) -> None:
    """`token_counts` [V] balances the tables of hash-routed layers."""
    random = torch.Generator().manual_seed(seed)
    network.embed.weight.normal_(std=0.5, generator=random)
    _start_head(network, random)
    for i in range(network.config.num_hidden_layers):
        _start_block(network.block(i), i, token_counts, random)
    for mtp in network.mtp_blocks():
        _start_head(mtp, random)
        _start_matrix(mtp.e_proj.weight, random)
        _start_matrix(mtp.h_proj.weight, random)
        _start_block(mtp.block, network.config.num_hidden_layers, token_counts, random)


def _start_matrix(weight: Tensor, random: torch.Generator, gain: float = 1.0) -> None:
    weight.normal_(std=gain / math.sqrt(weight.shape[-1]), generator=random)


def _start_head(head: Head, random: torch.Generator) -> None:
    head.hc_head_fn.normal_(std=0.02, generator=random)
    head.hc_head_base.fill_(-1.0)
    head.hc_head_scale.fill_(0.1)
    head.norm.weight.fill_(FINAL_NORM)


def _start_block(block: Block, index: int, token_counts: Tensor, random: torch.Generator) -> None:
    n_streams = block.config.hc_mult
    for i, (fn, base, scale) in enumerate(
        (
            (block.hc_attn_fn, block.hc_attn_base, block.hc_attn_scale),
            (block.hc_ffn_fn, block.hc_ffn_base, block.hc_ffn_scale),
        )
    ):
        fn.normal_(std=0.02, generator=random)
        scale.fill_(0.1)
        pre, post, comb = base.split((n_streams, n_streams, n_streams * n_streams))
        pre.fill_(-READ_STREAM)
        pre[(2 * index + i) % n_streams] = READ_STREAM
        post.normal_(std=0.3, generator=random)  # equal streams would stay equal
        comb.copy_((KEEP_STREAM * torch.eye(n_streams)).flatten())
    _start_attention(block.attn, random)
    _start_experts(block.ffn, token_counts, random)


def _start_attention(attention: Attention, random: torch.Generator) -> None:
    for linear in (attention.wq_a, attention.wq_b, attention.wkv, attention.wo_a):
        _start_matrix(linear.weight, random)
    _start_matrix(attention.wo_b.weight, random, gain=0.3)
    n_rotated = attention.config.qk_rope_head_dim
    if hasattr(attention, "compressor"):
        _start_compressor(attention.compressor, n_rotated, random)
    if hasattr(attention, "indexer"):
        _start_matrix(attention.indexer.wq_b.weight, random)
        _start_matrix(attention.indexer.weights_proj.weight, random, gain=0.3)
        _start_compressor(attention.indexer.compressor, n_rotated, random)


def _start_compressor(compressor: Compressor, n_rotated: int, random: torch.Generator) -> None:
    _start_matrix(compressor.wkv.weight, random)
    _start_matrix(compressor.wgate.weight, random, gain=0.02)
    if compressor.ratio == SPARSE:
        compressor.ape.copy_(soft_slots(compressor.width, n_rotated))


def soft_slots(width: int, n_rotated: int) -> Tensor:
    """[4, 2w]: channel c, if not rotated, prefers the token at place ⌊4c / (w − Dr)⌋ of a block."""
    n_plain = width - n_rotated
    slot = torch.arange(width) * SPARSE // n_plain
    slot[n_plain:] = -1
    prefers = (slot[None] == torch.arange(SPARSE)[:, None]).float()
    return torch.cat((SLOT_BEFORE * prefers, SLOT_OWN * prefers), 1)


def _start_experts(experts: Experts, token_counts: Tensor, random: torch.Generator) -> None:
    _start_matrix(experts.gate.weight, random)
    if experts.gate.uses_hash:
        config = experts.gate.config
        table = hash_table(
            token_counts, config.n_routed_experts, config.num_experts_per_tok, random
        )
        experts.gate.tid2eid.copy_(table)
    for up, down in (
        ((experts.experts.w1, experts.experts.w3), experts.experts.w2),
        (
            (experts.shared_experts.w1.weight, experts.shared_experts.w3.weight),
            experts.shared_experts.w2.weight,
        ),
    ):
        for weight in up:
            _start_matrix(weight, random)
        _start_matrix(down, random, gain=0.4)


def hash_table(
    token_counts: Tensor, n_experts: int, n_active: int, random: torch.Generator
) -> Tensor:
    """[V, A]: frequent tokens first, each to the experts that hold the fewest tokens so far."""
    table = torch.zeros(len(token_counts), n_active, dtype=torch.long)
    mass = 1e-3 * torch.rand(n_experts, generator=random)  # breaks ties
    for token in token_counts.argsort(descending=True, stable=True):
        experts = mass.topk(n_active, largest=False).indices
        table[token] = experts.sort().values
        mass[experts] += token_counts[token] + 1
    return table
