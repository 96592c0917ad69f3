import torch

import zoo
from downstream.finetune.classifier import Classifier


@torch.no_grad()
def test_a_classifier_over_layers_sees_their_pooled_maps_side_by_side():
    backbone = zoo.create("resnet10").eval()
    classifier = Classifier(backbone, 7, ("res3", "res5")).eval()
    torch.nn.init.normal_(classifier.head.weight)
    x = torch.randn(2, 3, 32, 32)
    maps = backbone.features(x)
    fourths = maps["res3"].unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))  # 8×8 to 4×4
    columns = torch.cat([fourths.flatten(1), maps["res5"].flatten(1)], 1)
    columns *= (1 + classifier.norm.eps) ** -0.5  # no statistics were seen yet
    assert torch.allclose(
        classifier(x), columns @ classifier.head.weight.T + classifier.head.bias, atol=1e-4
    )
