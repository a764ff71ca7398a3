import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fauxface_train import products  # noqa: E402
from fauxface_train.model import build  # noqa: E402

BFLOAT16 = torch.bfloat16


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side", "bias"),
    [
        (3, 1, 1, 4, False),
        (3, 2, 1, 8, False),
        (1, 2, 0, 8, False),
        (3, 2, 1, 7, True),
        (1, 1, 0, 5, True),
    ],
)
def test_a_product_is_the_convolution(kernel, stride, padding, side, bias):
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 10, kernel, stride, padding, bias=bias)
    product = copy.deepcopy(plain)
    product.__class__ = products.ProductConv
    given = torch.randn(3, 6, side, side).to(memory_format=torch.channels_last)
    inputs = [given.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(x) for layer, x in zip((plain, product), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, expected), (_, found) in zip(
        plain.named_parameters(), product.named_parameters(), strict=True
    ):
        torch.testing.assert_close(found.grad, expected.grad, msg=name)


def test_the_last_stage_becomes_products_and_the_network_stays_the_same():
    torch.manual_seed(0)
    net = build().eval()
    before = dict(net.named_parameters())
    faces = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = net(faces)
        products.use_products(net)
        torch.testing.assert_close(net(faces), expected, rtol=1e-4, atol=1e-5)
    changed = [name for name, module in net.named_modules() if isinstance(module, products.ProductConv)]
    assert changed == [
        "layer4.0.conv1",
        "layer4.0.conv2",
        "layer4.0.downsample.0",
        "layer4.1.conv1",
        "layer4.1.conv2",
    ]
    assert all(after is before[name] for name, after in net.named_parameters())


@pytest.mark.parametrize(
    ("device", "dtype", "flags", "expected"),
    [
        ("cpu", BFLOAT16, {"amx_bf16": True}, True),
        ("cpu", BFLOAT16, {"amx_bf16": False, "avx512_bf16": True}, False),
        ("cpu", BFLOAT16, {}, False),
        ("cpu", torch.float32, {"amx_bf16": True}, False),
        ("meta", BFLOAT16, {"amx_bf16": True}, False),
    ],
)
def test_products_are_for_amx(monkeypatch, device, dtype, flags, expected):
    monkeypatch.setattr(products, "processor_flags", lambda: flags)
    assert products.pays(torch.device(device), dtype) is expected
