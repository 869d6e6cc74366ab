#!/usr/bin/env python3
"""Cuts a golden checkpoint's expected values to their first tokens.

usage: cut_golden.py [--tokens N] [--prefill P] INPUT_DIR OUTPUT_DIR

INPUT_DIR holds config.json, model.safetensors and expected.safetensors; the first two are copied.
Every value depends on earlier tokens only, so the cut is exact: tensors of a token keep N rows,
rows.L and index_rows.L keep the N // R rows that N tokens finish, mtp.logits keeps P - 1.  P falls
to the file's own n_prefill where that is smaller, because no MTP logits exist beyond it.
"""
import argparse
import json
import math
import pathlib
import shutil
import struct


def read_safetensors(path):
    """{name: (dtype, shape, bytes)} and the metadata of a file."""
    data = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes])
    metadata = header.pop("__metadata__", {})
    payload = data[8 + header_bytes :]
    tensors = {
        name: (info["dtype"], info["shape"], payload[slice(*info["data_offsets"])])
        for name, info in header.items()
    }
    return tensors, metadata


def write_safetensors(path, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())
    )


def n_rows_kept(name, ratios, n_tokens, n_prefill):
    kind, _, layer = name.partition(".")
    if name == "mtp.logits":
        return n_prefill - 1
    if kind in ("rows", "index_rows"):
        return n_tokens // ratios[int(layer)]
    return n_tokens


def first_rows(tensor, n_rows):
    dtype, shape, data = tensor
    if n_rows > shape[0]:
        raise SystemExit(f"want at least {n_rows} rows, found {shape[0]}")
    row_bytes = len(data) // shape[0]
    cut = data[: n_rows * row_bytes]
    assert len(cut) == math.prod([n_rows, *shape[1:]]) * 4
    return dtype, [n_rows, *shape[1:]], cut


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--prefill", type=int, default=139)
    parser.add_argument("input_dir", type=pathlib.Path)
    parser.add_argument("output_dir", type=pathlib.Path)
    args = parser.parse_args()

    ratios = json.loads((args.input_dir / "config.json").read_text())["compress_ratios"]
    tensors, metadata = read_safetensors(args.input_dir / "expected.safetensors")
    n_prefill = min(args.prefill, int(metadata["n_prefill"]))
    cut = {
        name: first_rows(tensor, n_rows_kept(name, ratios, args.tokens, n_prefill))
        for name, tensor in tensors.items()
    }
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(args.input_dir / name, args.output_dir / name)
    write_safetensors(
        args.output_dir / "expected.safetensors", cut, metadata | {"n_prefill": str(n_prefill)}
    )


if __name__ == "__main__":
    main()
