"""The sections of the page about things: the device, the bundle and where it stands, and what all
was made from.

In: `ReportInputs`. Out: `Markup`, one function a section.
"""

from ..records import BundleManifest, Deployment, DeviceState
from .markup import Markup, element, facts, join, table
from .sections import EMULATED, emulation, mebibytes, milliseconds, missing, verdict
from .summary import ReportInputs, is_emulated, winner_deployment


def device_section(inputs: ReportInputs) -> Markup:
    """What the device said about itself the last time that it measured something."""
    name = inputs.search.device
    heading = element("h2", f"The device {name}")
    states = [(x.deployed_at, x.state, name) for x in inputs.deployments if x.device.name == name]
    states += [(x.started_at, x.state, x.host or name) for x in inputs.sessions]
    if not states:
        return element(
            "section",
            heading,
            missing("No state was taken down.", f"mosdeploy profile --device {name}"),
        )
    taken_at, state, board = max(states, key=lambda item: item[0])
    profiles = [
        x.device for x in (inputs.context, *inputs.deployments) if x and x.device.name == name
    ]
    about = f"{profiles[-1].description} " if profiles else ""
    return element(
        "section",
        heading,
        element("p", emulation(name), class_="notice") if is_emulated(inputs) else None,
        element("p", f"{about}State of {board if board != name else 'the device'}, {taken_at}."),
        facts(_state(state)),
    )


def _state(state: DeviceState) -> list[tuple[str, str | None]]:
    memory = None if state.memory_bytes is None else mebibytes(state.memory_bytes)
    if memory and state.memory_available_bytes is not None:
        memory += f", {mebibytes(state.memory_available_bytes)} free"
    return [
        ("Processor", state.cpu_model),
        ("Machine", state.machine),
        ("Cores", None if state.cores is None else str(state.cores)),
        ("Memory", memory),
        ("Disk free", None if state.disk_free_bytes is None else mebibytes(state.disk_free_bytes)),
        ("Governor", state.governor),
        ("Frequency", None if state.frequency_mhz is None else f"{state.frequency_mhz:.0f} MHz"),
        ("Temperature", None if state.temperature_c is None else f"{state.temperature_c:.0f} °C"),
        ("Throttled", state.throttled),
        ("Load, one minute", None if state.load_1min is None else f"{state.load_1min:.2f}"),
        ("Python", state.python_version),
        ("NumPy", state.numpy_version),
        ("ONNX Runtime", state.onnxruntime_version),
        ("SentencePiece", state.sentencepiece_version),
        ("Providers", ", ".join(state.providers) or None),
    ]


def bundle_section(inputs: ReportInputs) -> Markup:
    """The bundle, its parity with the trained network, and the devices on which it stands."""
    manifest = inputs.manifest
    if manifest is None:
        text = missing("There is no bundle yet.", "mosdeploy export")
        return element("section", element("h2", "The bundle"), text)
    other = manifest.arch != inputs.search.winner.arch
    warning = (
        element("p", "This bundle holds another architecture than the winner.", class_="notice")
        if other
        else None
    )
    return element(
        "section",
        element("h2", "The bundle"),
        warning,
        facts(_bundle(manifest, inputs.bundle_size_bytes)),
        _examples(manifest),
        element("h2", "Deployments"),
        _deployments(inputs),
    )


def _bundle(manifest: BundleManifest, size_bytes: int | None) -> list[tuple[str, str | None]]:
    parity = manifest.parity
    return [
        ("Name", manifest.name),
        ("Languages", f"{manifest.source_lang} to {manifest.target_lang}"),
        ("Weights", manifest.weights),
        ("Precision", manifest.precision),
        (
            "Search",
            "greedy"
            if manifest.beam == 1
            else f"beam {manifest.beam}, length penalty {manifest.length_penalty:g}",
        ),
        ("Size", None if size_bytes is None else mebibytes(size_bytes)),
        ("Parameters", f"{manifest.num_parameters:,}"),
        ("Longest input, output", f"{manifest.max_source_len}, {manifest.max_decode_steps} pieces"),
        ("Same as trained", f"{parity.identical} of {parity.num_pairs} sentences"),
        ("BLEU trained, bundle", f"{parity.torch_bleu:.1f}, {parity.bundle_bleu:.1f}"),
    ]


