"""Every picture, drawn from records or objects with matplotlib (extra `plots`)."""

from keras_dawn.plots.answers import plot_confusion, plot_worst_losses
from keras_dawn.plots.comparison import plot_comparison
from keras_dawn.plots.images import show_batch
from keras_dawn.plots.layers import plot_layer_statistics
from keras_dawn.plots.range_test import plot_range_test
from keras_dawn.plots.schedule import plot_schedule
from keras_dawn.plots.training import plot_loss, plot_metric, plot_time_to_accuracy

__all__ = [
    "plot_comparison",
    "plot_confusion",
    "plot_layer_statistics",
    "plot_loss",
    "plot_metric",
    "plot_range_test",
    "plot_schedule",
    "plot_time_to_accuracy",
    "plot_worst_losses",
    "show_batch",
]
