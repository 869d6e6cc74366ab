"""DeepSeek-V4 in PyTorch as it is trained: whole sequences, gradients, the release's roundings."""
