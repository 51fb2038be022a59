"""The sections of the page about the search: headline, quality against latency, predictor,
architecture.

In: `ReportInputs` and the `Report` made from them. Out: `Markup`, one function a section.
"""

from ..families.translation.page import draw_architecture
from ..records import BoardCalibration, Candidate, PredictorCard, ScoreTable, SearchResult
from ..spaces.genes import ArchConfig
from .charts import Axes, Mark, Series, agreement_chart, front_chart
from .markup import Markup, element, facts, join, table
from .summary import Agreement, Headline, Report, ReportInputs

EMULATED = "emulated: not a latency"
BAND_PERCENT = 5.0


def missing(what: str, command: str) -> Markup:
    """Say what a section lacks and which command makes it."""
    return element("p", f"{what} Run ", element("code", command), " to add it.", class_="soft")


def milliseconds(value_ms: float) -> str:
    """Spell a time with three digits that count: 4.27 ms, 42.7 ms, 427 ms."""
    return (
        f"{value_ms:.{0 if value_ms >= 100 else 1 if value_ms >= 10 else 2}f}\N{NO-BREAK SPACE}ms"
    )


def mebibytes(num_bytes: int) -> str:
    """Spell a size in MiB."""
    return f"{num_bytes / 2**20:,.1f}\N{NO-BREAK SPACE}MiB"


def emulation(device: str) -> str:
    """Warn of an emulated device, in a sentence."""
    return f"{device} is emulated: a time from it is not a latency, ranks nothing and belongs in no comparison."


def verdict(limit_kept: bool | None) -> Markup | None:
    """Say in colour and in a word whether a limit is kept; None where nobody can tell."""
    if limit_kept is None:
        return None
    return element(
        "span", "kept" if limit_kept else "broken", class_="good" if limit_kept else "bad"
    )


def headline_section(report: Report) -> Markup:
    """One sentence, the figures, and what to be careful about."""
    line, search = report.headline, report.search
    workload = search.workload
    about = (
        f"{workload.source_len} pieces in, {workload.decode_steps} out, beam {workload.beam}, "
        f"threads {workload.threads}, {workload.precision}"
    )
    return element(
        "header",
        element(
            "p",
            f"mosdeploy report, device {line.device}, workload {workload.name} ({about})",
            class_="kicker",
        ),
        element("h1", _sentence(line)),
        *_notices(report),
        element("div", _tiles(report), class_="tiles"),
    )


def _sentence(line: Headline) -> str:
    if line.emulated:
        return f"The winner for {line.device}, an emulated device: its times are no latencies."
    if line.measured_ms is None:
        return f"The winner for {line.device}, by prediction: nothing was measured."
    what = "deployed bundle" if line.measured == "bundle" else "winner"
    sentence = (
        f"On {line.device}, the {what} translates a sentence in {milliseconds(line.measured_ms)}"
    )
    if line.limit_kept is None:
        return f"{sentence}."
    verb = "within" if line.limit_kept else "which breaks"
    return f"{sentence}, {verb} the limit of {line.limit_ms:g}\N{NO-BREAK SPACE}ms."


def _notices(report: Report) -> list[Markup]:
    texts = []
    if report.headline.emulated:
        texts.append(emulation(report.headline.device))
    if not report.search.verified:
        texts.append(
            "The search ran with --no-verify: the winner was chosen by predicted latency alone."
        )
    if report.headline.limit_kept is False:
        texts.append(
            "The measured time is over the limit. Search again with a lower limit, or profile more subnets."
        )
    return [element("p", text, class_="notice", role="note") for text in texts]


def _tiles(report: Report) -> Markup:
    line = report.headline
    source = {
        "bundle": "the bundle, deployed",
        "candidate": "during the search",
        "nothing": "run mosdeploy search",
    }
    measured = "not yet" if line.measured_ms is None else milliseconds(line.measured_ms)
    predicted = None
    if line.predicted_ms is not None:
        predicted = _tile(
            milliseconds(line.predicted_ms), EMULATED if line.emulated else "before measuring"
        )
    limit = (
        None
        if line.limit_ms is None
        else join((f"{line.limit_ms:g} ms ", verdict(line.limit_kept)))
    )
    quality = "test set" if line.bleu is not None else "run mosdeploy evaluate"
    return facts(
        [
            ("BLEU", _tile("not yet" if line.bleu is None else f"{line.bleu:.1f}", quality)),
            ("chrF", _tile("not yet" if line.chrf is None else f"{line.chrf:.1f}", quality)),
            ("Predicted", predicted),
            ("Measured", _tile(measured, EMULATED if line.emulated else source[line.measured])),
            ("Limit", limit),
            ("Parameters", _tile(f"{line.num_parameters / 1e6:.2f} M", f"{line.num_parameters:,}")),
            ("Size", _tile(mebibytes(line.size_bytes), "on disk")),
        ]
    )


