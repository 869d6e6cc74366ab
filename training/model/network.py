"""The network: embedding, blocks, head, and the MTP block that predicts one token further.

state_dict() has the released tensor names but for what checkpoint/names.py undoes: experts are
stacked, the MTP block holds a block, and a tied network has no head.  Training ties the head to the
embedding, so that a circuit that copies serves every token; the release has both.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.model.attention import Attention
from training.model.config import WINDOW, ModelConfig
from training.model.experts import Experts
from training.model.hyper import hyper_head, hyper_mix, hyper_post, hyper_pre
from training.model.layout import Layout
from training.model.parts import Bf16Linear, Fp8Linear, RmsNorm
from training.model.rounding import Numerics


class BlockOut(NamedTuple):
    streams: Tensor  # [N, M, D]
    index_loss: Tensor  # scalar
    load: Tensor  # [E]
    attn_out: Tensor  # [N, D] before hyper-connections, as the golden files have it
    ffn_out: Tensor


class Block(nn.Module):
    def __init__(self, config: ModelConfig, ratio: int, uses_hash: bool) -> None:
        super().__init__()
        self.config = config
        n_mix, n_flat = (2 + config.hc_mult) * config.hc_mult, config.hc_mult * config.hidden_size
        self.hc_attn_fn = nn.Parameter(torch.empty(n_mix, n_flat))
        self.hc_attn_base = nn.Parameter(torch.empty(n_mix))
        self.hc_attn_scale = nn.Parameter(torch.empty(3))
        self.hc_ffn_fn = nn.Parameter(torch.empty(n_mix, n_flat))
        self.hc_ffn_base = nn.Parameter(torch.empty(n_mix))
        self.hc_ffn_scale = nn.Parameter(torch.empty(3))
        self.attn_norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.attn = Attention(config, ratio)
        self.ffn_norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.ffn = Experts(config, uses_hash)

    def forward(
        self, streams: Tensor, token_ids: Tensor, layout: Layout, numerics: Numerics, n_best: Tensor
    ) -> BlockOut:
        pre, post, comb = self.attention_mix(streams)
        x = self.attention_input(streams, pre, numerics)
        attention = self.attn(x, layout, numerics, n_best)
        streams = hyper_post(streams, attention.out, post, comb)

        pre, post, comb = hyper_mix(
            streams, self.hc_ffn_fn, self.hc_ffn_scale, self.hc_ffn_base, self.config
        )
        x = self.ffn_norm(hyper_pre(streams, pre), numerics)
        experts = self.ffn(x, token_ids, numerics)
        streams = hyper_post(streams, experts.out, post, comb)
        return BlockOut(streams, attention.index_loss, experts.load, attention.out, experts.out)

    def attention_mix(self, streams: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return hyper_mix(
            streams, self.hc_attn_fn, self.hc_attn_scale, self.hc_attn_base, self.config
        )

    def attention_input(self, streams: Tensor, pre: Tensor, numerics: Numerics) -> Tensor:
        return self.attn_norm(hyper_pre(streams, pre), numerics)


class Head(nn.Module):
    """What collapses the streams; the matrix of logits belongs to the network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        n_streams = config.hc_mult
        self.hc_head_fn = nn.Parameter(torch.empty(n_streams, n_streams * config.hidden_size))
        self.hc_head_base = nn.Parameter(torch.empty(n_streams))
        self.hc_head_scale = nn.Parameter(torch.empty(1))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)

    def logits(self, streams: Tensor, matrix: Tensor, numerics: Numerics) -> Tensor:
        """streams [N, M, D], matrix [V, D] -> [N, V] f32"""
        x = hyper_head(streams, self.hc_head_fn, self.hc_head_scale, self.hc_head_base, self.config)
        return functional.linear(self.norm(x, numerics).float(), matrix.float())


class MtpBlock(Head):
    """One more block over the final streams and the embedding of the next token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width, eps = config.hidden_size, config.rms_norm_eps
        self.e_proj = Fp8Linear(width, width)
        self.h_proj = Fp8Linear(width, width)
        self.enorm = RmsNorm(width, eps)
        self.hnorm = RmsNorm(width, eps)
        self.block = Block(config, WINDOW, uses_hash=False)

    def forward(
        self,
        streams: Tensor,
        embedded: Tensor,
        next_ids: Tensor,
        layout: Layout,
        numerics: Numerics,
    ) -> BlockOut:
        """streams [N, M, D] of tokens t, embedded [N, D] of tokens t + 1."""
        token = self.e_proj(numerics.activation(self.enorm(embedded, numerics)), numerics)
        state = self.h_proj(numerics.activation(self.hnorm(streams, numerics)), numerics)
        n_best = torch.zeros((), dtype=torch.long, device=streams.device)
        return self.block(token.unsqueeze(1) + state, next_ids, layout, numerics, n_best)


class Network(Head):
    def __init__(self, config: ModelConfig, *, tied_head: bool = True) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        if not tied_head:
            self.head = Bf16Linear(config.hidden_size, config.vocab_size)
        self.tied_head = tied_head
        self.layers = nn.ModuleList(
            Block(config, config.ratio(i), config.uses_hash(i))
            for i in range(config.num_hidden_layers)
        )
        self.mtp = nn.ModuleList(MtpBlock(config) for _ in range(config.num_nextn_predict_layers))

    def block(self, layer: int) -> Block:
        return cast(Block, self.layers[layer])

    def mtp_blocks(self) -> list[MtpBlock]:
        return [cast(MtpBlock, mtp) for mtp in self.mtp]

    def embedded(self, token_ids: Tensor, numerics: Numerics) -> Tensor:
        return functional.embedding(token_ids, numerics.bf16_weight(self.embed.weight))

    def first_streams(self, token_ids: Tensor, numerics: Numerics) -> Tensor:
        embedded = self.embedded(token_ids, numerics)
        return embedded.unsqueeze(1).repeat(1, self.config.hc_mult, 1)

    def matrix(self, numerics: Numerics) -> Tensor:
        """[V, D], of the logits."""
        return numerics.bf16_weight(self.embed.weight if self.tied_head else self.head.weight)

    def forward(
        self, token_ids: Tensor, layout: Layout, numerics: Numerics, n_best: Tensor
    ) -> list[BlockOut]:
        """token_ids [N], sequences end to end; the last block's streams are the network's."""
        outs: list[BlockOut] = []
        streams = self.first_streams(token_ids, numerics)
        for layer in self.layers:
            outs.append(layer(streams, token_ids, layout, numerics, n_best))
            streams = outs[-1].streams
        return outs
