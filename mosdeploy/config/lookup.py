"""Where named things lie: the run folder, the user's config folder, what is shipped.

In: `device_profiles` or `predictors`. Out: folders, in the order in which they are looked at.
"""

from pathlib import Path

import platformdirs


def shipped_dir(kind: str) -> Path:
    """Folder of shipped `device_profiles` or `predictors`: inside the wheel, or at the top of a
    source checkout.
    """
    package = Path(__file__).resolve().parent.parent
    wheel = package / "shipped" / kind
    return wheel if wheel.is_dir() else package.parent / kind


def lookup_dirs(kind: str, root: Path) -> list[Path]:
    """Where a named profile or predictor is looked for, first match wins: run folder, user's
    config, shipped.
    """
    return [root / kind, Path(platformdirs.user_config_dir("mosdeploy")) / kind, shipped_dir(kind)]
