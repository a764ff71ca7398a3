"""The commands `fauxface info` and `fauxface doctor`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fauxface.errors import printable

if TYPE_CHECKING:
    from fauxface.manifest import OperatingPoint


def register(app: typer.Typer) -> None:
    """Add `info` and `doctor` to the app."""
    app.command()(info)
    app.command()(doctor)


def info(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A bundle's folder; the shipped one by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest as JSON, without the card.")
    ] = False,
) -> None:
    """Verify a bundle and show its key figures and its model card."""
    from fauxface.bundle import Bundle

    loaded = Bundle.load(bundle)
    if as_json:
        typer.echo(json.dumps({**loaded.document(), "model": loaded.sha256}, indent=2))
        return
    manifest = loaded.manifest
    crop, locator = manifest.crop, manifest.locator
    size = sum(entry.bytes for entry in manifest.files.values())
    rows = [
        ("bundle", f"{manifest.name}, format {manifest.version}, made {manifest.created}"),
        ("folder", str(loaded.path)),
        ("model", loaded.sha256),
        ("files", f"{len(manifest.files)}, all verified, {size / 1e6:.1f} MB"),
        ("classifier", f"{', '.join(manifest.classifier)}; {manifest.input.size} px {manifest.input.color}"),
        ("crop", f"margin {crop.margin:g}, {crop.padding}, {crop.resize}; faces from {crop.min_face_px} px"),
        (
            "locator",
            f"{locator.format}, {'fp32, int8' if locator.int8 else 'fp32'}, score from "
            f"{locator.score_threshold:g}, searches {locator.sentence()}",
        ),
    ]
    for precision in manifest.classifier:
        rows += _operating_point(manifest.operating_point(precision), precision)
        rows += _variant(manifest.variants.get(precision), precision)
    if manifest.gates:
        shown = ", ".join(f"{name} {value:g}" for name, value in manifest.gates.to_dict().items())
        rows.append(("gates", shown))
    _print_rows(rows)
    typer.echo()
    typer.echo(printable(loaded.card(), keep="\n\t").strip())


def doctor(
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle's folder; the shipped one by default.")
    ] = None,
    provider: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt or openvino.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads on the CPU; all available cores by default.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto, fp32, fp16 or int8; auto takes what a scan takes.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check versions, provider, the bundle's digests and its golden crops, and time one inference."""
    from fauxface.doctor import examine

    report = examine(bundle, provider, threads, precision)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        environment = report.environment
        build = [
            f"{name} {'yes' if has else 'no'}"
            for name, has in [
                ("FFmpeg", environment.opencv_ffmpeg),
                ("GStreamer", environment.opencv_gstreamer),
            ]
        ]
        runtimes = ", ".join(f"{name} {version}" for name, version in environment.distributions.items())
        rows = [
            ("fauxface", environment.fauxface),
            ("python", f"{environment.python} on {environment.platform}, {environment.cores} cores"),
            ("numpy", environment.numpy),
            ("opencv", f"{environment.opencv} ({', '.join(build)})"),
            ("onnx runtime", runtimes or environment.onnxruntime or "not installed"),
            ("providers", ", ".join(environment.providers) or "none"),
            ("int8 on the CPU", environment.int8_instructions or "no instructions for it"),
        ]
        if report.bundle is not None:
            checked = report.bundle
            rows += [
                ("bundle", f"{checked.name}, {checked.files} files verified, {checked.path}"),
                ("model", checked.sha256),
                ("precisions", ", ".join(checked.precisions)),
                ("locator", "runs" if report.locator_runs else "FAILED"),
            ]
        if report.golden is not None:
            golden = report.golden
            rows.append(
                (
                    "golden crops",
                    f"{'ok' if golden.passed else 'FAILED'}: {golden.crops} crops in {golden.precision}, "
                    f"logits within {golden.max_difference:.1e} (allowed {golden.tolerance:g}), "
                    f"{golden.changed_labels} labels changed (allowed {golden.allowed_changes}), "
                    f"{golden.reversed_labels} reversed",
                )
            )
        if report.timing is not None:
            timing = report.timing
            rows += [("passed over", reason) for reason in timing.passed_over]
            if timing.cuda_graphs is not None:
                rows.append(("CUDA graphs", "in use" if timing.cuda_graphs else "can't be recorded here"))
            rows += [(f"nodes on {name}", str(count)) for name, count in timing.elsewhere.items()]
            rows += [
                ("in use", f"{timing.provider}, {timing.precision}, {timing.threads} threads"),
                (
                    "one inference",
                    f"{timing.median_ms:.1f} ms (batch 1, median of {timing.runs} after warm-up)",
                ),
            ]
        rows.append(("result", "all is well" if report.failure is None else "FAILED"))
        _print_rows(rows)
    if report.failure is not None:
        raise report.failure


def _operating_point(point: "OperatingPoint", precision: str) -> list[tuple[str, str]]:
    calibration, thresholds = point.calibration, point.thresholds
    rows = [
        (
            f"{precision} calibration",
            f"temperature {calibration.temperature:.4g}, bias {calibration.bias:.4g}",
        ),
        (
            f"{precision} operating point",
            f"bona fide below {thresholds.bona_fide_below:.4g}, "
            f"generated from {thresholds.generated_from:.4g}",
        ),
    ]
    return [*rows, ("", thresholds.rule)] if thresholds.rule else rows


def _variant(variant: object, precision: str) -> list[tuple[str, str]]:
    """Return what export measured of a variant against fp32; the object is free-form."""
    test = variant.get("test") if isinstance(variant, dict) else None
    if not isinstance(test, dict):
        return []
    loss, flips = test.get("auroc_loss"), test.get("flips")
    if not isinstance(loss, int | float):
        return []
    changed = f", {flips:.2%} of the decisions changed" if isinstance(flips, int | float) else ""
    return [(f"{precision} against fp32", f"AUROC loss {round(loss, 4) + 0:.4f}{changed}")]


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{printable(name):<{width}}  {printable(value)}".rstrip())
