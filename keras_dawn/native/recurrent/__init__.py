"""Recurrent layers on torch: what the lowered graphs of LSTM, GRU and their like call."""

from keras_dawn.native.recurrent.convolutional import conv_lstm
from keras_dawn.native.recurrent.layers import bidirectional, gru, lstm, simple_rnn
from keras_dawn.native.recurrent.sequences import item

__all__ = ["bidirectional", "conv_lstm", "gru", "item", "lstm", "simple_rnn"]
