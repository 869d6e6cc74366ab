#!/usr/bin/env python3
"""Writes tests/data/lineage/golden.safetensors: attentions before V4, computed by others' code.

usage: make_lineage_golden.py OUTPUT.safetensors

Needs torch, numpy and transformers >= 5.24.  Multi-head and grouped attention come from
transformers' llama, latent attention from its deepseek_v2, deepseek_v3 and deepseek_v32 (whose
indexer gives the selections), all in float32 with random weights; native sparse attention is its
paper (arXiv 2502.11089) in numpy.  What a cache keeps is rounded to the cache's format on the way,
so that a reader of the file keeps the same numbers.
"""
import pathlib
import sys
import types

import numpy as np
import torch
from transformers.models.deepseek_v2 import configuration_deepseek_v2 as v2_config
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as v2
from transformers.models.deepseek_v3 import configuration_deepseek_v3 as v3_config
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3
from transformers.models.deepseek_v32 import configuration_deepseek_v32 as v32_config
from transformers.models.deepseek_v32 import modeling_deepseek_v32 as v32
from transformers.models.llama import configuration_llama as llama_config
from transformers.models.llama import modeling_llama as llama

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cut_golden import write_safetensors  # noqa: E402

N_TOKENS = 16
E4M3_MAX = 448.0


def bf16(x):
    return x.to(torch.bfloat16).float()


def e4m3_rows(x):
    """Each row of the last axis as e4m3 codes times one f32 scale."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-4) / E4M3_MAX
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


class Recorder:
    """Stands in for a cache: rounds what is kept, and remembers it."""

    def __init__(self):
        self.kept = None
        self.index_keys = None

    def update(self, keys, values, *_, **__):
        self.kept = (bf16(keys), values)
        return self.kept

    def update_indexer(self, keys, *_):
        self.index_keys = e4m3_rows(keys)
        return self.index_keys


def causal_mask(n):
    return torch.full((n, n), float("-inf")).triu(1)[None, None]


def randomise(module, seed):
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return module.float().eval()


def record_attention(modeling, seen):
    """Lets the module's own attention run, and keeps its arguments and result."""
    original = modeling.eager_attention_forward

    def recording(module, query, key, value, mask, scaling, **kwargs):
        out, weights = original(module, query, key, value, mask, scaling=scaling, **kwargs)
        seen.update(q=query[0].transpose(0, 1), out=out[0], scale=torch.tensor([scaling]))
        return out, weights

    modeling.eager_attention_forward = recording


def run_llama(name, n_kv_heads, seed, tensors):
    config = llama_config.LlamaConfig(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=n_kv_heads, head_dim=16,
        attn_implementation="eager")
    module = randomise(llama.LlamaAttention(config, 0), seed)
    cache, seen = Recorder(), {}
    cache.update = lambda k, v, *_, **__: setattr(cache, "kept", (bf16(k), bf16(v))) or cache.kept
    record_attention(llama, seen)
    x = torch.randn(1, N_TOKENS, config.hidden_size)
    rotary = llama.LlamaRotaryEmbedding(config)(x, torch.arange(N_TOKENS)[None])
    with torch.no_grad():
        module(x, rotary, causal_mask(N_TOKENS), cache)
    keys, values = cache.kept
    tensors.update({f"{name}.{key}": value for key, value in seen.items()})
    tensors[f"{name}.k"] = keys[0].transpose(0, 1)
    tensors[f"{name}.v"] = values[0].transpose(0, 1)


LATENT = dict(
    hidden_size=48, num_attention_heads=2, num_key_value_heads=2, q_lora_rank=32, kv_lora_rank=32,
    qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20, attention_bias=False,
    max_position_embeddings=64, attn_implementation="eager")


def run_latent(name, modeling, attention, config, rotary, seed, tensors):
    module = randomise(attention(config, 0), seed)
    cache, seen = Recorder(), {}
    record_attention(modeling, seen)
    x = torch.randn(1, N_TOKENS, config.hidden_size)
    positions = torch.arange(N_TOKENS)[None]
    index = {}
    if hasattr(module, "indexer"):
        quantise_index_queries(modeling, config, index)
    with torch.no_grad():
        module(x, position_embeddings=rotary(config)(x, positions),
               attention_mask=causal_mask(N_TOKENS), cache=cache, position_ids=positions)
    latent, rope = cache.kept
    tensors.update({f"{name}.{key}": value for key, value in seen.items()})
    tensors[f"{name}.latent"] = latent[0, 0]
    tensors[f"{name}.rope"] = rope[0, 0]
    tensors[f"{name}.kv_b"] = module.kv_b_proj.weight
    if not index:
        return
    tensors[f"{name}.index_q"] = index["q"][0]
    tensors[f"{name}.index_k"] = cache.index_keys[0]
    tensors[f"{name}.index_weights"] = module.indexer.weights_proj(x)[0]
    tensors[f"{name}.selected"] = visible_only(index["selected"][0])