def _tile(value: str, note: str) -> Markup:
    return join((value, element("small", note)))


def quality_section(report: Report) -> Markup:
    """The front, the finalists and the winner; a table with the same; scores of inherited subnets."""
    search = report.search
    text = (
        f"{search.num_evaluated:,} architectures were compared by the validation loss of the subnet that each inherits "
        "(lower is better). The front holds those that no other beats in both."
    )
    if search.quality is not None:
        text += (
            f" {search.num_predicted:,} more were only predicted; the predictor's Kendall tau on subnets held out from "
            f"it is {search.quality.kendall_tau:.3f}."
        )
    return element(
        "section",
        element("h2", "Quality against latency"),
        element("p", text),
        _front(search, report.headline),
        element("details", element("summary", "The same as a table"), _candidates(search)),
        element("h2", "Translation quality"),
        _scores(report.scores, search.winner.arch),
    )


def _front(search: SearchResult, line: Headline) -> Markup:
    everyone = (*search.front, *search.finalists, search.winner)
    if any(x.predicted_ms is None for x in everyone):  # a search without a latency predictor
        marks = tuple(_mark(x, x.num_parameters / 1e6) for x in search.front)
        series = [Series("Front", "front", "circle", marks, joined=True)]
        series.append(
            Series(
                "Winner",
                "winner",
                "star",
                (_mark(search.winner, search.winner.num_parameters / 1e6),),
            )
        )
        axes = Axes(
            "Validation loss against size",
            _describe(search),
            "parameters, millions",
            "validation loss",
        )
        return front_chart(axes, series)
    front = tuple(_mark(x, x.predicted_ms or 0.0) for x in search.front)
    others = tuple(
        _mark(x, x.measured_ms)
        for x in search.finalists
        if x.measured_ms and x.arch != search.winner.arch
    )
    winner = _mark(search.winner, search.winner.measured_ms or search.winner.predicted_ms or 0.0)
    note = f", {EMULATED}" if line.emulated else ""
    series = [
        Series("Front, predicted", "front", "circle", front, joined=True),
        Series("Finalists, measured", "measured", "diamond", others),
        Series(
            "Winner, measured" if search.winner.measured_ms else "Winner, predicted",
            "winner",
            "star",
            (winner,),
        ),
    ]
    limit = (line.limit_ms, f"limit {line.limit_ms:g} ms") if line.limit_ms is not None else None
    axes = Axes(
        "Validation loss against latency",
        _describe(search),
        f"latency, ms{note}",
        "validation loss",
    )
    return front_chart(axes, series, limit)


def _mark(candidate: Candidate, x: float) -> Mark:
    return Mark(
        x,
        candidate.loss,
        f"{candidate.arch.key}: loss {candidate.loss:.4f} at {x:.2f}; {candidate.arch}",
    )


def _describe(search: SearchResult) -> str:
    return (
        f"{len(search.front)} architectures on the front, {len(search.finalists)} finalists; "
        f"the winner has validation loss {search.winner.loss:.4f}. The table below has every figure."
    )


def _candidates(search: SearchResult) -> Markup:
    listed = {x.arch.key: ("front", x) for x in search.front}
    listed |= {x.arch.key: ("finalist", x) for x in search.finalists}
    listed[search.winner.arch.key] = ("winner", search.winner)
    rows = [
        (
            element("code", key),
            role,
            f"{x.loss:.4f}",
            _optional_ms(x.predicted_ms),
            _optional_ms(x.measured_ms),
            f"{x.num_parameters:,}",
            str(x.arch),
        )
        for key, (role, x) in sorted(listed.items(), key=lambda item: item[1][1].loss)
    ]
    return table(
        ("subnet", "role", "loss", "predicted", "measured", "parameters", "architecture"), rows
    )


def _optional_ms(value_ms: float | None) -> str:
    return "-" if value_ms is None else milliseconds(value_ms)


def _scores(scores: ScoreTable | None, winner: ArchConfig) -> Markup:
    if scores is None or not scores.subnets:
        return missing(
            "BLEU and chrF of the inherited subnets are not here yet.", "mosdeploy evaluate"
        )
    rows = [
        (
            f"earlier {name}" if name.startswith("winner") and x.arch != winner else name,
            f"{x.bleu:.1f}",
            f"{x.chrf:.1f}",
            f"{x.loss:.3f}",
            f"{x.num_parameters:,}",
            x.num_pairs,
            x.beam,
        )
        for name, x in scores.subnets.items()
    ]
    header = ("subnet", "BLEU", "chrF", "loss", "parameters", "pairs", "beam")
    return table(header, rows, "Inherited subnets on the test pairs, no training of their own")


