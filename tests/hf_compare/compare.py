#!/usr/bin/env python3
"""Compares precis with Hugging Face transformers on a checkpoint in the released format.

usage: compare.py PRECIS MODEL [TEXT_FILE] [--tokens N]

Loads MODEL with transformers' `deepseek_v4` in float32, computes the logits of the first N tokens of
TEXT_FILE, and hands them to `PRECIS verify` as expected values.  Needs the Python packages torch,
transformers >= 5.24, accelerate, tokenizers and safetensors; not part of `make test`.

transformers dequantises the FP8 and FP4 weights and rounds neither activations nor KV rows, so the
logits agree as closely as those roundings allow, not bit by bit.  The limits below leave room over the
bundled model's 3.1 % median difference and 94.8 % same most likely token on 1,000 tokens.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.integrations import finegrained_fp8

MAX_MEDIAN_DIFFERENCE = 0.05
MIN_SAME_TOKEN = 0.93


def dequantize_ragged(weight, scales, block):
    """values = codes * scales where the last block of a row or column may be a part of one."""
    scales = scales.float().repeat_interleave(block, 0).repeat_interleave(block, 1)
    return weight.float() * scales[: weight.shape[0], : weight.shape[1]]


def accept_ragged_blocks():
    """transformers 5.24 refuses a matrix that is no whole number of 128 x 128 blocks."""
    whole_blocks = finegrained_fp8.Fp8Dequantize._dequantize_one

    def dequantize_one(self, quantized, scales, output_dtype=None):
        rows, cols = quantized.shape[-2:]
        ragged = quantized.dim() == 2 and (rows % scales.shape[-2] or cols % scales.shape[-1])
        if not ragged:
            return whole_blocks(self, quantized, scales, output_dtype)
        return dequantize_ragged(quantized, scales, 128).to(output_dtype or torch.float32)

    finegrained_fp8.Fp8Dequantize._dequantize_one = dequantize_one


def reference_logits(model_dir, token_ids):
    accept_ragged_blocks()
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model.eval()
    with torch.no_grad():
        return model(torch.tensor([token_ids])).logits[0].float().contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("precis")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path, nargs="?")
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--keep", type=pathlib.Path, help="also write the expected values here")
    args = parser.parse_args()

    text_file = args.text or args.model / "example" / "document.txt"
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    ids = [0] + tokenizer.encode(text_file.read_text(encoding="utf-8"), add_special_tokens=False).ids
    ids = ids[: args.tokens]
    logits = reference_logits(args.model, ids)
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).item()
    print(f"transformers: {len(ids)} tokens, {loss:.4f} nats a token")

    with tempfile.TemporaryDirectory() as scratch:
        expected = args.keep or pathlib.Path(scratch) / "expected.safetensors"
        tensors = {"input_ids": torch.tensor(ids, dtype=torch.int32), "logits": logits}
        save_file(tensors, str(expected), metadata={"n_prefill": str(len(ids))})
        command = [args.precis, "verify", "-m", str(args.model), "--expected", str(expected), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    report = json.loads(done.stdout)["end_to_end"]
    print(f"precis: median relative difference {report['logits_rel_median']:.4f} "
          f"(at most {MAX_MEDIAN_DIFFERENCE}), same most likely token {report['argmax_agree']:.4f} "
          f"(at least {MIN_SAME_TOKEN})")
    ok = (report["logits_rel_median"] <= MAX_MEDIAN_DIFFERENCE
          and report["argmax_agree"] >= MIN_SAME_TOKEN)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
