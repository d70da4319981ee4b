"""Ten networks in the ways that other people write them. They know nothing of mnistlab."""

from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F


class Functional(nn.Module):
    """Everything without weights is a function; even the dropout is."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(800, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.dropout(F.relu(self.fc1(x)), p=0.25, training=self.training)
        x = F.dropout(F.relu(self.fc2(x)), training=self.training)
        return self.fc3(x)


def conv_block(in_f, out_f, **kwargs):
    return nn.Sequential(nn.Conv2d(in_f, out_f, **kwargs), nn.BatchNorm2d(out_f), nn.LeakyReLU(0.1, inplace=True))


def stage(in_f, out_f):
    return nn.Sequential(
        conv_block(in_f, out_f, kernel_size=3, padding=1),
        conv_block(out_f, out_f, kernel_size=3, padding=1),
        nn.MaxPool2d(2, 2),
    )


class Nested(nn.Module):
    """Blocks in blocks, made by functions."""

    def __init__(self, sizes=(1, 16, 32, 64), hidden=(576, 128, 64), n_classes=10):
        super().__init__()
        self.encoder = nn.ModuleList([stage(a, b) for a, b in zip(sizes, sizes[1:])])
        blocks = [nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(p=0.3)) for a, b in zip(hidden, hidden[1:])]
        self.decoder = nn.Sequential(nn.Flatten(), nn.Sequential(*blocks), nn.Linear(hidden[-1], n_classes))

    def forward(self, x):
        for block in self.encoder:
            x = block(x)
        return self.decoder(x)


class CNN(nn.Module):
    """With a view, and with the name of a network of ours."""

    def __init__(self):
        super(CNN, self).__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, 16, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(kernel_size=2))
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2))
        self.out = nn.Linear(32 * 7 * 7, 10)

    def forward(self, x):
        x = self.conv2(self.conv1(x))
        x = x.view(x.size(0), -1)
        return self.out(x)


class Reuse(nn.Module):
    """One ReLU, one pooling and one dropout of whole maps serve every block."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 32, kernel_size=3, padding="same")
        self.conv_2 = nn.Conv2d(32, 64, kernel_size=3, padding="same")
        self.relu = nn.ReLU()
        self.max_pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.dropout = nn.Dropout2d(p=0.1)
        self.linear_1, self.linear_2 = nn.Linear(64 * 7 * 7, 128), nn.Linear(128, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.dropout(self.max_pool(self.relu(self.conv_1(x))))
        out = self.dropout(self.max_pool(self.relu(self.conv_2(out))))
        return self.linear_2(self.relu(self.linear_1(out.reshape(out.shape[0], -1))))


class ThreeChannels(nn.Module):
    """Made for colour photographs of any size."""

    def __init__(self, num_classes=10):
        super(ThreeChannels, self).__init__()
        layers, before = [], 3
        for after in (32, 64, "M", 128):
            if after == "M":
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
                before = after
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(512, num_classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class LogSoftmax(nn.Module):
    """Its answers are logarithms of probabilities, and its view has a fixed width."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.drop = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5), nn.Dropout2d()
        self.fc1, self.fc2 = nn.Linear(320, 50), nn.Linear(50, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.drop(self.conv2(x)), 2))
        x = F.relu(self.fc1(x.view(-1, 320)))
        return F.log_softmax(self.fc2(F.dropout(x, training=self.training)), dim=1)


class Classic(nn.Module):
    """No batch norm and no ReLU; means instead of largest values."""

    def __init__(self):
        super().__init__()
        convolutions = OrderedDict(
            [
                ("c1", nn.Conv2d(1, 6, kernel_size=(5, 5), padding=2)),
                ("t1", nn.Tanh()),
                ("s2", nn.AvgPool2d(kernel_size=(2, 2), stride=2)),
                ("c3", nn.Conv2d(6, 16, kernel_size=(5, 5))),
                ("t3", nn.Tanh()),
                ("s4", nn.AvgPool2d(kernel_size=(2, 2), stride=2)),
                ("c5", nn.Conv2d(16, 120, kernel_size=(5, 5))),
                ("t5", nn.Sigmoid()),
            ]
        )
        self.convnet = nn.Sequential(convolutions)
        self.fc = nn.Sequential(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))

    def forward(self, img):
        output = self.convnet(img)
        return self.fc(output.view(img.size(0), -1))


class Block(nn.Module):
    def __init__(self, inp, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or inp != out:
            self.shortcut = nn.Sequential(nn.Conv2d(inp, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return F.relu(out)


class Residual(nn.Module):
    """What went into a block is added to what comes out, in place."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.layers = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.linear(self.avgpool(self.layers(self.stem(x))).squeeze(-1).squeeze(-1))


def shuffled(x, groups):
    n, c, h, w = x.size()
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


class Grouped(nn.Module):
    """Channels in four groups, which are mixed by views; the two ways are joined."""

    def __init__(self, groups=4):
        super().__init__()
        self.groups = groups
        self.conv1, self.bn1 = nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32)
        self.compress = nn.Conv2d(32, 16, 1, groups=groups)
        self.middle = nn.Conv2d(16, 16, 3, 2, 1, groups=groups, bias=False)
        self.expand, self.bn2 = nn.Conv2d(16, 32, 1, groups=groups), nn.BatchNorm2d(32)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        out = self.middle(shuffled(F.relu(self.compress(x)), self.groups))
        out = torch.cat((F.avg_pool2d(x, 3, 2, 1), self.bn2(self.expand(out))), 1)
        out = F.avg_pool2d(F.relu(out), out.size()[-2:])
        return self.fc(out.view(out.size(0), -1))


class ConvBNAct(nn.Sequential):
    def __init__(self, inp, out, kernel_size=3, stride=1, groups=1, act=nn.ReLU6):
        convolution = nn.Conv2d(inp, out, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(out), act(inplace=True))


class Separable(nn.Module):
    """Each channel is filtered by itself, then all are mixed point by point; the end is a mean over the maps."""

    def __init__(self, width_mult: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        channels = int(16 * width_mult)
        features = [ConvBNAct(1, channels)]
        for out, stride, act in ((32, 2, nn.ReLU6), (64, 2, nn.Hardswish), (64, 1, nn.Hardswish)):
            features += [ConvBNAct(channels, channels, 3, stride, channels, act), ConvBNAct(channels, out, 1, act=act)]
            channels = out
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout, inplace=True), nn.Linear(channels, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


NETWORKS = {
    "functional": Functional,
    "nested": Nested,
    "view": CNN,
    "reuse": Reuse,
    "three channels": ThreeChannels,
    "log-softmax": LogSoftmax,
    "classic": Classic,
    "residual": Residual,
    "grouped": Grouped,
    "separable": Separable,
}