def _examples(manifest: BundleManifest) -> Markup | None:
    if not manifest.self_test:
        return None
    rows = [(x.source, x.output) for x in manifest.self_test]
    return table(
        (manifest.source_lang, manifest.target_lang),
        rows,
        "What its self-test must answer, id for id",
    )


def _deployments(inputs: ReportInputs) -> Markup:
    if not inputs.deployments:
        return missing(
            "The bundle stands on no device yet.",
            f"mosdeploy deploy --device {inputs.search.device}",
        )
    header = (
        "device",
        "bundle",
        "self-test",
        "median",
        "p90",
        "minimum",
        "limit",
        "load",
        "peak memory",
        "when",
    )
    winner = winner_deployment(inputs)
    rows = [
        _deployment(x)
        for x in sorted(inputs.deployments, key=lambda x: (x is not winner, x.device.name))
    ]
    return table(header, rows, "Each measured there, as deployed")


def _deployment(deployment: Deployment) -> tuple[str | Markup, ...]:
    measurement, total = deployment.measurement, deployment.measurement.total
    passed = (
        element("span", "passed", class_="good") if deployment.self_test_passed else _bad("failed")
    )
    times: tuple[str | Markup, ...] = (_bad(measurement.error or "not timed"), "-", "-")
    if total:
        times = (
            milliseconds(total.median_ms),
            milliseconds(total.p90_ms),
            milliseconds(total.minimum_ms),
        )
    device = deployment.device
    name = (
        device.name if device.host_alias == device.name else f"{device.name} ({device.host_alias})"
    )
    name += f" ({EMULATED})" if device.emulated else ""
    return (
        name,
        deployment.bundle,
        passed,
        *times,
        _limit(deployment),
        "-" if measurement.load_ms is None else milliseconds(measurement.load_ms),
        "-" if measurement.peak_memory_bytes is None else mebibytes(measurement.peak_memory_bytes),
        deployment.deployed_at,
    )


def _limit(deployment: Deployment) -> str | Markup:
    total, limit_ms = deployment.measurement.total, deployment.limit_ms
    if limit_ms is None:
        return "none"
    if total is None or deployment.device.emulated:
        return f"{limit_ms:g} ms"
    return join((f"{limit_ms:g} ms ", verdict(total.median_ms <= limit_ms)))


def _bad(text: str) -> Markup:
    return element("span", text, class_="bad")


def provenance_section(inputs: ReportInputs) -> Markup:
    """Fingerprints of all that went in."""
    search, card, supernet = inputs.search, inputs.card, inputs.supernet
    pairs = {
        "search space": search.space_sha256,
        "supernet": search.supernet_sha256,
    }
    if search.predictor_sha256:
        pairs["latency predictor"] = search.predictor_sha256
    if supernet:
        pairs |= {"corpus": supernet.corpus_sha256, "tokenizer": supernet.tokenizer_sha256}
    if card:
        pairs["latency dataset"] = card.dataset_sha256
    if inputs.manifest:
        pairs |= {f"bundle: {name}": digest for name, digest in inputs.manifest.provenance.items()}
        pairs |= {f"bundle file {name}": digest for name, digest in inputs.manifest.sha256.items()}
    rows = [(name, element("code", digest)) for name, digest in pairs.items()]
    return element(
        "section",
        element("h2", "What it was made from"),
        _training(inputs),
        table(("what", "SHA-256"), rows),
    )


def _training(inputs: ReportInputs) -> Markup:
    supernet = inputs.supernet
    if supernet is None:
        return missing("The supernet's card is not here.", "mosdeploy train")
    experts = (
        "no experts"
        if supernet.routing == "none"
        else f"{supernet.num_experts} experts, {supernet.routing} routing"
    )
    text = (
        f"Supernet: {supernet.steps:,} updates in {supernet.train_seconds / 60:.1f} minutes, {experts}, "
        f"{supernet.vocab_size:,} pieces; validation loss {supernet.largest_loss:.3f} (largest subnet), "
        f"{supernet.smallest_loss:.3f} (smallest). Search seed {inputs.search.seed}."
    )
    return element("p", text)
