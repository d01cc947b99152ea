"""`akkordeon token` and `akkordeon tls`: the secrets that the machines of a network have in common."""

from akkordeon.cli.output import Output
from akkordeon.cli.terminal_options import TlsOptions, TokenOptions
from akkordeon.cluster import new_token
from akkordeon.errors import TokenUnusable, WiringError

__all__ = ["certify", "make_token"]


def make_token(options: TokenOptions, output: Output) -> None:
    """Make a token.

    Raises:
        TokenUnusable: there is one already.
    """
    try:
        path = new_token(overwrite=options.force)
    except TokenUnusable as error:
        raise TokenUnusable(f"{error}, with --force") from None
    output.event("token", path=path)
    output.say(f"token written to {path}. Copy it to the same place on each machine of the network, where nobody else")
    output.say("may read it (chmod 600): whoever has it can run code on all of them")


def certify(options: TlsOptions, output: Output) -> None:
    """Make an authority, and certificates of machines.

    Raises:
        WiringError: what it takes is not installed, or the authority that is there cannot be used.
    """
    try:
        from akkordeon.cluster.certificates import init  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise WiringError(
            f'certificates need {error.name}, not installed here: run pip install "akkordeon[ray]"'
        ) from None
    try:
        written = init(options.folder, options.host)
    except ValueError as error:
        raise WiringError(f"the authority in {options.folder} cannot be used ({error}): name another folder") from error
    for host, files in written.items():
        output.event("certificate", host=host, files=list(files))
        output.say(f"{host}: copy {', '.join(each.name for each in files)} there, into a folder for --tls")
    output.say(f"{options.folder / 'ca.key'} stays here: whoever has it can make certificates")
