"""The commands `physicnet source ...`: each writes an archive of observations into a folder.

Heavy packages are imported inside the commands, as in `physicnet.cli`.
"""

import typer

app = typer.Typer(
    help="Write observations for data/raw: simulations, benchmarks, tables, folders of pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
