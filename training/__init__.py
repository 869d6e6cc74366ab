"""The recipe of the bundled model: data, network, training, export, evaluation.  See README.md."""
