"""What new definitions keep per user that the deployed ones do not."""

from console.planning.model import StateCost
from segmentation.compile.explain import Explained, Feature, explain, totals
from segmentation.compile.plan import Plan


def state_cost(old: Plan | None, new: Plan) -> StateCost:
    was, is_ = ([] if plan is None else explain(plan) for plan in (old, new))
    before = _features(was)
    after = _features(is_)
    added = [feature for feature in after if feature not in before]
    return StateCost(
        totals(was)["bytes_per_user"],
        totals(is_)["bytes_per_user"],
        [_said(feature) for feature in added],
        [f"{feature.text}: {feature.heavy}" for feature in added if feature.heavy],
        sum(feature not in after for feature in before),
    )


def _features(explained: list[Explained]) -> dict[Feature, None]:
    return dict.fromkeys(feature for one in explained for feature in one.features)


def _said(feature: Feature) -> str:
    each = f" for each {feature.each}" if feature.each else ""
    return f"{feature.text} ({feature.bytes} bytes{each})"
