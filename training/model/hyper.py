"""mHC: M parallel streams that every sub-layer reads by one mix and writes back by another.

The M × M mix is driven to equal row and column sums (Sinkhorn); everything here is f32, the streams
have the type of the large products.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.model.config import ModelConfig
from training.model.sinkhorn import sinkhorn


def hyper_mix(
    streams: Tensor, fn: Tensor, scale: Tensor, base: Tensor, config: ModelConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """streams [N, M, D] -> pre [N, M], post [N, M], comb [N, M, M] (first index: source stream)."""
    n_streams, eps = config.hc_mult, config.hc_eps
    mix = _projected(streams, fn, config.rms_norm_eps)
    pre, post, comb = mix.split((n_streams, n_streams, n_streams * n_streams), -1)
    base_pre, base_post, base_comb = base.split((n_streams, n_streams, n_streams * n_streams))
    pre = torch.sigmoid(pre * scale[0] + base_pre) + eps
    post = 2 * torch.sigmoid(post * scale[1] + base_post)
    logits = (comb * scale[2] + base_comb).unflatten(-1, (n_streams, n_streams))
    return pre, post, sinkhorn(logits.contiguous(), config.hc_sinkhorn_iters, eps)


def hyper_pre(streams: Tensor, pre: Tensor) -> Tensor:
    """The input of a sub-layer, [N, D]."""
    return (pre.unsqueeze(-1) * streams.float()).sum(1).to(streams.dtype)


def hyper_post(streams: Tensor, out: Tensor, post: Tensor, comb: Tensor) -> Tensor:
    # Sums of four terms, written out: they fuse with their neighbours, a tiny product would not.
    mixed = (comb.unsqueeze(-1) * streams.float().unsqueeze(2)).sum(1)
    return (post.unsqueeze(-1) * out.float().unsqueeze(1) + mixed).to(streams.dtype)


def hyper_head(
    streams: Tensor, fn: Tensor, scale: Tensor, base: Tensor, config: ModelConfig
) -> Tensor:
    """The streams as one, [N, D]."""
    pre = torch.sigmoid(_projected(streams, fn, config.rms_norm_eps) * scale + base) + config.hc_eps
    return hyper_pre(streams, pre)


def _projected(streams: Tensor, fn: Tensor, eps: float) -> Tensor:
    flat = streams.flatten(1).float()
    return functional.linear(flat, fn) * torch.rsqrt(flat.square().mean(-1, keepdim=True) + eps)
