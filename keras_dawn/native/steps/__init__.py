"""One step of training, evaluation or prediction, by graph and by layer."""
