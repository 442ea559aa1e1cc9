"""
Where mcli keeps its files: one directory per user, and the sockets beside it.

Holds paths and the check that nobody else can write there. Imported by the caller's
process too, so it needs nothing but ``os``. Layout, under ``Home.root`` (mode 0700):

    mcli.db  daemon.lock  daemon.json  daemon.log  token  webhook-secret  ballast  jobs/<id>/…

Sockets stand in the root as well, unless their path would be longer than a socket
address may be (107 bytes on Linux); then in ``$XDG_RUNTIME_DIR/mcli`` or ``/tmp/mcli-UID``,
under a name made from the root's path.
"""

import os
import stat

from mcli.errors import UnsafeHome

SOCKET_PATH_MAX = 103
"""Bytes a socket's path may have: 107 on Linux, 103 on macOS."""


class Home:
    """The state directory and the paths in it. Making one touches nothing on disk."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    @classmethod
    def find(cls) -> "Home":
        """``$MCLI_HOME``, else ``mcli`` in the XDG state directory; always an absolute path.

        Raises:
            UnsafeHome: There is no home directory to put it in.
        """
        named = os.environ.get("MCLI_HOME")
        if named:
            return cls(os.path.abspath(os.path.expanduser(named)))
        state = os.environ.get("XDG_STATE_HOME")
        if not state or not os.path.isabs(state):
            state = os.path.join(os.path.expanduser("~"), ".local", "state")
        if not os.path.isabs(state):  # no HOME, and nobody of that uid is known
            raise UnsafeHome("there is no home directory for the state; set HOME, or MCLI_HOME")
        return cls(os.path.join(state, "mcli"))

    @property
    def database(self) -> str:
        return os.path.join(self.root, "mcli.db")

    @property
    def lock(self) -> str:
        """Held (``lockf``) by the daemon for as long as it lives."""
        return os.path.join(self.root, "daemon.lock")

    @property
    def address(self) -> str:
        """JSON written by the daemon when it listens: pid, host, port, url, version, …"""
        return os.path.join(self.root, "daemon.json")

    @property
    def log(self) -> str:
        return os.path.join(self.root, "daemon.log")

    @property
    def token(self) -> str:
        return os.path.join(self.root, "token")

    @property
    def webhook_secret(self) -> str:
        """What webhooks are signed with."""
        return os.path.join(self.root, "webhook-secret")

    @property
    def ballast(self) -> str:
        """Room that is held for the day on which the disk is full."""
        return os.path.join(self.root, "ballast")

    @property
    def jobs(self) -> str:
        return os.path.join(self.root, "jobs")

    def job(self, job_id: str) -> str:
        """The directory of one job: ``job.json``, ``output.log``, and of each attempt two files."""
        return os.path.join(self.root, "jobs", job_id)

    @property
    def attach_socket(self) -> str:
        """Clients connect here."""
        return self._socket("attach.sock")

    @property
    def worker_socket(self) -> str:
        """Workers connect here, and come back here when the daemon has been restarted."""
        return self._socket("worker.sock")

    def _socket(self, name: str) -> str:
        path = os.path.join(self.root, name)
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return path
        import zlib  # only for a home with a very long path

        runtime = os.environ.get("XDG_RUNTIME_DIR")
        folder = os.path.join(runtime, "mcli") if runtime else f"/tmp/mcli-{os.getuid()}"  # noqa: S108
        return os.path.join(folder, f"{zlib.crc32(os.fsencode(self.root)):08x}-{name}")

    def create(self) -> None:
        """Make the directories that are missing, and check all of them.

        Raises:
            UnsafeHome: Others could write there, it is not ours, or it cannot be made.
        """
        _check_parent(self.root)
        for folder in (self.root, self.jobs, os.path.dirname(self.attach_socket)):
            try:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            except OSError as error:
                raise _unusable(folder, error) from error
            _check(folder)

    def check(self) -> None:
        """Check the directories that are there, and make none.

        Raises:
            UnsafeHome: As for ``create``.
        """
        _check_parent(self.root)
        for folder in (self.root, self.jobs, os.path.dirname(self.attach_socket)):
            if os.path.lexists(folder):
                _check(folder)


def _check(folder: str) -> None:
    try:
        found = os.stat(folder)
    except OSError as error:
        raise _unusable(folder, error) from error
    if found.st_uid != os.geteuid():
        raise UnsafeHome(
            f"the state directory {folder} belongs to uid {found.st_uid}, not to you; "
            "set MCLI_HOME to a directory of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise UnsafeHome(
            f"others can write to the state directory {folder} "
            f"(mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 700 {folder}"
        )
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise UnsafeHome(
            f"the state directory {folder} is on a read-only file system; "
            "set MCLI_HOME to a directory that you can write to"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UnsafeHome(f"the state directory {folder} is not writable; run: chmod 700 {folder}")


def _unusable(folder: str, error: OSError) -> UnsafeHome:
    return UnsafeHome(
        f"cannot use the state directory {folder}: {error.strerror}; "
        "set MCLI_HOME to a directory that you can write to"
    )


def _check_parent(root: str) -> None:
    """Refuse a place that others rule: they could put another directory where ours is.

    Above all, root does not make files in the home directory of whoever has typed ``sudo``.

    Raises:
        UnsafeHome: It is such a place.
    """
    made = os.path.lexists(root)
    parent = os.path.dirname(root)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    found = os.stat(parent)
    if not made and found.st_uid not in (0, os.geteuid()):
        raise UnsafeHome(
            f"no state directory is made in {parent}, which belongs to uid {found.st_uid}, not to "
            "you; set MCLI_HOME to a directory of your own, or with sudo use: sudo -H"
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise UnsafeHome(
            f"others can replace what is in {parent}; set MCLI_HOME to a directory elsewhere, "
            f"or run: chmod +t {parent}"
        )
