"""Make tests/data/tiny_bundle, tests/data/variants and tests/data/attacks (needs the `export` extra).

The tiny classifier's logits depend on the mean colour alone, so that a test can steer the verdict:

    redness = (R - (G + B) / 2) / 255        of the mean colour, in [-1, 1]
    logits  = [-(10 * redness - 1), 10 * redness - 1]

With temperature 1 and bias 0, p_generated = sigmoid(20 * redness - 2): gray gives 0.12 (bona fide), redness
0.1 gives 0.5 (unsure, between 0.3 and 0.7), pure red gives 1.0 (generated).

The files in tests/data/variants stand for other precisions: in place of the 1 they have 2 (int8) or 3 (fp16).

The tiny locator finds one face per picture: the box around all pixels of which a channel is brighter than 60.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from fauxface.bundle import write_manifest

HERE = Path(__file__).parent
CREATED = "2026-01-31T12:00:00Z"


def model(nodes, inputs, outputs, initializers) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="fauxface")
    made.ir_version = 10
    onnx.checker.check_model(made, full_check=True)
    return made


def classifier(shift: float = 1) -> onnx.ModelProto:
    weight = np.array([[-10, 5, 5], [10, -5, -5]], np.float32) / 255
    return model(
        [
            helper.make_node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["colour"], keepdims=0),
            helper.make_node("Gemm", ["colour", "weight", "bias"], ["logits"], transB=1),
        ],
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 128, 128, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([shift, -shift], np.float32), "bias"),
        ],
    )


def expected_logits(crops: np.ndarray) -> np.ndarray:
    red, green, blue = crops.reshape(len(crops), -1, 3).mean(axis=1).T
    half = 10 * (red - (green + blue) / 2) / 255 - 1
    return np.stack([-half, half], axis=1).astype(np.float32)


def golden_crops() -> np.ndarray:
    random = np.random.default_rng(0)
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (153, 128, 128)]
    plain = [np.full((128, 128, 3), colour, np.uint8) for colour in colours]
    noise = [random.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in range(2)]
    return np.stack(plain + noise)


def locator() -> onnx.ModelProto:
    """A locator in YuNet's output format that finds one face: the box around all pixels brighter than 60.

    Every cell of stride 32 reports the same box with score 1; strides 8 and 16 report nothing.
    """
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}

    def const(value, dtype=np.float32) -> str:
        name = f"constant_{np.asarray(value, dtype).tolist()}_{np.dtype(dtype)}"
        constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def op(kind: str, *inputs: str, name: str | None = None, **attributes) -> str:
        output = name or f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def peak(value: str, axis: int, keepdims: int = 1) -> str:
        return op("ReduceMax", value, const([axis], np.int64), keepdims=keepdims)

    def count(value: str, axis: int) -> str:
        """1, 2, 3, ... along an axis of a tensor of this shape."""
        ones = op("Add", op("Mul", value, const(0)), const(1))
        return op("CumSum", ones, const(axis, np.int64))

    bright = op("Clip", op("Sub", peak("input", 1), const(60)), const(0), const(1))
    middle, size = {}, {}
    for direction, other in [("x", 2), ("y", 3)]:
        line = peak(bright, other, keepdims=0)
        index = count(line, 2)
        end = peak(op("Mul", line, index), 2)
        start = op("Sub", const(10000), peak(op("Mul", line, op("Sub", const(10001), index)), 2))
        middle[direction] = op("Mul", op("Add", end, start), const(0.5))
        size[direction] = op("Max", op("Sub", end, start), const(1))

    outputs: dict[str, list[str]] = {}
    for stride in (8, 16, 32):
        cells = op("MaxPool", bright, kernel_shape=[stride, stride], strides=[stride, stride])
        cell = {
            "x": op("Sub", count(cells, 3), const(1)),
            "y": op("Sub", count(cells, 2), const(1)),
        }
        nothing = op("Mul", cells, const(0))
        score = op("Add", nothing, peak(peak(bright, 2), 3)) if stride == 32 else nothing

        def at(direction: str, offset: float, cell=cell, stride=stride) -> str:
            point = op("Add", middle[direction], op("Mul", size[direction], const(offset)))
            return op("Sub", op("Mul", point, const(1 / stride)), cell[direction])

        def extent(direction: str, nothing=nothing, stride=stride) -> str:
            return op("Add", op("Log", op("Mul", size[direction], const(1 / stride))), nothing)

        points = [(-0.2, -0.15), (0.2, -0.15), (0, 0.05), (-0.15, 0.25), (0.15, 0.25)]
        outputs[f"cls_{stride}"] = outputs[f"obj_{stride}"] = [score]
        outputs[f"bbox_{stride}"] = [at("x", 0), at("y", 0), extent("x"), extent("y")]
        outputs[f"kps_{stride}"] = [at(*pair) for point in points for pair in zip("xy", point, strict=True)]
    for name, maps in outputs.items():
        stacked = op("Transpose", op("Concat", *maps, axis=1), perm=[0, 2, 3, 1])
        op("Reshape", stacked, const([1, -1, len(maps)], np.int64), name=name)
    order = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
    return model(
        nodes,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, len(outputs[name])])
            for name in order
        ],
        list(constants.values()),
    )


def manifest() -> dict[str, object]:
    return {
        "name": "tiny",
        "created": CREATED,
        "labels": ["bona_fide", "generated"],
        "input": {"size": 128, "layout": "NHWC", "dtype": "uint8", "color": "RGB"},
        "crop": {"margin": 1.2, "padding": "reflect101", "resize": "halve-linear", "min_face_px": 40},
        "locator": {
            "file": "locator.onnx",
            "format": "yunet",
            "score_threshold": 0.6,
            "nms_threshold": 0.3,
            "max_side": 640,
        },
        "classifier": {"fp32": "classifier.onnx"},
        "calibration": {"temperature": 1.0, "bias": 0.0, "fitted_on": "nothing: a made-up model for tests"},
        "thresholds": {"bona_fide_below": 0.3, "generated_from": 0.7, "rule": "chosen by hand for tests"},
        "golden": "golden.npz",
        "card": "MODEL_CARD.md",
        "parity": {},
        "metrics": {},
        "provenance": {"made_by": "tests/data/make_tiny_bundle.py"},
    }


def write_bundle(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    onnx.save(classifier(), folder / "classifier.onnx")
    onnx.save(locator(), folder / "locator.onnx")
    crops = golden_crops()
    np.savez_compressed(folder / "golden.npz", crops=crops, logits=expected_logits(crops))
    (folder / "MODEL_CARD.md").write_text("# tiny\n\nA made-up model for tests: reddish means generated.\n")
    write_manifest(folder, manifest())


def write_variants(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, shift in [("int8", 2), ("fp16", 3)]:
        save(folder, f"classifier.{name}", classifier(shift))


def write_attacks(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    outside = classifier()
    external_data_helper.convert_model_to_external_data(
        outside, location="weights.bin", size_threshold=0, convert_attribute=True
    )
    onnx.save(outside, folder / "external_data.onnx")

    address = classifier()
    tensor = address.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "*/_ORT_MEM_ADDR_/*", "offset": "4096", "length": "24"}.items():
        tensor.external_data.add(key=key, value=value)
    save(folder, "memory_address", address)

    save(folder, "nested_external_data", nested_external_data())

    inside_function = classifier()
    constant = helper.make_node("Constant", [], ["chosen"], value=external_tensor())
    inside_function.functions.append(
        helper.make_function("own", "Chosen", [], ["chosen"], [constant], [helper.make_opsetid("", 18)])
    )
    save(folder, "function_external_data", inside_function)

    sparse = classifier()
    indices = numpy_helper.from_array(np.array([0, 1], np.int64), "indices")
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(external_tensor(), indices, [4]))
    save(folder, "sparse_external_data", sparse)

    context = helper.make_node(
        "EPContext",
        ["crops"],
        ["logits"],
        domain="com.microsoft",
        ep_cache_context="/etc/passwd",
        embed_mode=0,
    )
    compiled = classifier()
    del compiled.graph.node[:]
    del compiled.graph.initializer[:]
    compiled.graph.node.append(context)
    save(folder, "ep_context", compiled)

    for name, dtype, size, outputs in [
        ("float_input", TensorProto.FLOAT, 128, 2),
        ("other_size", TensorProto.UINT8, 96, 2),
        ("three_labels", TensorProto.UINT8, 128, 3),
    ]:
        save(folder, name, other_contract(dtype, size, outputs))

    fixed = classifier()
    for value in (fixed.graph.input[0], fixed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    save(folder, "fixed_batch", fixed)

    double = classifier()
    double.graph.output.append(helper.make_tensor_value_info("colour", TensorProto.FLOAT, ["N", 3]))
    save(folder, "two_outputs", double)

    unknown = classifier()
    unknown.graph.node[0].op_type = "Cats"
    save(folder, "unknown_operator", unknown)

    unsteady = classifier()
    unsteady.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(np.full((2, 3), np.nan, np.float32), "weight")
    )
    save(folder, "not_a_number", unsteady)


def save(folder: Path, name: str, made: onnx.ModelProto) -> None:
    (folder / f"{name}.onnx").write_bytes(made.SerializeToString())


def external_tensor() -> TensorProto:
    tensor = TensorProto(name="value", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")
    return tensor


def nested_external_data() -> onnx.ModelProto:
    """A model whose external tensor is the value of a Constant inside the branches of an If."""
    tensor = external_tensor()
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["chosen"], value=tensor)],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [2])],
    )
    made = classifier()
    made.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch)
    )
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    return made


def other_contract(dtype: int, size: int, outputs: int) -> onnx.ModelProto:
    return model(
        [
            helper.make_node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["colour"], keepdims=0),
            helper.make_node("MatMul", ["colour", "weight"], ["logits"]),
        ],
        [helper.make_tensor_value_info("crops", dtype, ["N", size, size, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", outputs])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(np.ones((3, outputs), np.float32), "weight"),
        ],
    )


if __name__ == "__main__":
    write_bundle(HERE / "tiny_bundle")
    write_variants(HERE / "variants")
    write_attacks(HERE / "attacks")
