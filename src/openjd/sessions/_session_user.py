"""Who a Session runs as: identities and their credentials (rules USER-5, USER-17; API §6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Optional

from openjd.sessions._errors import BadCredentialsException as BadCredentialsException
from openjd.sessions._platform import accounts


class SessionUser(ABC):
    """An account that a Session's actions run as."""

    user: str
    """Name of the account."""

    @abstractmethod
    def is_process_user(self) -> bool:
        """Whether this is the account that the program itself runs as."""


def group_of(user: Optional[SessionUser]) -> Optional[str]:
    """The group that a Session's files are shared with; None if they are not shared.

    Raises:
        ValueError: It is not a user of this kind of system.
    """
    if user is None:
        return None
    if not isinstance(user, PosixSessionUser):
        raise ValueError(f"A Session on this system needs a PosixSessionUser; got {type(user).__name__}.")
    return user.group


def other_user(user: Optional[SessionUser]) -> Optional[str]:
    """The name of the account that processes run as; None if it is the program's own (rule USER-1)."""
    return None if user is None or user.is_process_user() else user.user


class PosixSessionUser(SessionUser):
    """An account of a POSIX system. Neither name is checked here.

    Args:
        user: Name of the account.
        group: Name of the group through which it shares the Session's files with the program's own account;
            the name of the program's effective group if not given.

    Raises:
        RuntimeError: This is not a POSIX system.
    """

    def __init__(self, user: str, *, group: Optional[str] = None) -> None:
        if not accounts.IS_POSIX:
            raise RuntimeError("PosixSessionUser can only be used on POSIX systems.")
        self.user = user
        self.group = group if group is not None else accounts.group_name()

    def is_process_user(self) -> bool:
        return self.user == accounts.user_name()


class WindowsSessionUser(SessionUser):
    """An account of a Windows system.

    Args:
        user: Name of the account: local, ``DOMAIN\\user`` or ``user@domain``.
        password: Its password; not for the program's own account.
        logon_token: Instead of a password, the handle of a logon of the account.

    Raises:
        RuntimeError: This is not a Windows system.
    """

    def __init__(self, user: str, *, password: Optional[str] = None, logon_token: Optional[Any] = None) -> None:
        if not accounts.IS_WINDOWS:
            raise RuntimeError("WindowsSessionUser can only be used on Windows systems.")
        self.user = user
        self.password = password
        self.logon_token = logon_token
        raise NotImplementedError("openjd.sessions can't use Windows accounts yet: its Windows backend is not there.")

    @staticmethod
    def _validate_username_password(user_name: str, password: str) -> None:
        """Check credentials by a logon."""
        raise NotImplementedError("openjd.sessions can't use Windows accounts yet: its Windows backend is not there.")

    def is_process_user(self) -> bool:
        return False
