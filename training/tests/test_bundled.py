"""The bundled model in the trainer: trained weights, partial blocks, other widths."""

import json
import pathlib
import subprocess

import torch

from training.checkpoint.expected import expected_values, n_prefill
from training.checkpoint.export import READ_BACK
from training.checkpoint.load import load_network
from training.checkpoint.released import write_tensors
from training.data.tokenizer import BEGIN, Encoder, load_tokenizer
from training.tests.small_run import MINI, program

N_TOKENS = 400


def test_precis_and_trainer_agree_on_the_bundled_model(tmp_path: pathlib.Path) -> None:
    precis = program()
    text = (MINI / "example" / "document.txt").read_text(encoding="utf-8")[:5000]
    encoder = Encoder(load_tokenizer(MINI / "tokenizer.json"))
    token_ids = torch.tensor([BEGIN, *encoder(text)])[:N_TOKENS]
    values = expected_values(load_network(MINI), token_ids, READ_BACK)
    loss = torch.nn.functional.cross_entropy(values["logits"][:-1], token_ids[1:])
    assert loss.item() < 4  # nats a token; guessing by frequency is above 6

    expected = tmp_path / "expected.safetensors"
    write_tensors(expected, values, {"n_prefill": str(n_prefill(N_TOKENS))})
    command = [str(precis), "verify", "-m", str(MINI), "--per-layer", "--json"]
    done = subprocess.run(
        [*command, "--expected", str(expected)], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout or "{}")
    assert len(report.get("per_layer", [])) == 5, done.stdout + done.stderr
    for layer in report["per_layer"]:
        assert layer["attn_out_rel_median"] < 1e-5, layer
        assert layer["ffn_out_rel_median"] < 1e-5, layer
        assert layer["topk_overlap"] > 0.995, layer
