"""A run folder, with the verbs as methods."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

from ..config import RunConfig
from ..pipeline.compare import compare
from ..pipeline.deploy import deploy
from ..pipeline.evaluate import evaluate
from ..pipeline.export import export, export_format
from ..pipeline.finetune import finetune
from ..pipeline.predict import PredictResult, predict
from ..pipeline.profile import fit, profile
from ..pipeline.report import ReportResult, report
from ..pipeline.search import search
from ..pipeline.train import train
from ..pipeline.verify import verify
from ..pipeline.walk import walk
from ..run_folder import options
from ..run_folder.context import Context
from ..run_folder.status import status
from ..run_folder.summaries import FormatSummary, RunStatus
from .arguments import checked

if TYPE_CHECKING:
    from ..latency.predictor import LatencyPredictor

P = ParamSpec("P")
R = TypeVar("R")


def _verb(
    work: Callable[[Context, Any], R], record: Callable[P, Any], text: str
) -> "Callable[Concatenate[RunFolder, P], R]":
    """Make a method of a verb: it takes the fields of the verb's option record."""
    make = checked(record)

    def method(self: "RunFolder", /, *given: P.args, **named: P.kwargs) -> R:
        return work(self._context, make(*given, **named))

    functools.update_wrapper(method, work)
    method.__doc__ = text
    method.__signature__ = make.__signature__  # type: ignore[attr-defined]
    del method.__wrapped__  # type: ignore[attr-defined]
    return method


class RunFolder:
    """A run folder; its methods are the verbs of the command line, and raise the same errors.

    The arguments of a method are the options of its verb. Each verb resumes what a killed one
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

    def status(self, *, read_data: bool = True) -> RunStatus:
        """Tell what it holds, what is stale and why, and what to run next."""
        return status(self._context, read_data=read_data)

    walk = _verb(
        walk, options.WalkOptions, "Go from here to a deployed bundle and its report, all in one."
    )
    train = _verb(train, options.TrainOptions, "Train the supernet.")
    profile = _verb(
        profile, options.ProfileOptions, "Measure a few subnets, and fit the latency predictor."
    )
    fit = _verb(
        fit, options.FitOptions, "Fit the latency predictor, or correct that of another device."
    )
    search = _verb(
        search, options.SearchOptions, "Find the best subnet within limits, as measured."
    )
    finetune = _verb(finetune, options.FinetuneOptions, "Train one subnet alone.")
    evaluate = _verb(evaluate, options.EvaluateOptions, "Score subnets on the test examples.")
    export = _verb(
        export, options.ExportOptions, "Build the bundle, if it answers as the network does."
    )
    deploy = _verb(
        deploy, options.DeployOptions, "Put the bundle on a device, test and time it, then switch."
    )
    verify = _verb(
        verify, options.VerifyOptions, "Time what is deployed; `kept` says if its limits are kept."
    )
    compare = _verb(
        compare, options.CompareOptions, "Time bundles by turns on a device, and score them."
    )

    def predictor(self, device: str | None = None) -> "LatencyPredictor":
        """Return the latency predictor by which `search` judges a device.

        Fitted to what was measured in this folder, else shipped.

        Raises
        ------
        StaleInputError
            If the device has none.
        PredictorError
            If it was fitted for another space, vocabulary or workload.
        """
        from ..run_folder.predictors import predictor

        return predictor(self._context.run, self._context.run.profiled_device_name(device))

    def export_format(
        self,
        format: Literal["optimum", "hf"],
        pick: options.Pick = "winner",
        *,
        precision: str | None = None,
        weights: Any = None,
        trim_vocabulary: bool | None = None,
    ) -> FormatSummary:
        """Write a subnet as a folder that other libraries load: `optimum` or `hf`, for encoders."""
        record = options.ExportOptions(
            pick, precision, weights, format=format, trim_vocabulary=trim_vocabulary
        )
        return export_format(self._context, record)

    def predict(
        self,
        lines: Sequence[str],
        *,
        bundle: str | Path | None = None,
        threads: int | None = None,
        long: Literal["cut", "window"] = "cut",
    ) -> list[str]:
        """Answer lines of text with a bundle, by default the newest, on this machine."""
        return list(self._predict(lines, bundle, threads, long).outputs)

    def answer(
        self,
        lines: Sequence[str],
        *,
        bundle: str | Path | None = None,
        threads: int | None = None,
        long: Literal["cut", "window"] = "cut",
    ) -> list[dict[str, Any]]:
        """As `predict`, with all that is known of each line.

        An encoder gives `label` and `scores`, `value`, `tags` and `entities`, or `vector`, and
        `is_cut` or `num_windows` where a line was too long, `is_single` where it holds one text of
        two, `is_joined` where it holds two that were read as one; a translator `output`.
        """
        answers = self._predict(lines, bundle, threads, long).answers
        return [dict(answer) for answer in answers]

    def _predict(self, lines: Any, *given: Any) -> PredictResult:
        record = checked(options.PredictOptions)(*given)
        return predict(self.root, checked(_lines)(lines), record, self._context.progress)

    def report(self) -> ReportResult:
        """Write the report: one offline HTML page and a JSON."""
        return report(self._context)


def _lines(lines: Sequence[str]) -> Sequence[str]:
    return lines
