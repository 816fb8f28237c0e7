"""Answers of lesson 12, for the lecturer."""

import torch


def forward(x, conv_kernel, gamma, beta, mean, variance, head_kernel, head_bias, epsilon=1e-3):
    x = torch.conv2d(x.permute(0, 3, 1, 2), conv_kernel.permute(3, 2, 0, 1), padding=1)
    x = torch.batch_norm(x, gamma, beta, mean, variance, False, 0.0, epsilon, False)
    return x.relu().mean((2, 3)) @ head_kernel + head_bias


def fold(conv_kernel, gamma, beta, mean, variance, epsilon=1e-3):
    factor = gamma / (variance + epsilon).sqrt()
    return conv_kernel * factor, beta - mean * factor
