"""Answers of lesson 5, for the lecturer."""


def scaled_rate(rate, batch, new_batch):
    return rate * new_batch / batch


def fraction_left(rate, decay, steps_per_epoch, epochs):
    return (1 - rate * decay) ** (steps_per_epoch * epochs)


def scaled_decay(decay, batch, new_batch, rate, new_rate):
    return decay * (new_batch / batch) * (rate / new_rate)
