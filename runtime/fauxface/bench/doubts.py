"""What makes the figures of a report doubtful."""

from collections.abc import Iterator

from fauxface.bench.results import VIDEO, BenchReport, WarmUp

_DRIFT = 0.10
_BUSY = 0.1
_LOADED = 0.5


def doubts(report: BenchReport) -> Iterator[str]:
    """Yield, in one line each, why figures shouldn't be used: a busy machine, drift, no warm state."""
    machine = report.machine
    # In a container, the load is that of the whole machine.
    most = _LOADED * max(machine.cores, machine.logical_cpus)
    if machine.busy_before is not None and machine.busy_before > _BUSY:
        yield f"the machine was busy before the run: {machine.busy_before:.0%} of the processors; run it idle"
    elif machine.load_before is not None and machine.load_before > most:
        yield f"the machine was busy before the run: load average {machine.load_before:.2f}; run it idle"
    for entry in report.accepted:
        if entry.configuration.threads > machine.cores:
            yield f"{entry.configuration}: more threads than the {machine.cores} available cores"
    for measurement in report.measurements:
        what = f"{measurement.configuration}, {measurement.scenario}, {measurement.key[2]}"
        yield from _not_warm(what, measurement.warm_up)
        drift = measurement.summary()["drift"]
        if drift > _DRIFT:
            yield f"{what}: the rounds' medians differ by {drift:.0%}"
    for video in report.videos:
        yield from _not_warm(f"{video.configuration}, {VIDEO}", video.warm_up)
        if (drift := video.summary()["drift"]) > _DRIFT:
            yield f"{video.configuration}, {VIDEO}: the rounds differ by {drift:.0%}"


def _not_warm(what: str, warm: WarmUp) -> Iterator[str]:
    if not warm.stable:
        yield f"{what}: still {warm.spread:.0%} between windows after {warm.seconds:.1f} s of warm-up"
