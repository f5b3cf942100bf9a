"""latent-map study serve: the page on which observers compare pictures."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import argument, option

if TYPE_CHECKING:
    from ...comparison.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which study, which session, and where the page is."""

    study: Path = argument("STUDY.toml: see docs/study.md")
    session: str = option(
        "its name: votes go to votes/NAME.csv; the same name goes on with it",
        default="main",
        metavar="NAME",
    )
    address: str = option(
        "where to listen: 127.0.0.1 is this machine alone; any other needs the token that is "
        "printed, and is not encrypted",
        default="127.0.0.1",
    )
    port: int = option("0 takes any that is free", default=8750)


def run(options: Options) -> int:
    """Serve a session of a study until Ctrl-C.

    Each vote is on the disk before the next pair is shown, so that nothing is lost however it ends;
    the same command goes on. docs/study_session.md says how to run a session.
    """
    from ...comparison.access import access_for
    from ...comparison.server import SessionServer
    from ...comparison.serving_lock import serving
    from ...comparison.session import Session
    from ...comparison.staleness import entrants_changed
    from ...comparison.study_file import check_rooms, load_study
    from ...files.written import check_folder

    if not 0 <= options.port <= 65535:
        raise ValueError(f"port {options.port}: give a number from 0 to 65535")
    access = access_for(options.address)
    study = load_study(options.study)
    check_rooms(study)
    if not study.folder.is_dir():
        raise ValueError(f"there is no {study.folder}: run latent-map study run first")
    check_folder(study.folder)
    if changed := entrants_changed(study.folder, study.digests):
        log.warning(
            "%s describes %s otherwise than when pairs.csv was made, which is shown: to show what "
            "it describes now, run study run and study select again",
            *(study.file, " and ".join(changed)),
        )
    with serving(study.folder) as tell:
        session = Session(study.folder, options.session, study.session)
        with SessionServer(session, access, options.port) as server:
            tell(server.url.partition("?")[0])
            print(f"session {session.name}: {_progress(session)}; votes: {session.votes_file}")
            print(f"open {server.url} (Ctrl-C ends it)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print(f"session {session.name}: {_progress(session)}")
    return 0


def _progress(session: Session) -> str:
    progress = session.progress()
    finished = sum(done == of for done, of in progress.values())
    return f"{len(progress)} observers, {finished} of them to the end"
