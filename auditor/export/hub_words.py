"""What can go wrong between here and the Hub, in plain sentences that say what to do. No request, no token, no address.

1. A status is looked for in the error and in what caused it: the clients wrap each other's errors.
2. Where there is none, it was the network, or something that this program does not know; the kind of error is named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from huggingface_hub.errors import OfflineModeIsEnabled

from auditor.errors import AuditorError, UserError

ASKING, READING, SENDING = "Asking the Hub", "Reading the files", "Sending the files"
COMMITTING, CHECKING = "Committing", "Reading the commit back"
STOPPED = "Stopped; nothing was pushed."
NAME = ("Write the repository's name as account/name, such as ada/pythia-edited: letters, digits, “-”, “_” and “.”, at "
        "most 96 of them, without “--” or “..”, not beginning or ending with “-” or “.”, and not ending in .git.")
TOKEN = "Enter a token that may write. You find it on the Hub under Settings, Access Tokens."
KEPT = "Nothing was pushed. What has arrived is kept, so pressing again goes on from there."
SAID = {
    400: "The Hub did not accept the request for {repo}: perhaps the name or the model card is not to its liking. "
         "Nothing was pushed.",
    401: "The Hub does not accept this token. Make sure that it is copied whole and has not been withdrawn, or make a "
         "new one that may write. Nothing was pushed.",
    402: "The Hub asks for payment before {repo} may hold this: the account's private room is used up. Nothing was "
         "pushed.",
    403: "This token may not write to {repo}. Choose a name under your own account, or a token with the right to write "
         "there. Nothing was pushed.",
    404: "The Hub knows no {repo}, or this token may not see it. Check the account's name and the token's rights. "
         "Nothing was pushed.",
    409: "The Hub is busy with another change of {repo}. Nothing was pushed. Wait a moment and press again.",
    413: "A file is larger than the Hub takes. Nothing was pushed.",
    429: "The Hub asks for a pause: too many requests came from here. Wait some minutes and press again. " + KEPT,
}
"""Sentence for a status."""
SERVER = "The Hub has trouble of its own (error {status}). Press again later. " + KEPT
NETWORK = "The Hub cannot be reached from here, or the connection broke. Check the network and press again. " + KEPT
OFFLINE = "This program was started without network (HF_HUB_OFFLINE), so it cannot reach the Hub. Nothing was pushed."
OTHER = "Something went wrong between this program and the Hub ({kind}). Nothing was pushed."
UNREAD = ("The commit was sent to {repo}, but it could not be read back, so it may or may not be there. Look at the "
          "repository before you press again.")
_STATUS = re.compile(r"HTTP status [a-z ]*error \((\d{3})\b")


class PushFailed(UserError):
    """A push that the Hub refused or that did not get through; the message says what to do."""


class Moved(PushFailed):
    """Somebody else committed meanwhile; `head` is the newest commit now, or empty where it is not known."""

    def __init__(self, message: str, head: str = ""):
        super().__init__(message)
        self.head = head

    def __reduce__(self):
        return type(self), (str(self), self.head)


def moved(repo: str) -> str:
    """Somebody else was faster."""
    return (f"{repo} has been changed by somebody else since. Nothing was pushed. Look at what changed there; pressing "
            "again puts your commit on top of it.")


def public(repo: str) -> str:
    """Private was asked for, and the repository is there already and is public."""
    return (f"{repo} exists and everybody can read it, while you asked for a private one. Nothing was pushed. Choose "
            "another name, or switch “private” off.")


def lost(repo: str, files: Sequence[str]) -> str:
    """An acknowledged commit that does not hold what was sent."""
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    return (f"The Hub acknowledged the commit in {repo}, but these files are not in it as they were sent: {shown}. Do "
            "not rely on it; press again, or delete the repository.")


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, or None."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return response.status_code
        if found := _STATUS.search(str(error)):
            return int(found.group(1))
        if type(error).__name__ == "XetAuthenticationError":
            return 401
        error = error.__cause__
    return None


def failure(error: Exception, repo: str, *, unread: bool = False) -> AuditorError:
    """What to raise in place of an error of a client."""
    causes = _causes(error)
    if ours := next((cause for cause in causes if isinstance(cause, AuditorError)), None):
        return type(ours)(str(ours))
    if unread:
        return PushFailed(UNREAD.format(repo=repo))
    status = status_of(error)
    if status == 412:
        return Moved(moved(repo))
    if status in SAID:
        return PushFailed(SAID[status].format(repo=repo))
    if status is not None and status >= 500:
        return PushFailed(SERVER.format(status=status))
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return PushFailed(OFFLINE)
    if status is None and any(_of_the_network(cause) for cause in causes):
        return PushFailed(NETWORK)
    return PushFailed(OTHER.format(kind=type(causes[-1]).__name__))


def _of_the_network(error: BaseException) -> bool:
    """Whether a connection could not be made or broke; the clients' own classes are told by their family's name."""
    return isinstance(error, ConnectionError | TimeoutError) or any(
        kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _causes(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__
    return found
