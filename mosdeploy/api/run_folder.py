"""A run folder, with the verbs as methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..config import RunConfig
from ..config.sections import ParameterCount
from ..config.units import Statistic, parse_budget_s, parse_duration_ms
from ..records import (
    Deployment,
    Limits,
    PredictorCard,
    ScoreTable,
    SearchResult,
    SubnetCard,
    SupernetCard,
)
from ..run_folder.context import Context
from .arguments import Pick, several, with_checked_arguments

if TYPE_CHECKING:
    from ..latency.predictor import LatencyPredictor
    from ..pipeline.exporting.export_job import ExportResult
    from ..pipeline.predict import Long, PredictResult
    from ..pipeline.report import ReportResult
    from ..run_folder import summaries


@with_checked_arguments
class RunFolder:
    """A run folder; its methods are the verbs of the command line, and raise the same errors.

    `predictor` gives what `profile` and `fit` leave behind. Each verb resumes what a killed one
    began, and trains and measures nothing twice. A bundle is a folder, or its name in `bundles/`.

    Examples
    --------
    >>> import mosdeploy
    >>> run = mosdeploy.open_run("my-run")  # doctest: +SKIP
    >>> run.train()  # doctest: +SKIP
    >>> run.profile(device="rpi")  # doctest: +SKIP
    >>> run.search(max_latency="150ms").winner.measured_ms  # doctest: +SKIP
    141.7
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def __repr__(self) -> str:
        return f"RunFolder({str(self.root)!r})"

    def _repr_html_(self) -> str:
        return self.status(read_data=False)._repr_html_()

    @property
    def root(self) -> Path:
        """The folder."""
        return self._context.files.root

    @property
    def config(self) -> RunConfig:
        """What its `mosdeploy.toml` says."""
        return self._context.config

    def status(self, *, read_data: bool = True) -> "summaries.RunStatus":
        """What it holds, what is stale and why, what to run next; `read_data`: of data, too."""
        from ..run_folder.status import status

        return status(self._context, read_data=read_data)

    def walk(
        self,
        max_latency: str | None = None,
        *,
        max_parameters: int | None = None,
        count: ParameterCount | None = None,
        max_size_bytes: int | None = None,
        max_memory_bytes: int | None = None,
        device: str | None = None,
    ) -> "summaries.WalkSummary":
        """Go from here to a deployed bundle and its report, through all the verbs between.

        Limits are those of `search`; what is not given is that of [search].
        """
        from ..pipeline.walk import WalkOptions, walk

        given = (max_latency, max_parameters, count, max_size_bytes, max_memory_bytes)
        return walk(self._context, WalkOptions(device, self._limits(*given)))

    def train(self, *, time: str | None = None) -> SupernetCard:
        """Train the supernet.

        Parameters
        ----------
        time
            For the training of the supernet and, after the search, of its winner: `30m`, `2h`.
        """
        from ..pipeline.train import TrainOptions, train

        time_s = parse_budget_s(time) if time is not None else None
        return train(self._context, TrainOptions(time_s))

    def profile(
        self,
        device: str | None = None,
        *,
        budget: int | None = None,
        until_error_percent: float | None = None,
        hosts: str | Sequence[str] = (),
        renew: bool = False,
    ) -> "summaries.ProfileSummary":
        """Measure a few subnets, and fit the predictor; `renew` what counts no more."""
        from ..pipeline.profile import ProfileOptions, profile, split_hosts

        options = ProfileOptions(
            device, budget, until_error_percent, split_hosts(*several(hosts)), renew
        )
        return profile(self._context, options)

    def fit(self, device: str | None = None, *, source: str | None = None) -> PredictorCard:
        """Fit the latency predictor to what was measured, or correct another device's."""
        from ..pipeline.fit import fit

        return fit(self._context, device, source)

    def predictor(self, device: str | None = None) -> "LatencyPredictor":
        """The latency predictor by which `search` judges a device, for this run's workload.

        Fitted to what was measured in this folder, else imported, else shipped.

        Raises
        ------
        StaleInputError
            If the device has none.
        PredictorError
            If it was fitted for another space, vocabulary or workload.
        """
        from ..run_folder.predictors import predictor

        return predictor(self._context.run, self._context.run.profiled_device_name(device))

    def search(
        self,
        max_latency: str | None = None,
        *,
        max_parameters: int | None = None,
        count: ParameterCount | None = None,
        max_size_bytes: int | None = None,
        max_memory_bytes: int | None = None,
        device: str | None = None,
        statistic: Statistic | None = None,
        verify: bool = True,
    ) -> SearchResult:
        """Find the best subnet within the limits, as measured on the device.

        `count="encoder"` leaves the embedding table out of `max_parameters`; `max_memory_bytes` is
        what the process takes beyond the runtime without a model; `statistic` says which figure of
        the times the latency limit is about: `median`, `p90` or `p99`.
        """
        from ..pipeline.search import SearchOptions, search

        given = (max_latency, max_parameters, count, max_size_bytes, max_memory_bytes)
        options = SearchOptions(device, self._limits(*given), verify, statistic)
        return search(self._context, options)

    def _limits(
        self,
        max_latency: str | None,
        max_parameters: int | None,
        count: ParameterCount | None,
        max_size_bytes: int | None,
        max_memory_bytes: int | None,
    ) -> Limits:
        if count is None and max_parameters is not None:
            count = self.config.search.count
        return Limits.read(max_latency, max_parameters, count, max_size_bytes, max_memory_bytes)

    def finetune(
        self,
        pick: Pick = "winner",
        *,
        steps: int | None = None,
        from_scratch: bool = False,
    ) -> SubnetCard:
        """Train one subnet alone, from its inherited weights or from scratch.

        Parameters
        ----------
        pick
            `winner`; `3`, the third of the search's front; `18ms`, the best of the front within 18
            ms, as measured or, where it was not, as predicted; a finalist's key; `largest`,
            `smallest`; or a JSON file with an architecture.
        """
        from ..pipeline.finetune import FinetuneOptions, finetune

        options = FinetuneOptions(str(pick), steps, from_scratch)
        return finetune(self._context, options)

    def evaluate(
        self, picks: Pick | Sequence[Pick] | None = None, *, beam: int | None = None
    ) -> ScoreTable:
        """Score subnets on the test examples; `picks` are those of `finetune`, one or several."""
        from ..pipeline.evaluate import evaluate

        names = tuple(map(str, several(picks))) if picks is not None else None
        return evaluate(self._context, names, beam)

    def export(
        self,
        pick: Pick = "winner",
        *,
        precision: str | None = None,
        weights: str | None = None,
        runtime: Literal["onnxruntime", "tvm", "auto"] = "onnxruntime",
        beam: int | None = None,
        workload: Mapping[str, Any] | None = None,
        device: str | None = None,
        max_score_drop: float | None = None,
        trim_vocabulary: bool | None = None,
    ) -> "ExportResult":
        """Build the bundle, after checking that it answers as the trained network does.

        Parameters
        ----------
        workload
            Fields of the workload that differ from the run file's: `{"shortlist": 50}`.
        device
            Where `precision="auto"` measures, and what TVM compiles for.
        """
        from ..pipeline.export import export
        from ..pipeline.exporting.export_job import ExportOptions

        subnet = (str(pick), precision, beam, workload or {}, weights)
        options = ExportOptions(*subnet, device, max_score_drop, runtime, trim_vocabulary)
        return export(self._context, options)

    def export_format(
        self,
        format: str,
        pick: Pick = "winner",
        *,
        precision: str | None = None,
        weights: str | None = None,
        trim_vocabulary: bool | None = None,
    ) -> "summaries.FormatSummary":
        """Write a subnet as a folder that other libraries load: `optimum` or `hf`, for encoders."""
        from ..pipeline.export import export_format
        from ..pipeline.exporting.export_job import ExportOptions

        job = ExportOptions(str(pick), precision, weights=weights, trim_vocabulary=trim_vocabulary)
        return export_format(self._context, format, job)

    def deploy(
        self,
        device: str | None = None,
        *,
        host: str | None = None,
        bundle: str | Path | None = None,
        rollback: bool = False,
        strict: bool = True,
    ) -> Deployment:
        """Put the bundle on a device, test and time it there, then switch to it; or go back."""
        from ..pipeline.deploy import DeployOptions, deploy, roll_back

        folder = Path(bundle) if bundle is not None else None
        options = DeployOptions(device, host, folder, strict)
        return roll_back(self._context, options) if rollback else deploy(self._context, options)

    def verify(
        self,
        max_latency: str | None = None,
        *,
        max_memory_bytes: int | None = None,
        device: str | None = None,
        host: str | None = None,
    ) -> "summaries.Verification":
        """Time what is deployed; `kept`: whether it keeps its limits, by default the search's."""
        from ..pipeline.verify import VerifyOptions, verify

        limit_ms = parse_duration_ms(max_latency) if max_latency is not None else None
        limits = Limits(max_latency_ms=limit_ms, max_memory_bytes=max_memory_bytes)
        return verify(self._context, VerifyOptions(device, host, limits))

    def compare(
        self, bundles: Sequence[str | Path], *, device: str | None = None, host: str | None = None
    ) -> "summaries.Comparison":
        """Time bundles by turns on a device, and score them on the same examples."""
        from ..pipeline.compare import CompareOptions, compare

        return compare(self._context, CompareOptions(tuple(map(Path, bundles)), device, host))

    def predict(
        self,
        lines: Sequence[str],
        *,
        bundle: str | Path | None = None,
        threads: int | None = None,
        long: "Long" = "cut",
    ) -> list[str]:
        """Answer lines of text with a bundle, by default the newest, on this machine.

        Parameters
        ----------
        long
            What becomes of lines that an encoder's bundle is too short for: they are cut, or read
            in windows that overlap.
        """
        return list(self._predict(lines, bundle, threads, long).outputs)

    def answer(
        self,
        lines: Sequence[str],
        *,
        bundle: str | Path | None = None,
        threads: int | None = None,
        long: "Long" = "cut",
    ) -> list[dict[str, Any]]:
        """As `predict`, with all that is known of each line.

        An encoder gives `label` and `scores`, `value`, `tags` and `entities`, or `vector`, and
        `is_cut` or `num_windows` where a line was too long, `is_single` where it holds one text of
        two, `is_joined` where it holds two that were read as one; a translator `output`.
        """
        return [dict(answer) for answer in self._predict(lines, bundle, threads, long).answers]

    def _predict(
        self, lines: Sequence[str], bundle: str | Path | None, threads: int | None, long: "Long"
    ) -> "PredictResult":
        from ..pipeline.predict import predict

        folder = Path(bundle) if bundle is not None else None
        return predict(self.root, lines, folder, threads, long, self._context.progress)

    def report(self) -> "ReportResult":
        """Write the report: one offline HTML page and a JSON."""
        from ..pipeline.report import report

        return report(self._context)
