"""Notifications through Apprise, where the configuration names addresses.

An address may hold a password. None is ever printed or written: messages name an address by its place in the list.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VARIABLE = "HIERREPORT_NOTIFY"
_FROM_ENVIRONMENT = "env:"


@dataclass(frozen=True)
class Delivery:
    """What became of a notification: how many addresses took it, and one sentence per address that did not."""

    sent: int
    faults: tuple[str, ...]


def addresses(
    entries: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[list[tuple[str, str]], list[str]]:
    """Resolve the configured entries.

    Args:
        entries: Apprise URLs, or ``env:NAME`` for URLs (separated by spaces) in an environment variable.
        environment: ``os.environ`` where not given; its HIERREPORT_NOTIFY is used besides the entries.

    Returns:
        (name for messages, URL) pairs, and a sentence for each variable that is not set.
    """
    environment = os.environ if environment is None else environment
    found: list[tuple[str, str]] = []
    faults = []
    for number, entry in enumerate(entries, start=1):
        if not entry.startswith(_FROM_ENVIRONMENT):
            found.append((f"notify[{number}]", entry))
            continue
        name = entry.removeprefix(_FROM_ENVIRONMENT)
        urls = environment.get(name, "").split()
        found += [(f"notify[{number}] ({name})", url) for url in urls]
        if not urls:
            faults.append(f"notify[{number}]: the environment variable {name} is not set.")
    found += [(VARIABLE, url) for url in environment.get(VARIABLE, "").split()]
    return found, faults


def send(title: str, body: str, entries: Sequence[str]) -> Delivery:
    """Send a message to every address. Never raises: a notification that fails is no reason for a run to fail."""
    targets, faults = addresses(entries)
    if not targets:
        return Delivery(0, tuple(faults))
    try:
        import apprise
    except ImportError:
        what = "Apprise is not installed, so no notification was sent. Install it: pip install 'hierreport[notify]'."
        return Delivery(0, (*faults, what))
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages quote addresses
    sent = 0
    for name, url in targets:
        try:
            post = apprise.Apprise()
            if not post.add(url):
                faults.append(f"{name}: Apprise does not know this kind of address.")
            elif post.notify(title=title, body=body):
                sent += 1
            else:
                faults.append(f"{name}: the notification was not delivered.")
        except Exception as error:  # whatever a service's plugin raises; its text may quote the address
            faults.append(f"{name}: the notification was not delivered ({type(error).__name__}).")
    return Delivery(sent, tuple(faults))
