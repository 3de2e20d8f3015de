"""A chart of a page: its options go to the browser as they are, in ``curve.js``."""

from nicegui import ui
from nicegui.elements import echart  # noqa: F401 - importing it makes the library known to the pages

from gradloom_dashboard.charts import Options


class Curve(ui.element, component="curve.js"):
    """A chart of ECharts that changes as a whole."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        with self._props.suspend_updates():
            self._props["options"] = options

    def draw(self, options: Options) -> None:
        """Show something else."""
        with self._props.suspend_updates():  # for a browser that loads the page; one that has it is told
            self._props["options"] = options
        self.run_method("draw", options)