def predictor_section(report: Report) -> Markup:
    """Predicted against measured, and the predictor's card."""
    emulated = report.headline.emulated
    heading = element("h2", "Predicted against measured")
    if report.predictor is None and not report.agreement:
        return element("section", heading, missing("No predictor was fitted.", "mosdeploy profile"))
    return element(
        "section",
        heading,
        element("p", emulation(report.search.device), class_="notice") if emulated else None,
        _agreement(report.agreement, emulated),
        _card(report.predictor)
        if report.predictor
        else missing("The predictor has no card.", "mosdeploy fit"),
    )


def _agreement(points: tuple[Agreement, ...], emulated: bool) -> Markup:
    if not points:
        return missing("No subnet was both predicted and measured.", "mosdeploy profile")
    series = [
        Series(
            "Profiled, the predictor was fitted on these",
            "fitted",
            "circle",
            _agreement_marks(points, fitted=True),
        ),
        Series(
            "Finalists, new to the predictor",
            "measured",
            "diamond",
            _agreement_marks(points, fitted=False),
        ),
    ]
    near = sum(
        abs(x.predicted_ms - x.measured_ms) <= BAND_PERCENT / 100 * x.measured_ms for x in points
    )
    words = f"{near} of {len(points)} subnets were predicted within {BAND_PERCENT:g}% of what was measured."
    note = f", {EMULATED}" if emulated else ""
    axes = Axes(
        "Predicted against measured latency", words, f"predicted, ms{note}", f"measured, ms{note}"
    )
    rows = [
        (
            element("code", x.key),
            "no" if x.fitted else "yes",
            f"{x.predicted_ms:.2f}",
            f"{x.measured_ms:.2f}",
            _error(x),
        )
        for x in points
    ]
    header = ("subnet", "new to the predictor", "predicted, ms", "measured, ms", "error")
    return join(
        (
            element(
                "p",
                f"{words} The band shows that margin; most points are those that the predictor learned from.",
            ),
            agreement_chart(axes, series, BAND_PERCENT),
            element("details", element("summary", "The same as a table"), table(header, rows)),
        )
    )


def _agreement_marks(points: tuple[Agreement, ...], *, fitted: bool) -> tuple[Mark, ...]:
    return tuple(
        Mark(
            x.predicted_ms,
            x.measured_ms,
            f"{x.key}: predicted {x.predicted_ms:.2f}, measured {x.measured_ms:.2f}",
        )
        for x in points
        if x.fitted is fitted
    )


def _error(point: Agreement) -> str:
    return f"{(point.predicted_ms / point.measured_ms - 1) * 100:+.1f}%"


def _card(card: PredictorCard) -> Markup:
    return join(
        (
            element(
                "p",
                "The predictor's error on subnets that it had not seen (cross-validation):",
                class_="soft",
            ),
            facts(
                [
                    ("Mean relative error", f"{card.mape_percent:.2f}%"),
                    ("Within 5%", f"{card.within_5_percent:.0f}%"),
                    ("Within 10%", f"{card.within_10_percent:.0f}%"),
                    ("Kendall tau", f"{card.kendall_tau:.3f}"),
                    ("Subnets", str(card.num_samples)),
                    ("Rejected", str(card.num_rejected)),
                    ("Boards, level", ", ".join(_level(x) for x in card.boards) or None),
                    ("Model", "additive and MLP" if card.uses_mlp else "additive"),
                    ("Source", card.source or None),
                    ("Licence", card.licence or None),
                ]
            ),
        )
    )


def _level(board: BoardCalibration) -> str:
    return f"{board.host} {'unknown' if board.time_ratio is None else f'{board.time_ratio:.3f}'}"


def architecture_section(inputs: ReportInputs) -> Markup:
    """Draw the winner, and list it layer by layer."""
    arch = inputs.search.winner.arch
    rows: list[tuple[str | int, ...]] = [
        (f"encoder {i + 1}", x.ffn_dim, x.heads, "-", "-")
        for i, x in enumerate(arch.encoder_layers)
    ]
    rows += [
        (
            f"decoder {i + 1}",
            x.ffn_dim,
            x.self_heads,
            x.cross_heads,
            _reads(x.cross_span, len(arch.encoder_layers)),
        )
        for i, x in enumerate(arch.decoder_layers)
    ]
    return element(
        "section",
        element("h2", "The winner, layer by layer"),
        element(
            "p",
            "The first layer is at the bottom; the filled part of a box is the width of its feed-forward network. "
            "Lines show which encoder layers the cross-attention of a decoder layer reads.",
        ),
        draw_architecture(arch),
        table(("layer", "FFN width", "self heads", "cross heads", "reads encoder layers"), rows),
    )


def _reads(span: int, depth: int) -> str:
    return str(depth) if span == 1 else f"{depth - span + 1} to {depth}"
