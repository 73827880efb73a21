"""Processes that run one at a time, in an order that a seed draws, and can be killed wherever they pause."""

import random
import threading
from collections.abc import Callable


class Killed(BaseException):
    """What a killed process dies of; no handler of an Exception holds it up."""


class Actor:
    """A process: `run` calls `pause` wherever something else may happen meanwhile."""

    def __init__(self, name: str, run: Callable[["Actor"], None]) -> None:
        self.name = name
        self.error: BaseException | None = None
        self.ended = False
        self.paused_at = "start"
        self._killed = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._main, args=(run,), daemon=True)
        self._thread.start()

    def pause(self, where: str) -> None:
        self.paused_at = where
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def step(self) -> None:
        """Lets it run up to its next pause."""
        if not self.ended:
            self._go.release()
            self._back.acquire()

    def kill(self) -> None:
        """It does not come beyond where it paused."""
        self._killed = True
        self.step()
        assert self.ended, f"{self.name} went on after it was killed"

    def _main(self, run: Callable[["Actor"], None]) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                run(self)
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self._back.release()


class Schedule:
    """Whose turn it is, and who is killed, from one random stream."""

    def __init__(self, draw: random.Random, kill_chance: float) -> None:
        self.draw, self._kill_chance = draw, kill_chance
        self.actors: list[Actor] = []
        self.kills: list[str] = []

    def turn(self) -> bool:
        """One step of somebody; False where nobody is alive."""
        alive = [actor for actor in self.actors if not actor.ended]
        if not alive:
            return False
        # The youngest runs mostly; its predecessors are those who hang, and come back.
        actor = alive[-1] if self.draw.random() < 0.8 else self.draw.choice(alive)
        if self.draw.random() < self._kill_chance:
            self.kills.append(actor.paused_at)
            actor.kill()
        else:
            actor.step()
        return True
