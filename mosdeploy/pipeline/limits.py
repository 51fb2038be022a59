"""Limits of a search and of a training: what the run file leaves to them, which architectures keep
them, and whether a search may ask a supernet for what it was not trained for.
"""

from collections.abc import Callable
from decimal import ROUND_FLOOR
from typing import TYPE_CHECKING

from ..config.sections import LimitsConfig, ParameterCount
from ..config.units import limit_key, parse_duration_ms, told_limit
from ..errors import ConfigError, InfeasibleError, StaleInputError
from ..family import Family
from ..printable import quantity
from ..record import parse
from ..records import NO_LIMITS, Limits, TrainingLimits
from ..run_folder.context import Context
from ..run_folder.options import TrainOptions, limit_parameters, with_defaults
from ..run_folder.predictors import predictor
from ..spaces import ModelSpec
from ..spaces.genes import ArchConfig
from ..storage import fingerprint

if TYPE_CHECKING:
    from ..search import Cost
    from ..search.feasible import FeasibleSpace


def search_limits(context: Context, asked: Limits) -> Limits:
    """The limits of a search: those asked for, else the config's, and those that the supernet was
    trained for.
    """
    configured = with_defaults(asked, context.config.search)
    limits = within_trained(context, configured, asked)
    if limits != NO_LIMITS:
        tell_lowered(context, configured, limits)
        return limits
    raise ConfigError(
        "a search needs a limit: give --max-latency 150ms, --max-parameters 4M, "
        "--max-size 12MiB or --max-memory 200MiB, or write one under [search] in mosdeploy.toml"
    )


def within_trained(context: Context, limits: Limits, given: Limits) -> Limits:
    """Limits filled up from those that the supernet was trained for, if it was for some."""
    try:
        trained = context.run.supernet_card().limits
    except StaleInputError:
        return limits
    found = {}
    for name, most in trained.limits.model_dump(exclude_none=True).items() if trained else ():
        asked = getattr(limits, name)
        if asked is None:
            found[name] = most
        elif getattr(given, name) is None:
            found[name] = min(asked, most)
    return limits.model_copy(update=found)


def tell_lowered(context: Context, configured: Limits, limits: Limits) -> None:
    """Say which limits of the run file are looser than those that the supernet was trained for."""
    for name, most in configured.model_dump(exclude_none=True).items():
        if (kept := getattr(limits, name)) != most:
            context.progress.say(
                f"[search] has {told_limit(name, most)}, and the supernet was trained for "
                f"{quantity(name, kept)}: it is searched under that; `mosdeploy train` with the "
                "looser limit makes another one"
            )


def asked_limits(
    config: LimitsConfig,
    max_latency: str | None,
    max_parameters: int | None,
    count: ParameterCount | None,
    max_size_bytes: int | None,
    max_memory_bytes: int | None,
) -> Limits:
    """Limits as the command line and programs give them, the latency with its unit."""
    if count is None and max_parameters is not None:
        count = config.count
    given = {
        "max_latency_ms": parse_duration_ms(max_latency) if max_latency is not None else None,
        "max_size_bytes": max_size_bytes,
        "max_memory_bytes": max_memory_bytes,
        **limit_parameters(max_parameters, count).model_dump(exclude_none=True),
    }
    return parse(Limits, given, "limits")


def with_less_memory(limits: Limits, excess_bytes: int) -> Limits:
    """Limits for predictions, where so many bytes of memory come to what is predicted."""
    if limits.max_memory_bytes is None:
        return limits
    left_bytes = max(limits.max_memory_bytes - excess_bytes, 1)
    return limits.model_copy(update={"max_memory_bytes": left_bytes})


