"""Checks of the exercises: they say whether an answer is right, and hint if it is not."""
