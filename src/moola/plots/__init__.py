"""Arrays to figures, drawn without a display."""

from moola.plots.candles import made_windows_plot
from moola.plots.events import event_plot
from moola.plots.figures import comparison_plot, label_curve_plot, reliability_plot, save_figure

__all__ = [
    "comparison_plot",
    "event_plot",
    "label_curve_plot",
    "made_windows_plot",
    "reliability_plot",
    "save_figure",
]