def feasible_space(context: Context, options: TrainOptions) -> "FeasibleSpace | None":
    """What a training draws from; None for the whole space."""
    from ..search.feasible import FeasibleSpace

    limits = with_defaults(options.limits, context.config.training)
    if limits == NO_LIMITS:
        return None
    predict_ms = None
    if limits.max_latency_ms is not None:
        model = predictor(context.run, context.run.profiled_device_name(options.device))
        predict_ms = model.least_ms
    cost = cost_of(context.spec, context.family)
    return FeasibleSpace.find(context.config.space, limits, cost, predict_ms)


def training_limits(
    context: Context, options: TrainOptions, feasible: "FeasibleSpace | None"
) -> TrainingLimits | None:
    """What a supernet's card says of the limits that it is trained for."""
    if feasible is None:
        return None
    limits = with_defaults(options.limits, context.config.training)
    device = None
    predictor_sha256 = None
    if limits.max_latency_ms is not None:
        device = context.run.profiled_device_name(options.device)
        predictor_sha256 = fingerprint(predictor(context.run, device))
    return TrainingLimits(
        device=device,
        limits=limits,
        predictor_sha256=predictor_sha256,
        largest=feasible.largest,
        smallest=feasible.smallest,
    )


def told_training(context: Context, limits: TrainingLimits) -> str:
    """What a training within limits is told to be; also if no architecture is predicted to keep the
    latency limit, though some may keep it as measured.
    """
    given = limits.limits.model_dump(exclude_none=True).items()
    sizes = [context.spec.num_parameters(arch) for arch in (limits.smallest, limits.largest)]
    told = (
        f"trained within {', '.join(told_limit(*limit) for limit in given)}"
        f"{f' on {limits.device}' if limits.device else ''}: subnets of {sizes[0]:,} to "
        f"{sizes[1]:,} parameters"
    )
    if limits.device is None:
        return told
    from ..search.feasible import FeasibleSpace

    predict_ms = predictor(context.run, limits.device).predict
    cost = cost_of(context.spec, context.family)
    try:
        FeasibleSpace.find(context.config.space, limits.limits, cost, predict_ms)
    except InfeasibleError as error:
        told += (
            f". As predicted, {error}. Training goes on, as some may keep it as measured, and the "
            "search times the fastest, but may find none: `mosdeploy profile --budget N` with a "
            "larger N tells more"
        )
    return told


def check_trained_for(trained: TrainingLimits | None, limits: Limits, device: str) -> None:
    """Refuse a search beyond what a supernet was trained for."""
    if trained is None:
        return
    if trained.device not in (None, device):
        raise ConfigError(
            f"the supernet was trained for latencies of '{trained.device}', not of '{device}': "
            f"search with --device {trained.device}, or run `mosdeploy train --device {device}` "
            "with its limit"
        )
    for name, most in trained.limits.model_dump(exclude_none=True).items():
        asked = getattr(limits, name)
        if asked is None or asked > most:
            raise ConfigError(
                f"the supernet was trained for {told_limit(name, most)} and the search asks for "
                f"{'no such limit' if asked is None else quantity(name, asked)}: what lies between "
                f"was never trained; keep {limit_key(name)} at {_as_option(name, most)} or below, "
                "or run `mosdeploy train` with the looser limit"
            )


def _as_option(name: str, most: float) -> str:
    """A limit as it may be typed, not above what it is."""
    return f"{most:.0f}" if name.endswith("parameters") else quantity(name, most, ROUND_FLOOR)


def cost_of(
    spec: ModelSpec, family: Family, tokenizer_size: int = 0
) -> "Callable[[ArchConfig], Cost]":
    """What an architecture costs besides time."""
    from ..export.candidate import bundle_bytes
    from ..search import Cost

    def cost(arch: ArchConfig) -> Cost:
        inventory = spec.inventory(arch)
        model_bytes = bundle_bytes(spec, arch, family.build_graph)
        return Cost(
            num_parameters=inventory.num_parameters,
            size_bytes=model_bytes + tokenizer_size,
            num_body_parameters=inventory.num_body_parameters,
            memory_bytes=model_bytes + inventory.activation_bytes,
        )

    return cost
