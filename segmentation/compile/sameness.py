"""Which definitions are the same set as another, or as some others taken together, told from the plan's gates.

Equal truths have one number in the plan, and ANDs inside ANDs are one AND. So a definition is a set of
conditions of which all must hold, or one; it is the others whose conditions are among its own, if these
are all of them.
"""

from collections.abc import Sequence

from segmentation.compile.plan import Gate, Plan

#: A signal and whether it is negated.
_Truth = tuple[int, bool]
_Part = tuple[str, bool, frozenset[_Truth]]  # a definition, whether it is excluded, its conditions


def same_as(plan: Plan) -> list[str]:
    """For each definition of the plan, as `segment` or `a` INTERSECT `b`; "" where it is like no other."""
    return [_same(plan, number) for number in range(len(plan.segments))]


def _same(plan: Plan, number: int) -> str:
    root = plan.roots[number]
    if root is None:
        return ""
    others = [(plan.names[other], truth) for other, truth in enumerate(plan.roots) if other != number and truth]
    for name, truth in others:
        if truth == root:
            return f"`{name}`"
    # The others that this one is made of must not be made of it.
    for all_of in (True, False):
        wanted = _conditions(plan, root, all_of)
        parts: list[_Part] = [
            (name, excluded, conditions)
            for name, truth in others
            for excluded in (False, True)
            if (conditions := _conditions(plan, (truth[0], truth[1] != excluded), all_of)) < wanted
        ]
        found = _covering(wanted, parts, all_of)
        if found:
            return found
    return ""


def _conditions(plan: Plan, truth: _Truth, all_of: bool) -> frozenset[_Truth]:
    """Of which all (one) must hold; itself where it is no such gate."""
    signal, negated = plan.signals[truth[0]], truth[1]
    if isinstance(signal, Gate) and (signal.all != negated) == all_of:
        return frozenset((of, other != negated) for of, other in signal.inputs)
    return frozenset([truth])


def _covering(wanted: frozenset[_Truth], parts: Sequence[_Part], all_of: bool) -> str:
    """The parts that make up all that is wanted, the largest first; "" if they do not."""
    left, chosen = set(wanted), []
    for part in sorted(parts, key=lambda part: (-len(part[2]), part[1], part[0])):
        if part[2] & left:
            chosen.append(part)
            left -= part[2]
    included = sorted(name for name, excluded, _ in chosen if not excluded)
    excluded = sorted(name for name, is_out, _ in chosen if is_out)
    if left or not included or (excluded and not all_of):
        return ""
    together = (" INTERSECT " if all_of else " UNION ").join(f"`{name}`" for name in included)
    return " EXCEPT ".join([together, *(f"`{name}`" for name in excluded)])
