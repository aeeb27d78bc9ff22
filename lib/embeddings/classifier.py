"""The supervised reference: a small convolutional net that is trained with the effects' names.

Chapter 10 introduces it, as the last row of its table of methods.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lib.data.batches import ArrayDataset, seed_stream

BATCH = 64  # examples of a training step
LEARNING_RATE = 3e-3


def convolutional_net(classes: int) -> nn.Sequential:
    """The net: (batch, 1, band, frame) -> (batch, class); each strided block halves both axes."""
    layers, width = [], 1
    for channels, stride in ((16, 2), (32, 2), (64, 2), (96, 2), (96, 1)):
        layers.append(nn.Conv2d(width, channels, 3, stride, 1))
        layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU())
        width = channels
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(width, classes)]
    return nn.Sequential(*layers, *head)


def classify(
    train: ArrayDataset, labels: np.ndarray, test: ArrayDataset, epochs: int, seed: int
) -> tuple[np.ndarray, float]:
    """Train on labels (example,) and name the test examples.

    Returns the names (example,) and the mean loss of the last epoch, in nats per example.
    """
    names, codes = np.unique(labels, return_inverse=True)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_stream(seed, 4))
        net = convolutional_net(len(names))
        net.to(device, memory_format=torch.channels_last)  # 1/5 faster on a CPU
        loss = _train(net, train, torch.from_numpy(codes), epochs, seed)
    net.eval()
    answers = []
    with torch.inference_mode():
        for rows in np.split(np.arange(len(test)), range(256, len(test), 256)):
            answers.append(net(test[rows].to(device)).argmax(1).cpu())
    return names[torch.cat(answers).numpy()], loss


def _train(net, data, y, epochs, seed):
    """Train the net where it lies on examples of classes y (example,); the last epoch's loss."""
    device = next(net.parameters()).device
    order = np.random.default_rng(seed)
    shifts = torch.Generator().manual_seed(seed_stream(seed, 5))
    steps = max(epochs * -(-len(data) // BATCH), 2)
    optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps)
    for _ in range(epochs):
        losses = []
        for rows in np.split(order.permutation(len(data)), range(BATCH, len(data), BATCH)):
            shift = torch.randint(data.shape[-1], (1,), generator=shifts)
            x = data[rows].to(device).roll(int(shift), -1)  # a clip may begin anywhere in time
            loss = cross_entropy(net(x), y[rows].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
    return float(np.mean(losses))
