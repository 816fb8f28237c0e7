"""Answers of lesson 6, for the lecturer."""

import numpy as np


def adaptive_pool(x, n):
    def parts(size):
        return [slice(i * size // n, -(-(i + 1) * size // n)) for i in range(n)]

    rows, columns = map(parts, x.shape)
    return np.array([[x[row, column].mean() for column in columns] for row in rows])


def relative_cost(size, full):
    return (size / full) ** 2


def relative_cost_of_plan(epochs_by_size, full):
    costs = [epochs * relative_cost(size, full) for size, epochs in epochs_by_size.items()]
    return sum(costs) / sum(epochs_by_size.values())