def quantise_index_queries(modeling, config, index):
    """Rounds the indexer's queries where they meet the keys, and keeps its choice."""
    proxy = types.SimpleNamespace(**{name: getattr(torch, name) for name in dir(torch)})

    def matmul(a, b):
        if a.dim() == 4 and a.shape[2:] == (config.index_n_heads, config.index_head_dim):
            a = index["q"] = e4m3_rows(a)
        return torch.matmul(a, b)

    proxy.matmul = matmul
    modeling.torch = proxy
    forward = modeling.DeepseekV32Indexer.forward

    def keeping(self, *args, **kwargs):
        index["selected"] = forward(self, *args, **kwargs)
        return index["selected"]

    modeling.DeepseekV32Indexer.forward = keeping


def visible_only(selected):
    """Sorted rows of each token, those after it as -1 at the end."""
    rows = []
    for position, row in enumerate(selected.tolist()):
        seen = sorted(r for r in row if r <= position)
        rows.append(seen + [-1] * (len(row) - len(seen)))
    return torch.tensor(rows, dtype=torch.int32)


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def attend(q, rows, key_dim, scale):
    """Value and weights of one query over rows of a key and a value."""
    weights = softmax(rows[:, :key_dim] @ q.astype(float) * scale)
    return weights @ rows[:, key_dim:], weights


def run_nsa(tensors):
    """Equations 7 to 12 of the paper, one token, group and head after the other."""
    rng = np.random.default_rng(11)
    block, stride, select, n_selected, window = 8, 4, 16, 4, 12
    n, heads, groups, key_dim, value_dim = 100, 4, 2, 16, 16
    first = n - 6  # the step's first token
    scale = key_dim**-0.5

    def rows(count):
        keys = rng.standard_normal((groups, count, key_dim + value_dim), dtype=np.float32)
        return bf16(torch.from_numpy(keys)).double().numpy()

    n_blocks = (n - block) // stride + 1
    blocks, tokens, recent = rows(n_blocks), rows(n), rows(n)
    q = rng.standard_normal((n - first, heads, key_dim), dtype=np.float32)
    gates = rng.random((n - first, 3, heads), dtype=np.float32)
    out = np.zeros((n - first, heads, value_dim))
    chosen = np.full((n - first, groups, n_selected), -1, np.int32)
    for t in range(n - first):
        position = first + t
        seen_blocks = (position + 1 - block) // stride + 1
        for g in range(groups):
            group_heads = range(g * heads // groups, (g + 1) * heads // groups)
            kv = blocks[g, :seen_blocks]
            importance = np.zeros(seen_blocks)
            for h in group_heads:
                value, weights = attend(q[t, h], kv, key_dim, scale)
                out[t, h] += gates[t, 0, h] * value
                importance += weights
            scores = select_scores(importance, position, block, stride, select)
            last = len(scores) - 1
            fixed = [0, last - 1, last]
            rest = [j for j in np.argsort(-scores, kind="stable") if j not in fixed]
            picks = sorted(fixed + rest[: n_selected - len(fixed)])
            chosen[t, g] = picks
            picked = [r for r in range(position + 1) if r // select in picks]
            reached = recent[g, position + 1 - window : position + 1]
            for h in group_heads:
                for gate, kv in ((1, tokens[g, picked]), (2, reached)):
                    value, _ = attend(q[t, h], kv, key_dim, scale)
                    out[t, h] += gates[t, gate, h] * value
    for name, array in dict(q=q, gates=gates.reshape(n - first, 3 * heads), out=out, blocks=blocks,
                            tokens=tokens, recent=recent[:, first + 1 - window :]).items():
        tensors[f"nsa.{name}"] = torch.from_numpy(np.asarray(array, np.float32))
    tensors["nsa.chosen"] = torch.from_numpy(chosen)


def select_scores(importance, position, block, stride, select):
    """A select block gets each compressed block's weight once for every stride of it inside."""
    scores = np.zeros(position // select + 1)
    for i, weight in enumerate(importance):
        for begin in range(i * stride, i * stride + block, stride):
            if begin // select < len(scores):
                scores[begin // select] += weight
    return scores


def main():
    torch.set_grad_enabled(False)
    tensors = {}
    run_llama("mha", 4, 1, tensors)
    run_llama("gqa", 2, 2, tensors)
    run_latent("v2", v2, v2.DeepseekV2Attention, v2_config.DeepseekV2Config(**LATENT),
               v2.DeepseekV2RotaryEmbedding, 3, tensors)
    run_latent("v3", v3, v3.DeepseekV3Attention, v3_config.DeepseekV3Config(**LATENT),
               v3.DeepseekV3RotaryEmbedding, 4, tensors)
    sparse = v32_config.DeepseekV32Config(
        **LATENT, index_n_heads=4, index_head_dim=32, index_topk=6)
    run_latent("v32", v32, v32.DeepseekV32Attention, sparse, v32.DeepseekV32RotaryEmbedding, 5,
               tensors)
    run_nsa(tensors)
    packed = {}
    for name, tensor in tensors.items():
        array = np.ascontiguousarray(tensor.detach().numpy())
        kind = "I32" if array.dtype == np.int32 else "F32"
        data = array.astype("<i4" if kind == "I32" else "<f4").tobytes()
        packed[name] = (kind, list(array.shape), data)
    pathlib.Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(pathlib.Path(sys.argv[1]), packed, {"transformers": "5.24"})


if __name__ == "__main__":
    main()
