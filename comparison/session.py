"""A session of a study: who is asked what, what was answered, and where that is written.

Whatever an observer is told was written before: the trial list before the first trial, a vote
before the next pair. So a session goes on where it was after a reload, a crash or a restart.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from ..files.windows_names import flaw_on_windows
from .material import result_file
from .observer_names import checked_name, is_robot, robot_name
from .session_record import has_changed, open_record
from .session_settings import SessionSettings
from .trials import Trial, plan_trials, read_trials, write_trials
from .viewing import add_viewing
from .votes import SPOILT, Vote, append_vote, read_votes

log = logging.getLogger(__name__)

LONGEST_MS = 86_400_000  # a day: a longer time is a clock's mistake


class RefusedError(ValueError):
    """What an observer's page asked for cannot be; `code` names why, for the page to translate."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Question:
    """What an observer is asked next.

    Attributes:
        trial: its number, to be sent back with the answer; None when all is answered.
        training: whether it is one to practise on.
        done, of: answered and all trials of its part: the training, or the rest.
        rest: whether a break is offered before it.
        ahead: the number of the trial after it, to be loaded meanwhile.
    """

    trial: int | None
    training: bool
    done: int
    of: int
    rest: bool
    ahead: int | None


class Session:
    """One session; its methods may be called from several threads."""

    def __init__(self, folder: Path, name: str, settings: SessionSettings) -> None:
        """Open a session, begun or new.

        Args:
            folder: the study's, with pairs.csv and results/.
            name: of the session: its folder in sessions/ and its file in votes/.
            settings: must stay as they were when it began.
        Raises: ValueError if there is nothing to compare, or pairs or settings have changed since.
        """
        _check_session_name(name)
        self.folder, self.name, self.settings = folder, name, settings
        self.place = folder / "sessions" / name
        self.votes_file = folder / "votes" / f"{name}.csv"
        self._lock = threading.Lock()
        self._record = open_record(self.place, folder, settings)
        self.votes_file.parent.mkdir(exist_ok=True)
        self._lists = read_trials(self.place / "trials.csv")
        self._done = self._answered()

    def begin(self, wanted: str, resume: bool, viewing: Mapping[str, Any]) -> str:
        """Let an observer in; the trial list of a new one is on the disk when this returns.

        Args:
            wanted: the name given.
            resume: whether to go on with what an observer of that name has begun.
            viewing: screen, light and so on, as `viewing.checked_viewing` takes it.
        Returns: the observer's name as it is written down.
        Raises: RefusedError for a name that cannot be used, or is there already while not `resume`.
        """
        try:
            name = checked_name(wanted)
        except ValueError as error:
            raise RefusedError("name", str(error)) from error
        return self._enter(name, resume, viewing)

    def begin_robot(self, seed: str, viewing: Mapping[str, Any]) -> str:
        """Let a simulated observer in, or go on: its name, robot-SEED, marks all that it does.

        Raises: RefusedError for an odd seed.
        """
        try:
            name = robot_name(seed)
        except ValueError as error:
            raise RefusedError("name", str(error)) from error
        return self._enter(name, True, viewing)

    def look_again(self, observer: str, viewing: Mapping[str, Any]) -> None:
        """Write down that an observer's screen or window has changed.

        Raises: RefusedError for an unknown observer.
        """
        with self._lock:
            self._trials_of(observer)
            add_viewing(self.place / "viewing.json", observer, viewing)

    def question(self, observer: str) -> Question:
        """What an observer is asked next.

        Raises: RefusedError for an unknown observer.
        """
        with self._lock:
            trials = self._trials_of(observer)
            return _question(trials, self._done[observer], self.settings.break_every)

    def vote(
        self, observer: str, number: int, side: Literal["left", "right"], rt_ms: object
    ) -> Question:
        """Write an answer down; it is on the disk when this returns.

        Sent again, an answer changes nothing: the first one stays.

        Args:
            number: the trial's.
            side: which picture was chosen.
            rt_ms: from both pictures shown to the choice, 0 to a day; anything else is left out.
        Returns: the next question.
        Raises: RefusedError for an unknown observer, or a trial that is not the next; OSError if it
            could not be written: then it may be sent again.
        """
        with self._lock:
            trials, done = self._trials_of(observer), self._done[observer]
            if number not in done:
                expected = _question(trials, done, self.settings.break_every).trial
                if number != expected:
                    raise RefusedError(
                        "order", f"trial {number} is not the next, which is {expected}"
                    )
                append_vote(self.votes_file, self._as_vote(observer, trials[number], side, rt_ms))
                done.add(number)
            return _question(trials, done, self.settings.break_every)

    def trial(self, observer: str, number: int) -> Trial:
        """One of an observer's trials.

        Raises: RefusedError for an unknown observer or trial.
        """
        with self._lock:
            trials = self._trials_of(observer)
            if not 0 <= number < len(trials):
                raise RefusedError("order", f"there is no trial {number}")
            return trials[number]

    def picture(self, observer: str, number: int, side: Literal["left", "right"]) -> Path:
        """The file shown on one side in a trial.

        Raises: RefusedError for an unknown observer or trial.
        """
        trial = self.trial(observer, number)
        pair = trial.pair
        if side == trial.side:
            return result_file(self.folder, pair.scene, pair.a)
        if pair.b == SPOILT:
            return self.place / "traps" / pair.a / f"{pair.scene}.png"
        return result_file(self.folder, pair.scene, pair.b)

    def content(self, observer: str, number: int, side: Literal["left", "right"]) -> bytes:
        """The file shown on one side in a trial, as it was when the session began.

        Raises: RefusedError for an unknown observer or trial; OSError, ValueError if it is no more.
        """
        file = self.picture(observer, number, side)
        content = file.read_bytes()
        hashed = self._record.pictures.get(file.parent.name, {}).get(file.stem)
        is_trap = self.place in file.parents
        if not is_trap and hashlib.sha256(content).hexdigest() != hashed:
            raise ValueError(has_changed(file, self.name))
        return content

    def progress(self) -> dict[str, tuple[int, int]]:
        """Observer to (answered, all) trials."""
        with self._lock:
            return {
                name: (len(self._done[name]), len(trials))
                for name, (_, trials) in self._lists.items()
            }

    def _enter(self, name: str, resume: bool, viewing: Mapping[str, Any]) -> str:
        with self._lock:
            known = {each.casefold(): each for each in self._lists}.get(name.casefold())
            if known and not resume:
                raise RefusedError("taken", f"an observer named {known} has begun here already")
            name = known or name
            if not known:
                number = self._next_number(is_robot(name))
                trials = plan_trials(self._record.material, self.settings, number)
                lists = {**self._lists, name: (number, trials)}
                write_trials(self.place / "trials.csv", lists)
                self._lists, self._done[name] = lists, set()
            add_viewing(self.place / "viewing.json", name, viewing)
            return name

    def _next_number(self, robot: bool) -> int:
        """How many observers of all sessions came before; robots are counted apart.

        Balance is kept over the study's observers, so a robot must not take the turn of one.
        """
        count = 0
        for file in (self.folder / "sessions").glob("*/trials.csv"):
            lists = self._lists if file.parent == self.place else read_trials(file)
            count += sum(is_robot(name) == robot for name in lists)
        return count

    def _trials_of(self, observer: str) -> list[Trial]:
        if observer not in self._lists:
            raise RefusedError("unknown", "no observer of that name has begun here: begin again")
        return self._lists[observer][1]

    def _answered(self) -> dict[str, set[int]]:
        done: dict[str, set[int]] = {name: set() for name in self._lists}
        if self.votes_file.exists():
            votes, flaws = read_votes(self.votes_file)
            for flaw in flaws:
                log.warning("%s, line %d: %s", flaw.file, flaw.line, flaw.text)
            for vote in votes:
                if vote.observer in done and vote.trial is not None and vote.session == self.name:
                    done[vote.observer].add(vote.trial)
        return done

    def _as_vote(self, observer: str, trial: Trial, side: str, rt_ms: object) -> Vote:
        return Vote(
            observer,
            self.name,
            *trial.pair,
            is_a_selected=side == trial.side,
            side=trial.side,
            rt_ms=_milliseconds(rt_ms),
            trial=trial.number,
            kind=trial.kind,
            time=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        )


def _milliseconds(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return round(float(given), 1) if 0 <= given <= LONGEST_MS else None


def _question(trials: list[Trial], done: set[int], break_every: int) -> Question:
    waiting = [trial for trial in trials if trial.number not in done]
    training = bool(waiting) and waiting[0].kind == "training"
    part = [trial for trial in trials if (trial.kind == "training") == training]
    answered = sum(trial.number in done for trial in part)
    return Question(
        trial=waiting[0].number if waiting else None,
        training=training,
        done=answered,
        of=len(part),
        rest=bool(waiting) and not training and answered > 0 and answered % break_every == 0,
        ahead=waiting[1].number if len(waiting) > 1 else None,
    )


def _check_session_name(name: str) -> None:
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 60 or not name.isascii():
        raise ValueError(f"session {name!r}: give a name of ASCII letters, digits, '-' and '_'")
    if flaw := flaw_on_windows(name):
        raise ValueError(f"session {name!r} is {flaw}: give it another name")
