"""The run: every load on every configuration, interleaved, in rounds."""

import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fauxface.bench import clip as clips
from fauxface.bench.configurations import Accepted, Configuration, Refusal
from fauxface.bench.machine import describe_machine, load_average, temperatures, versions
from fauxface.bench.matrix import Contender, Matrix, open_matrix
from fauxface.bench.results import (
    FRAME,
    MULTI,
    OFFLINE,
    SCENARIOS,
    SINGLE,
    VIDEO,
    BenchReport,
    Footage,
    Measurement,
    Round,
    Settings,
    VideoMeasurement,
    VideoRound,
    WarmUp,
)
from fauxface.bench.timing import Clock, Query, measure, warm_up
from fauxface.bench.workloads import FaceQuery, FrameQuery, Judge, Scene, open_locator, scenes
from fauxface.bundle import Bundle
from fauxface.errors import BenchmarkError, BundleError, ProviderError
from fauxface.files import atomic_write
from fauxface.locator import Locator
from fauxface.progress import Progress

# Queries in all rounds together that a tail needs; a round goes on for them, up to a limit.
_LEAST = {SINGLE: 1000, MULTI: 100, FRAME: 100}
_PATIENCE = 10
_FRAMES_HELD = 8


@dataclass(frozen=True, slots=True)
class Load:
    """A scenario and its faces per query; 0 for a video, whose frames decide."""

    scenario: str
    faces: int


class Entry(Protocol):
    """A configuration that can be measured."""

    @property
    def configuration(self) -> Configuration:
        """The configuration."""
        ...

    def query(self, load: Load) -> Query:
        """Return the query of a load; it runs with the configuration's threads."""
        ...

    def video(self) -> "VideoEntry":
        """Return the video load."""
        ...


class VideoEntry(Protocol):
    """A video load of one configuration, for example `clip.VideoLoad`."""

    @property
    def clip(self) -> clips.Clip:
        """The clip."""
        ...

    def warm_up(self) -> WarmUp:
        """Run until stable, unmeasured."""
        ...

    def round(self) -> VideoRound:
        """Run once, measured."""
        ...


def loads(settings: Settings) -> list[Load]:
    """Return what the settings ask for; a budget asks for the locator alone and with its faces."""
    found = []
    for scenario in settings.scenarios:
        if scenario == OFFLINE:
            found += [Load(OFFLINE, batch) for batch in settings.batches]
        else:
            found.append(Load(scenario, {SINGLE: 1, MULTI: settings.cameras, VIDEO: 0}[scenario]))
    if settings.target_fps is not None:
        found += [Load(FRAME, 0), Load(FRAME, settings.faces)]
    return found


