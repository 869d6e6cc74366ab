"""Checkpoints in the released format, and the states from which training resumes."""
