"""Attention over two kinds of rows: the window's, one a token, and compressed ones.

One row is key and value at once, shared by all heads.  The softmax runs over the union and a sink,
so its parts add up: each kind gives unnormalised values and the mass that belongs to them.
Exponentials need no maximum subtracted: a query head has unit RMS, so a logit is at most the length
of its row.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.model.compressor import Compressor
from training.model.config import SPARSE, WINDOW, ModelConfig
from training.model.indexer import Indexer, index_loss, select_best
from training.model.layout import Layout, rotate
from training.model.parts import Fp8Linear, RmsNorm, scaled_to_unit
from training.model.rounding import Numerics


class Part(NamedTuple):
    values: Tensor  # [N, H, Dh], unnormalised
    mass: Tensor  # [N, H] f32


class AttentionOut(NamedTuple):
    out: Tensor  # [N, D]
    index_loss: Tensor  # scalar; 0 without an indexer


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, ratio: int) -> None:
        super().__init__()
        self.config = config
        self.ratio = ratio
        n_heads, width = config.num_attention_heads, config.head_dim
        self.wq_a = Fp8Linear(config.hidden_size, config.q_lora_rank)
        self.q_norm = RmsNorm(config.q_lora_rank, config.rms_norm_eps)
        self.wq_b = Fp8Linear(config.q_lora_rank, n_heads * width)
        self.wkv = Fp8Linear(config.hidden_size, width)
        self.kv_norm = RmsNorm(width, config.rms_norm_eps)
        self.wo_a = Fp8Linear(
            n_heads * width // config.o_groups, config.o_groups * config.o_lora_rank
        )
        self.wo_b = Fp8Linear(config.o_groups * config.o_lora_rank, config.hidden_size)
        self.attn_sink = nn.Parameter(torch.zeros(n_heads))
        if ratio != WINDOW:
            self.compressor = Compressor(config, ratio, width)
        if ratio == SPARSE:
            self.indexer = Indexer(config)

    def forward(
        self, x: Tensor, layout: Layout, numerics: Numerics, n_best: Tensor
    ) -> AttentionOut:
        near_angles = layout.window_angles if self.ratio == WINDOW else layout.near_angles
        rounded = numerics.activation(x)
        qr = self._query_latent(rounded, numerics)
        q = self.wq_b(qr, numerics).unflatten(-1, (self.config.num_attention_heads, -1))
        q = scaled_to_unit(q, self.config.rms_norm_eps)
        row = rotate(self.kv_norm(self.wkv(rounded, numerics), numerics), near_angles)
        row = numerics.row(row, self.config.plain_channels)

        near = self._window(rotate(q, near_angles).to(numerics.dtype), row, layout)
        mass = near.mass + self.attn_sink.exp()
        loss = x.new_zeros((), dtype=torch.float32)
        if self.ratio == WINDOW:
            o = rotate(near.values.float() / mass.unsqueeze(-1), near_angles, back=True)
            return AttentionOut(self._project(o, numerics), loss)

        q_far = rotate(q, layout.far_angles).to(numerics.dtype)
        rows = self.compressed_rows(x, layout, numerics)
        if self.ratio == SPARSE:
            # Neither gradient reaches the other part: the indexer learns where attention looks.
            scores = self.indexer(x.detach(), qr.detach(), layout, numerics)
            chosen = select_best(scores, layout.sparse_visible, n_best, self.config.index_topk)
            far, attention = self._sparse(q_far, rows, chosen, mass, layout)
            loss = index_loss(scores, attention, chosen)
        else:
            far = self._heavy(q_far, rows, layout)
        mass = (mass + far.mass).unsqueeze(-1)
        o = rotate(near.values.float() / mass, near_angles, back=True)
        o = o + rotate(far.values.float() / mass, layout.far_angles, back=True)
        return AttentionOut(self._project(o, numerics), loss)

    def index_scores(self, x: Tensor, layout: Layout, numerics: Numerics) -> Tensor:
        """[B, T, T / 4] f32"""
        qr = self._query_latent(numerics.activation(x), numerics)
        return self.indexer(x, qr, layout, numerics)

    def _query_latent(self, rounded: Tensor, numerics: Numerics) -> Tensor:
        """[N, Lq], rounded: it is read by the heads of attention and by those of the indexer."""
        return numerics.activation(self.q_norm(self.wq_a(rounded, numerics), numerics))

    def compressed_rows(self, x: Tensor, layout: Layout, numerics: Numerics) -> Tensor:
        """[N / R, Dh]"""
        rows = self.compressor(x, layout, numerics)
        return numerics.row(rows, self.config.plain_channels)

    def _weights(self, q: Tensor, rows: Tensor) -> Tensor:
        """Logits of q [..., n, Dh] over rows [..., S, Dh], f32."""
        return (q @ rows.transpose(-1, -2)).float() * self.config.head_dim**-0.5

    def _window(self, q: Tensor, row: Tensor, layout: Layout) -> Part:
        """Blocks of W queries against the rows of their own and of the block before."""
        window, n_heads = self.config.sliding_window, self.config.num_attention_heads
        blocks = row.unflatten(0, (-1, window))
        rows = torch.cat((torch.cat((blocks[:1], blocks[:-1])), blocks), 1)  # [N/W, 2W, Dh]
        query = torch.arange(window, device=q.device)[:, None]
        key = torch.arange(2 * window, device=q.device)[None]
        seen = (key > query) & (key <= query + window)  # [W, 2W]
        seen = seen & ~(layout.starts_window[:, None, None] & (key < window))  # [N/W, W, 2W]
        logits = self._weights(q.reshape(-1, window * n_heads, q.shape[-1]), rows)
        logits = logits.view(-1, window, n_heads, 2 * window)
        weights = logits.exp().masked_fill(~seen.unsqueeze(2), 0)
        values = weights.to(row.dtype).flatten(1, 2) @ rows
        return Part(values.view(q.shape), weights.sum(-1).view(-1, n_heads))

    def _sparse(
        self, q: Tensor, rows: Tensor, chosen: Tensor, other_mass: Tensor, layout: Layout
    ) -> tuple[Part, Tensor]:
        """Attention to the chosen rows, and its spread over them [B, T, S], summed over heads."""
        n_sequences, n_tokens = layout.n_sequences, layout.n_tokens
        rows = rows.unflatten(0, (n_sequences, -1))
        logits = self._weights(q.view(n_sequences, -1, q.shape[-1]), rows)
        logits = logits.view(n_sequences, n_tokens, self.config.num_attention_heads, -1)
        weights = logits.exp().masked_fill(~chosen.unsqueeze(2), 0)
        mass = weights.sum(-1)
        values = weights.to(rows.dtype).flatten(1, 2) @ rows
        whole = (mass + other_mass.view(mass.shape)).unsqueeze(-1)
        attention = (weights / whole).detach().sum(2)
        return Part(values.view(q.shape), mass.flatten(0, 1)), attention

    def _heavy(self, q: Tensor, rows: Tensor, layout: Layout) -> Part:
        """Attention to every finished heavily compressed row of the batch that may be seen."""
        logits = self._weights(q.flatten(0, 1), rows).view(*q.shape[:2], -1)
        logits = logits + layout.heavy_log_count[:, None, None]
        weights = logits.exp().masked_fill(~layout.heavy_visible.unsqueeze(1), 0)
        values = weights.to(rows.dtype).flatten(0, 1) @ rows
        return Part(values.view(q.shape), weights.sum(-1))

    def _project(self, o: Tensor, numerics: Numerics) -> Tensor:
        """o [N, H, Dh] through the grouped matrix, which takes it unrounded, then the joint one."""
        groups = self.config.o_groups
        o = o.to(numerics.dtype).reshape(o.shape[0], groups, -1)
        wo_a = numerics.fp8_weight(self.wo_a.weight).unflatten(0, (groups, -1))
        low = torch.einsum("ngk,grk->ngr", o, wo_a).flatten(1)
        return functional.linear(numerics.activation(low), numerics.fp8_weight(self.wo_b.weight))
