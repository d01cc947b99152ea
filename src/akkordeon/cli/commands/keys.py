"""`akkordeon token` and `akkordeon tls`: create the secrets that the machines of a network share."""

from pathlib import Path
from typing import Annotated

from akkordeon.cli import values
from akkordeon.cli.options import FILES, REACH, Command, argument
from akkordeon.cli.output import Output
from akkordeon.engines.ray.cluster import new_token
from akkordeon.errors import TokenUnusable, WiringError

TOKENS = """Create the token that machines share.

\b
Examples:
  akkordeon token new
  akkordeon token new --force                 replace it: the old one stops working

A network on one machine needs none."""

CERTIFICATES = """Create certificates to encrypt a network.

\b
Examples:
  akkordeon tls init certificates --host 192.0.2.7 --host 192.0.2.8
  akkordeon tls init certificates --host gpu3.example.org"""


class TokenCommand(Command):
    """Create a token in a private file.

    \b
    Examples:
      akkordeon token new
      AKKORDEON_TOKEN_PATH=secrets/token akkordeon token new
    """  # noqa: D301

    force: Annotated[bool, FILES(None, "Replace the present token, which stops working.", "--force")] = False

    def run(self, output: Output) -> None:
        """Write the file."""
        try:
            path = new_token(overwrite=self.force)
        except TokenUnusable as error:
            raise TokenUnusable(f"{error}, with --force") from None
        text = f"token written to {path}. Copy it to the same path on each machine of the network, readable only"
        output.tell(f"{text}\nby you (chmod 600): anyone who has it can run code on all of them", "token", path=path)


def _host(text: str) -> str:
    return values.address(f"{text}:25520").host


class TlsCommand(Command):
    """Create a certificate for each machine.

    \b
    Examples:
      akkordeon tls init certificates --host 192.0.2.7 --host 192.0.2.8
      akkordeon tls init certificates --host gpu3.example.org
      akkordeon network mnist --address 192.0.2.7:25520 --tls certificates
    """  # noqa: D301

    folder: Annotated[Path, argument("DIR", "Folder for the files; its authority is reused.", parser=values.new_folder)]
    host: Annotated[list[str], REACH("IP_OR_NAME", "Address of a machine; repeat for more.", parser=_host)]

    def run(self, output: Output) -> None:
        """Write the authority, where there is none, and the certificates."""
        try:
            from akkordeon.engines.ray.cluster.certificates import init  # noqa: PLC0415 - of an extra
        except ImportError as error:
            raise WiringError(
                f'certificates need {error.name}, which is not installed: run pip install "akkordeon[ray]"'
            ) from None
        try:
            written = init(self.folder, self.host)
        except ValueError as error:
            raise WiringError(f"cannot use the authority in {self.folder} ({error}): name another folder") from error
        for host, files in written.items():
            line = f"{host}: copy {', '.join(each.name for each in files)} there, into a folder for --tls"
            output.tell(line, "certificate", host=host, files=list(files))
        output.say(f"{self.folder / 'ca.key'} stays here: anyone who has it can create certificates")
