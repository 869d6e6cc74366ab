"""The training loop: recipe, losses, optimiser, states to resume from, log."""
