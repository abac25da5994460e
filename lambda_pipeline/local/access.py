"""Letting another user reach a folder, and nothing more.

PostgreSQL refuses to run as root, so it then runs as an unprivileged user, who must be able to walk down to the data
folder and to the server's programs, also below a home that only root may enter. That takes the search permission on
each folder on the way, for that one user: an entry in the folder's access control list where the file system has them,
else the search bit for others. Nothing becomes readable or listable.
"""

import errno
import logging
import os
import pwd
import struct
from pathlib import Path

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local.processes import User

logger = logging.getLogger(__name__)

UNPRIVILEGED_USER = "nobody"

_ACL = "system.posix_acl_access"
_ACL_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_SEARCH = 0x1

_Entries = dict[tuple[int, int], int]  # (tag, id) -> permissions


def server_user(data_folder: Path) -> User | None:
    """Whom the server must run as: None (ourselves) unless we are root; then the data's owner or, new, `nobody`.

    Raises:
        EmbeddedServerError: we are root, and the system has no user `nobody`.
    """
    if os.geteuid() != 0:
        return None
    owner = data_folder.stat().st_uid if data_folder.exists() else 0
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and there is no user {owner or UNPRIVILEGED_USER}.",
            "Start as an ordinary user.",
        ) from None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def grant_search(folder: Path, user: User) -> list[Path]:
    """Let `user` walk down to `folder`, itself not included; return the folders that had to be changed.

    Raises:
        EmbeddedServerError: a permission cannot be changed.
    """
    changed = []
    for ancestor in reversed(folder.resolve().parents):
        if may_search(ancestor, user):
            continue
        try:
            how = _grant(ancestor, user)
        except OSError as error:
            raise EmbeddedServerError(
                f"{user.name}, whom PostgreSQL runs as, may not enter {ancestor}, and that cannot be changed: "
                f"{error.strerror}.",
                "Set LAMBDA_HOME to a folder that every user can reach, or start as an ordinary user.",
            ) from error
        logger.info("let user %s pass through %s (%s), so that PostgreSQL can run as it", user.name, ancestor, how)
        changed.append(ancestor)
    return changed


def may_search(folder: Path, user: User) -> bool:
    """Whether `user` may pass through `folder`, by the rules of POSIX access control lists (or the plain bits)."""
    status = folder.stat()
    entries = _entries(folder)
    mask = entries.get((_MASK, _NO_ID), 0o7)
    if user.uid == status.st_uid:
        return bool(entries[_USER_OBJ, _NO_ID] & _SEARCH)
    if (_USER, user.uid) in entries:
        return bool(entries[_USER, user.uid] & mask & _SEARCH)
    groups = [entries[_GROUP, user.gid]] if (_GROUP, user.gid) in entries else []
    if user.gid == status.st_gid:
        groups.append(entries[_GROUP_OBJ, _NO_ID])
    if groups:
        return any(permissions & mask & _SEARCH for permissions in groups)
    return bool(entries[_OTHER, _NO_ID] & _SEARCH)


def make_readable(folder: Path) -> bool:
    """Let everybody read and run what is below `folder` (the server's programs, a public package installed under umask
    077); return whether anything had to be changed. It is the caller's to say for which folders that is harmless."""
    changed = False
    for root, _, files in os.walk(folder):
        for path in (Path(root), *(Path(root, name) for name in files)):
            mode = path.lstat().st_mode
            wanted = mode | 0o044 | (0o011 if mode & 0o100 else 0)
            if wanted != mode and not path.is_symlink():
                path.chmod(wanted & 0o7777)
                changed = True
    if changed:
        logger.info("made %s readable, so that PostgreSQL can run as another user", folder)
    return changed


def _grant(folder: Path, user: User) -> str:
    entries = _entries(folder)
    entries[_USER, user.uid] = entries.get((_USER, user.uid), 0) | _SEARCH
    # The mask caps every entry but the owner's and the others'. It must let this one through, and no other gain by it:
    # where there was none, it is what the group had, with the search bit added, and the group's own entry stays.
    old_mask = entries.get((_MASK, _NO_ID), entries[_GROUP_OBJ, _NO_ID])
    if not old_mask & _SEARCH:
        for key in [key for key in entries if key[0] in (_GROUP_OBJ, _GROUP, _USER) and key != (_USER, user.uid)]:
            entries[key] &= ~_SEARCH
    entries[_MASK, _NO_ID] = old_mask | _SEARCH
    packed = _ACL_VERSION + b"".join(_ENTRY.pack(tag, entries[tag, id_], id_) for tag, id_ in sorted(entries))
    try:
        os.setxattr(folder, _ACL, packed)
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        folder.chmod((folder.stat().st_mode & 0o7777) | 0o001)
        return "search bit for others: the file system has no access control lists"
    return "an access control list entry, search only"


def _entries(folder: Path) -> _Entries:
    """The folder's access control list; without one, the three entries that its mode bits stand for."""
    try:
        packed = os.getxattr(folder, _ACL)
    except (OSError, AttributeError):  # it has none, or the file system or the operating system has no such thing
        mode = folder.stat().st_mode
        bits = ((_USER_OBJ, mode >> 6), (_GROUP_OBJ, mode >> 3), (_OTHER, mode))
        return {(tag, _NO_ID): permissions & 0o7 for tag, permissions in bits}
    return {(tag, id_): permissions for tag, permissions, id_ in _ENTRY.iter_unpack(packed[len(_ACL_VERSION) :])}