def run(
    entries: Sequence[Entry],
    settings: Settings,
    clock: Clock,
    progress: Callable[[str], None] = lambda note: None,
    footage: Footage | None = None,
) -> tuple[list[Measurement], list[VideoMeasurement], dict[int, str]]:
    """Measure every load on every configuration.

    All is warmed up first. Then each round goes through the loads, and each load through the configurations
    in an order that is shuffled anew, so that what changes with time (temperature, clock rate, neighbours)
    hits all alike and none always follows the same other. A configuration that fails, for example on a GPU
    without memory left, takes no further turn, and none of its figures is kept.

    Args:
        entries: The configurations, at least one.
        settings: Loads, seconds, rounds and seed.
        clock: The clock.
        progress: Called after each step with what was done.
        footage: What a budget locates in.

    Returns:
        By load, then configuration in the given order; and why configurations failed, by their index.
    """
    order = random.Random(settings.seed)
    wanted = loads(settings)
    queries: dict[tuple[Load, int], Query] = {}
    videos: dict[int, VideoEntry] = {}
    warm: dict[tuple[Load, int], WarmUp] = {}
    warm_videos: dict[int, WarmUp] = {}
    rounds: dict[tuple[Load, int], list[Round]] = {}
    passes: dict[int, list[VideoRound]] = {}
    failed: dict[int, str] = {}

    def warm_one(load: Load, index: int) -> None:
        if load.scenario == VIDEO:
            videos[index] = entries[index].video()
            warm_videos[index] = videos[index].warm_up()
        else:
            queries[load, index] = entries[index].query(load)
            warm[load, index] = warm_up(queries[load, index], clock)

    def measure_one(load: Load, index: int) -> None:
        if load.scenario == VIDEO:
            passes.setdefault(index, []).append(videos[index].round())
            return
        wish = _LEAST.get(load.scenario, 1) if settings.tails else 1
        least = -(-wish // settings.rounds)
        patience = _PATIENCE * settings.seconds
        measured = measure(queries[load, index], clock, settings.seconds, least, patience)
        rounds.setdefault((load, index), []).append(measured)

    def attempt(step: Callable[[Load, int], None], load: Load, index: int) -> None:
        if index in failed:
            return
        try:
            step(load, index)
        except (BundleError, MemoryError, ProviderError) as error:
            failed[index] = str(error) or "there isn't enough memory"

    for load in wanted:
        for index in range(len(entries)):
            attempt(warm_one, load, index)
            progress(f"warm-up, {load.scenario}")
    for number in range(settings.rounds):
        for load in wanted:
            for index in order.sample(range(len(entries)), len(entries)):
                attempt(measure_one, load, index)
                progress(f"round {number + 1}, {load.scenario}")
    measurements = [
        Measurement(
            entries[index].configuration,
            load.scenario,
            load.faces,
            warm[load, index],
            tuple(measured),
            footage if load.scenario == FRAME else None,
        )
        for load in wanted
        for index in range(len(entries))
        if index not in failed and (measured := rounds.get((load, index)))
    ]
    clips_of = [(index, entry.clip) for index, entry in videos.items() if index not in failed]
    shown = [
        VideoMeasurement(
            entries[index].configuration,
            clip.name,
            clip.width,
            clip.height,
            clip.frames,
            clip.fps,
            warm_videos[index],
            tuple(passes[index]),
        )
        for index, clip in clips_of
    ]
    return measurements, shown, failed


@dataclass(frozen=True, slots=True)
class _Workbench:
    """A contender with what its loads need.

    Attributes:
        contender: The contender.
        bundle: The bundle.
        scenes: The faces of what needs no clip.
        clip: The clip, None where no load needs it.
        frames: Its frames for the budget, RGB uint8 [H, W, 3] each, the same for all contenders.
        locator: The bundle's locator, None where no load needs it.
        clock: The clock.
    """

    contender: Contender
    bundle: Bundle
    scenes: Sequence[Scene]
    clip: clips.Clip | None
    frames: Sequence[np.ndarray]
    locator: Locator | None
    clock: Clock

    @property
    def configuration(self) -> Configuration:
        return self.contender.configuration

    def query(self, load: Load) -> Query:
        judge = Judge(self.bundle, self.contender.classifier, self.contender.configuration.precision)
        if load.scenario != FRAME:
            return FaceQuery(judge, self.scenes, load.faces)
        assert self.locator is not None
        return FrameQuery(self.locator, judge, self.frames, load.faces)

    def video(self) -> clips.VideoLoad:
        scanner = clips.open_scanner(self.bundle, self.configuration)
        judge = Judge(self.bundle, self.contender.classifier, self.contender.configuration.precision)
        threads = self.configuration.threads
        assert self.clip is not None
        assert self.locator is not None
        return clips.VideoLoad(self.clip, scanner, self.locator, judge, self.clock, threads=threads)


def bench(
    bundle: Bundle,
    matrix: Matrix,
    settings: Settings,
    *,
    video: Path | None = None,
    clock: Clock = time.perf_counter,
    progress: bool = True,
) -> BenchReport:
    """Measure a bundle on this machine.

    Args:
        bundle: The bundle.
        matrix: The configurations.
        settings: The loads; see `check`.
        video: A video file for the scenario "video" and for the budget; the demo's clip when None.
        clock: The clock.
        progress: Whether progress is shown on standard error.

    Returns:
        What was found. Where every configuration is refused, nothing is measured.

    Raises:
        BenchmarkError: A setting is out of range.
        BundleError: The bundle has no classifier of a precision asked for, or can't be used.
        ProviderError: A provider asked for isn't really in use.
        VideoError: The clip has no frame or can't be read.
    """
    check(settings)
    machine = describe_machine()
    threads = cv2.getNumThreads()
    with _clip_for(settings, video) as clip:
        contenders, refused = open_matrix(bundle, matrix)
        entries = _workbenches(bundle, contenders, settings, clip, clock)
        steps = len(loads(settings)) * len(entries) * (settings.rounds + 1)
        try:
            with _shown(steps, progress and steps > 0) as advance:
                cv2.setNumThreads(1)  # as `fauxface scan` does
                measurements, videos, failed = run(
                    entries, settings, clock, advance, None if clip is None else clip.footage
                )
        finally:
            cv2.setNumThreads(threads)
    return BenchReport(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        machine=replace(machine, load_after=load_average(), celsius_after=temperatures()),
        versions=versions(),
        bundle=bundle.manifest.name,
        model=bundle.sha256,
        settings=settings,
        accepted=tuple(c.accepted for index, c in enumerate(contenders) if index not in failed),
        refused=(*refused, *(_broken(contenders[index].accepted, why) for index, why in failed.items())),
        measurements=tuple(measurements),
        videos=tuple(videos),
    )


def _broken(accepted: Accepted, why: str) -> Refusal:
    """Return what stands for a configuration that failed while it was measured."""
    configuration = accepted.configuration
    return Refusal(accepted.asked, configuration.precision, configuration.threads, "failed", why)


def _workbenches(
    bundle: Bundle, contenders: Sequence[Contender], settings: Settings, clip: clips.Clip | None, clock: Clock
) -> list[_Workbench]:
    """Return the contenders with what they need; frames, and locators of one kind, are shared."""
    pictures, frames, locators = scenes(bundle), [], {}
    if clip is not None:
        kinds = {_locator_of(contender) for contender in contenders}
        locators = {kind: open_locator(bundle, *kind) for kind in kinds}
        frames = [] if settings.target_fps is None else clip.images(_FRAMES_HELD)
    return [
        _Workbench(contender, bundle, pictures, clip, frames, locators.get(_locator_of(contender)), clock)
        for contender in contenders
    ]


def _locator_of(contender: Contender) -> tuple[int, str]:
    """Return threads and precision of the classifier whose locator a contender uses."""
    return contender.configuration.threads, contender.configuration.precision


def check(settings: Settings) -> None:
    """Raise unless every setting is in range.

    Raises:
        BenchmarkError: One isn't; the message names its option.
    """
    for scenario in settings.scenarios:
        if scenario not in SCENARIOS:
            raise BenchmarkError(f"unknown scenario {scenario!r}; choose one of {', '.join(SCENARIOS)}")
    limits = [
        *(("--batch", batch, 1, 1024) for batch in settings.batches),
        ("--cameras", settings.cameras, 1, 1024),
        ("--seconds", settings.seconds, 0.001, 3600),
        ("--rounds", settings.rounds, 1, 1000),
        ("--frames", settings.frames, 1, 100_000),
        ("--faces", settings.faces, 1, 1024),
        ("--target-fps", 1.0 if settings.target_fps is None else settings.target_fps, 0.01, 100_000),
    ]
    for option, value, low, high in limits:
        if not low <= value <= high:
            raise BenchmarkError(f"{option} must be {low} to {high}, not {value}")


def check_outputs(json_file: Path | None, markdown: Path | None, plot: Path | None) -> None:
    """Try the places where a result is to be written, before minutes are spent on it.

    Nothing but a new folder is left there.

    Raises:
        OutputError: One can't be written.
    """
    for path in (json_file, markdown, None if plot is None else plot / "video.png"):
        if path is not None:
            with contextlib.suppress(_TriedError), atomic_write(path) as temporary:
                temporary.touch()
                raise _TriedError


class _TriedError(Exception):
    """Leaves `atomic_write` without writing."""


@contextmanager
def _clip_for(settings: Settings, video: Path | None) -> Iterator[clips.Clip | None]:
    if VIDEO not in settings.scenarios and settings.target_fps is None:
        yield None
    elif video is not None:
        yield clips.Clip.probe(video, settings.frames)
    else:
        with tempfile.TemporaryDirectory(prefix="fauxface-bench-") as folder:
            yield clips.demo_clip(Path(folder), settings.frames)


@contextmanager
def _shown(steps: int, show: bool) -> Iterator[Callable[[str], None]]:
    if not show:
        yield lambda note: None
        return
    with Progress(steps, "bench", "steps") as bar:
        yield lambda note: bar.advance(note=note)
