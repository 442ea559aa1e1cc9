"""A program whose import leaves a thread running that holds a lock."""

import threading

import click

import mcli

lock = threading.Lock()
held = threading.Event()


def hold() -> None:
    with lock:
        held.set()
        threading.Event().wait()


threading.Thread(target=hold, daemon=True).start()
held.wait()


@click.command()
@mcli.background
def main() -> None:
    """Do something that a forked copy of that lock would hang."""
    print("locked", lock.locked(), "threads", threading.active_count())


if __name__ == "__main__":
    main()
