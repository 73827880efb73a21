"""Another version of the definitions, taken up by a running engine without a restart by hand.

`tidegate apply` writes the version (storage.deployments). The first process of a running engine sees it and starts a
builder beside the flow (flows.beside): every shard's state for the new definitions is made from its saved state and
the archive, then brought to where the engine is by the steps that this has committed since, while the old version
goes on counting and answering. When the builder keeps up, the flow is ended in order; the few steps that are left are
run, one transaction makes the new states the valid ones and publishes the differences (flows.switching), and the flow
starts again. Events wait only from the end of the flow to its start, however long the history is.

A run that ends with its topics (`--until-end`) has nobody to go on for: it takes the version up before it begins.
"""

import logging
import threading
import time
from contextlib import closing

from flows import kafka
from flows.beside import Beside
from flows.engine import Engine, Goal, wait_for_database
from flows.placement import Placement
from flows.switching import Switch, outcome
from segmentation.compile import compile_files
from segmentation.errors import TidegateError
from segmentation.evaluate.history import check_types
from storage import deployments, postgres
from storage.deployments import Deployment
from storage.settings import Settings

log = logging.getLogger("tidegate.deploying")

#: Between looks at whether there is a new version, s.
LOOK_SECONDS = 1.0
#: After a builder that has broken off, until the next one, s; doubled up to the longest.
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
#: How long the shards of the other processes may take to be saved when the flow has ended, s.
SAVED_SECONDS = 20.0


def watch_deployments(engine: Engine, end: threading.Event) -> None:
    """Starts a builder when there is a version to be taken up, and ends the flow when it is built."""
    _tell_waited(engine, end)
    pause, not_before = PAUSE_SECONDS, 0.0
    while not end.wait(LOOK_SECONDS):
        try:
            new = deployments.building(engine.url)
            beside = engine.beside
            if beside is not None and (beside.over.is_set() or new is None or new.version != beside.version):
                engine.beside = None
                beside.end()
                if new is not None and new.version == beside.version:
                    not_before, pause = time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
            elif new is None or new.held or (beside is None and not _fits(engine, new)):
                continue
            elif beside is None:
                if time.monotonic() >= not_before:
                    engine.beside = beside = Beside(engine.settings, new.version, sorted(engine.starts))
                    if end.is_set():  # perhaps nobody looks after it any more
                        beside.end()
            elif beside.near.is_set() and _caught_up(engine):
                beside.switching = True
                _end(engine, new)
                return
        except (TidegateError, OSError) as error:
            log.warning("%s", error)


def _end(engine: Engine, new: Deployment) -> None:
    deployments.stopped(engine.url, new.version)
    engine.end(f"version {new.version} of the definitions is to be switched to")


def _tell_waited(engine: Engine, end: threading.Event) -> None:
    """When this flow takes events: how long they have waited for a version."""
    while engine.takeovers and not engine.opened.wait(0.2):
        if end.is_set():
            return
    try:
        found = deployments.resumed(engine.url)
    except TidegateError as error:
        log.warning("%s", error)
        return
    if found is not None:
        log.info("version %d of the definitions: events waited %.1f s", *found)


def _fits(engine: Engine, new: Deployment) -> bool:
    """What can be known to be refused is withdrawn without ending the flow."""
    try:
        compile_files(new.folder.files, new.folder.schema)
        check_types(engine.decoder.schema, new.folder.schema)
    except TidegateError as error:
        deployments.withdraw(engine.url, new.version, str(error))
        log.warning("version %d was withdrawn: %s", new.version, error)
        return False
    return True


def _caught_up(engine: Engine) -> bool:
    """A shard of any process that has recorded steps to run again commits nothing before it has run them."""
    begun = engine.begun_at
    found = _saved(engine.url)
    return all(saved or shard not in begun or step > begun[shard] for shard, (step, saved) in found.items())


def _saved(url: str) -> dict[int, tuple[int, bool]]:
    """By shard: its last step, and whether its saved state is from then."""
    with (
        closing(postgres.connect(url, application="tidegate engine", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        rows = connection.execute(
            "SELECT shard, step, step = coalesce((checkpoint ->> 'step')::bigint, 0) FROM tidegate.shards"
        ).fetchall()
    return {shard: (step, saved) for shard, step, saved in rows}


def take_up(settings: Settings, placement: Placement, goal: Goal, stop: threading.Event) -> None:
    """Before a flow that ends with its topics: switches to the version that is to be taken up.

    Done by the first process; the others wait for it. A version that cannot be built is withdrawn, with the reason.
    """
    url = settings.database_url.get_secret_value()
    wait_for_database(url, stop)
    while (new := _due(url, goal)) is not None:
        if placement.process == 0:
            log.info("taking up version %d of the definitions, applied by %s", new.version, new.by)
            with outcome(settings, new, stop):
                switch = Switch(settings, new, stop)
                try:
                    switch.prepare()
                    switch.build()
                    switch.commit()
                finally:
                    switch.close()
            return
        if stop.wait(LOOK_SECONDS / 4):
            raise kafka.Stopped


def _due(url: str, goal: Goal) -> Deployment | None:
    new = deployments.building(url) if goal.until_end else None
    return None if new is None or new.held else new


def begin_switch(engine: Engine) -> None:
    """As soon as a process that is alone has made its last commit, while other things end; `conclude` waits for it."""
    beside, alone = engine.beside, engine.placement.processes == 1
    if beside is None or not (beside.switching and alone and engine.again is not None and engine.fatal is None):
        return
    try:
        if not engine.stop.is_set() and all(saved for _, saved in _saved(engine.url).values()):
            beside.go()
    except TidegateError as error:
        log.warning("%s", error)


def conclude(engine: Engine, stop: threading.Event) -> None:
    """After the flow: the switch, if it was ended for that; no builder is left behind. In a cluster all processes stay
    until then, since whoever keeps them running ends them all when the first is gone."""
    beside, engine.beside = engine.beside, None
    in_order = engine.fatal is None and engine.again is not None and not stop.is_set()
    if beside is None:
        if in_order and engine.placement.process != 0:
            _switched(engine.url, stop)
        return
    try:
        if in_order and beside.switching and _all_saved(engine.url, stop):
            beside.switch(stop)
    except kafka.Stopped:
        pass
    except TidegateError as error:
        log.warning("%s", error)
    finally:
        beside.end()


def _all_saved(url: str, stop: threading.Event) -> bool:
    """Every process has made its last commit."""
    deadline = time.monotonic() + SAVED_SECONDS
    while not all(saved for _, saved in _saved(url).values()):
        if time.monotonic() > deadline or stop.wait(0.05):
            log.warning("not every shard was saved at the end of the flow: the version is built again")
            return False
    return True


def _switched(url: str, stop: threading.Event) -> None:
    """The first process is done with the switch, or is gone."""
    gone = 0
    while gone < 8 and not stop.wait(0.25):
        try:
            if not deployments.switching(url):
                return
            gone = 0 if deployments.builders(url) else gone + 1
        except TidegateError:
            gone += 1
