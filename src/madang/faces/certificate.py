"""A certificate for development, made in memory: pages accept it by its hash, without any authority.

Browsers take a hash in place of an authority only for certificates that are valid for two weeks at most and whose key
is no RSA key.

Source: W3C WebTransport, "custom certificate requirements"; RFC 5280.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Certificate"]

_DAYS: Final = 13
#: Clocks differ.
_BEFORE: Final = datetime.timedelta(hours=1)
_RENEW: Final = datetime.timedelta(days=1)
_NAMES: Final = ("localhost", "127.0.0.1", "::1")


class Certificate:
    """A certificate and its key.

    Args:
        certificate: the certificate.
        chain: those that it was signed with, up to the authority's.
        key: its key.

    Attributes:
        certificate: the certificate.
        chain: the others.
        key: its key.
        hash: the SHA-256 of the certificate, by which pages can accept it.
    """

    def __init__(self, certificate: x509.Certificate, chain: list[x509.Certificate], key: Any) -> None:
        self.certificate = certificate
        self.chain = chain
        self.key = key
        self.hash = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()

    @classmethod
    def make(cls, names: Iterable[str] = (), *, days: float = _DAYS) -> Certificate:
        """Make one for this machine.

        Args:
            names: further names and IP addresses that it is for, beside those of this machine itself.
            days: how long it is valid; browsers take no hash for more than 14.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Madang development")])
        wanted = dict.fromkeys([*_NAMES, socket.gethostname(), *names])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BEFORE)
            .not_valid_after(now - _BEFORE + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([name for one in wanted for name in _general(one)]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, [], key)

    @property
    def is_ageing(self) -> bool:
        """Whether it ends within a day."""
        return datetime.datetime.now(datetime.UTC) > self.certificate.not_valid_after_utc - _RENEW


def _general(name: str) -> list[x509.GeneralName]:
    """A name as certificates hold it; none for what is no name there."""
    try:
        return [x509.IPAddress(ipaddress.ip_address(name))]
    except ValueError:
        pass
    try:
        return [x509.DNSName(name.encode("idna").decode())] if name else []
    except UnicodeError:
        return []
