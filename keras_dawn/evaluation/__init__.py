"""How good a trained model is: accuracies, averaged views, answers, statistics measured anew."""

from keras_dawn.evaluation.answers import Answers, collect_answers
from keras_dawn.evaluation.batch_statistics import estimate_statistics
from keras_dawn.evaluation.top_k import evaluate_images
from keras_dawn.evaluation.tta import evaluate_tta, predict_tta
from keras_dawn.evaluation.views import Augmented, Views

__all__ = [
    "Answers",
    "Augmented",
    "Views",
    "collect_answers",
    "estimate_statistics",
    "evaluate_images",
    "evaluate_tta",
    "predict_tta",
]
