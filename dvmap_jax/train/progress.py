"""One moving line on the terminal: what the run is doing, how far it is, how long it will take."""

import sys
import threading

from tqdm import tqdm

REFRESH_SECONDS = 1.0  # the clock moves this often, also while a step compiles


class Progress:
    """A progress bar on stderr that keeps moving between updates; silent when not `enabled`."""

    def __init__(self, title: str, total: int, *, initial: int = 0, enabled: bool = True):
        self._bar = tqdm(
            desc=title,
            total=total,
            initial=initial,
            disable=not enabled,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.2,
            smoothing=0.1,
            unit="step",
        )
        self._stop = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        if enabled:
            self._clock.start()

    def update(self, done: int, **values: float) -> None:
        """Moves the bar to `done` and shows the values, such as the reward, beside it."""
        if values:
            shown = {name: f"{value:.4g}" for name, value in values.items()}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(done - self._bar.n)

    def retitle(self, title: str) -> None:
        """Says what the run is doing now, for instance `evaluating`."""
        self._bar.set_description(title)

    def note(self, text: str) -> None:
        """Prints a line above the bar, on stderr."""
        tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Ends the line."""
        self._stop.set()
        if self._clock.is_alive():
            self._clock.join()
        self._bar.close()

    def _tick(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            self._bar.refresh()
