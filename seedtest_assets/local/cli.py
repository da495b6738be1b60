"""The commands that start, stop and look at this machine; `seedtest` mounts them."""

import shlex
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table

from seedtest_assets.local.doctor import checks
from seedtest_assets.local.home import home
from seedtest_assets.local.machine import Machine, local_machine
from seedtest_assets.local.postgres import DATABASES, PostgresError
from seedtest_assets.local.schema import migrate
from seedtest_assets.local.services import ServiceError
from seedtest_assets.local.webserver import Webserver, WebserverError
from seedtest_assets.settings import settings

console = Console()

services_app = typer.Typer(help="PostgreSQL and the R services of this machine.", no_args_is_help=True)
db_app = typer.Typer(help="The database of this machine.", no_args_is_help=True)


@services_app.command("start")
def services_start() -> None:
    """Start PostgreSQL and the R services, and keep them until `seedtest services stop`.

    Every command starts what it needs and stops it at its end; kept services save it that time, and let
    other programs use them: `eval "$(seedtest env)"`.
    """
    try:
        Machine(home()).keep()
    except (PostgresError, ServiceError) as error:
        _give_up(error)
    services_status()


@services_app.command("stop")
def services_stop() -> None:
    """Stop PostgreSQL and the R services, in use or not."""
    Machine(home()).stop()
    services_status()


@services_app.command("status")
def services_status() -> None:
    """Show what runs, and where."""
    machine = Machine(home())
    table = Table("service", "state", "address", Column("log", overflow="fold"))
    running = machine.postgres.running()
    table.add_row(
        "postgres",
        "[green]running" if running else "stopped",
        f"127.0.0.1:{machine.postgres.port()}" if running else "",
        str(machine.postgres.log),
    )
    for service in machine.services.status():
        state = "stopped" if service.pid is None else "[green]ready" if service.ready else "[red]not ready"
        table.add_row(service.name, state, service.url or "", str(machine.services.log(service.name)))
    console.print(table)
    if machine.kept():
        console.print("They keep running until `seedtest services stop`.")


@db_app.command("url")
def db_url(
    database: Annotated[str, typer.Argument(help=f"One of {', '.join(DATABASES)}.")] = DATABASES[0],
) -> None:
    """Print the URL of the embedded database, password included: `psql "$(seedtest db url)"`."""
    if database not in DATABASES:
        raise typer.BadParameter(f"there is no database {database}; the databases are {', '.join(DATABASES)}")
    try:
        print(Machine(home()).postgres.url(database).replace("+psycopg2", ""))
    except PostgresError as error:
        _give_up(error)


def env() -> None:
    """Print `export` lines with which other programs find the kept services: `eval "$(seedtest env)"`."""
    machine = Machine(home())
    if not machine.kept():
        _give_up("nothing is kept running; `seedtest services start` does that")
    for name, value in machine.start().items():
        print(f"export {name}={shlex.quote(value)}")


def doctor() -> None:
    """Show what is there, what is missing, and the command that mends it; fails when something is missing."""
    table = Table("", "what", Column("found", overflow="fold"), "what mends it")
    missing = False
    for check in checks():
        sign = {True: "[green]✓", False: "[red]✗", None: "·"}[check.good]
        table.add_row(sign, check.what, check.found, "" if check.good else check.fix)
        missing = missing or check.good is False
    console.print(table)
    if missing:
        raise typer.Exit(1)


def up(
    port: Annotated[int | None, typer.Option(help="Loopback port; default: 3000 or the next free.")] = None,
) -> None:
    """Serve the whole system on this machine until Ctrl-C: database, R services, daemon, web interface."""
    if settings().seedtest_tenant:
        _give_up("SEEDTEST_TENANT is set. This serves a single school; tenants have code servers: docs/scale.md")
    webserver = Webserver(home())
    if running := webserver.url():
        _give_up(f"Dagster is served already at {running}; `./run down` stops it")
    try:
        with local_machine(), console.status("starting") as status:

            def ready(url: str) -> None:
                status.stop()
                console.print(f"Dagster is at [link]{url}[/link]   (Ctrl-C stops everything)")

            migrate()
            webserver.serve(ready=ready, port=port)
    except KeyboardInterrupt:
        console.print("stopped")
    except (PostgresError, ServiceError, WebserverError) as error:
        _give_up(error)


def down() -> None:
    """Stop whatever this checkout still runs: web interface, daemon, R services, PostgreSQL."""
    Webserver(home()).stop()
    Machine(home()).stop()
    services_status()


def _give_up(error: Exception | str) -> NoReturn:
    Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)
