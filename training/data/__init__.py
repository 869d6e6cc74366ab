"""Text with its licences, the tokenizer, the generators of tasks, and the batches made of them."""
