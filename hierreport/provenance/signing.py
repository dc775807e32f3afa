"""Signatures of a run, made and checked by OpenSSH's ssh-keygen: most people have a key for it already.

What is signed is manifest.json.sha256, which holds the digests of the manifest and the crate; the manifest holds those
of everything else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ..errors import DataError, HierreportError
from .flow import DIGEST, SIGNATURE
from .hashing import write_text

NAMESPACE = "hierreport"
KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


def sign(folder: Path, key: Path | None = None) -> Path:
    """Sign a run: manifest.json.sha256.sig.

    Args:
        folder: ``results/<analysis>``.
        key: a private SSH key, or a public one whose private part an agent holds; the user's own by default.

    Returns:
        the signature's path.

    Raises:
        DataError: there is nothing to sign, or it is not as the manifest says.
        HierreportError: ssh-keygen or a key is missing, or it refuses.
    """
    from .checking import verify_folder

    outcome = verify_folder(folder, recompute=False)
    broken = [f for f in outcome.failures if f[0] != SIGNATURE]
    if broken:
        name, what = broken[0]
        raise DataError(f"{what}.", str(folder / name), "Only what is as its manifest says can be signed.")
    found = key or _own_key()
    text = _ssh_keygen(["-Y", "sign", "-f", str(found), "-n", NAMESPACE], (folder / DIGEST).read_bytes(), str(found))
    write_text(folder / SIGNATURE, text)
    return folder / SIGNATURE


def check(folder: Path, signers: Path | None) -> tuple[str, str]:
    """Check a signature.

    Args:
        folder: ``results/<analysis>`` with a signature.
        signers: who may sign, as OpenSSH's allowed_signers file has it (``name key-type key``); None checks that the
            signature fits, whoever made it.

    Returns:
        what was found and what is wrong; one of them is empty.
    """
    content, signature = (folder / DIGEST).read_bytes(), str(folder / SIGNATURE)
    try:
        if signers is None:
            told = _ssh_keygen(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", signature], content, signature)
            return f"{_last(told)}; who that is, --signers tells", ""
        names = _ssh_keygen(["-Y", "find-principals", "-f", str(signers), "-s", signature], b"", signature).split("\n")
        who = ["-f", str(signers), "-I", names[0], "-n", NAMESPACE, "-s", signature]
        return _last(_ssh_keygen(["-Y", "verify", *who], content, signature)), ""
    except HierreportError as error:
        return "", error.what


def _own_key() -> Path:
    place = Path.home() / ".ssh"
    for name in KEYS:
        if (place / name).is_file():
            return place / name
    do = "Name one with --key, or make one: ssh-keygen -t ed25519"
    raise HierreportError("there is no SSH key to sign with.", str(place), do)


def _ssh_keygen(arguments: list[str], content: bytes, where: str) -> str:
    """What ssh-keygen says to a content on its standard input.

    Raises:
        HierreportError: it is missing, or it refuses.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise HierreportError("ssh-keygen is not installed.", where, "It comes with OpenSSH (8.1 or newer).")
    done = subprocess.run(
        [program, *arguments], input=content, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace")
        raise HierreportError(f"ssh-keygen refuses: {_last(said)}", where)
    return done.stdout.decode()


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"
