// A line chart as SVG text: what a benchmark shows over context length.
#pragma once

#include <string>
#include <vector>

namespace precis::cli {

struct PlotPoint {
  double x = 0;
  double y = 0;
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;
};

struct PlotTick {
  double at = 0;
  std::string label;
};

/// A chart with two logarithmic axes.
struct LogPlot {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<PlotTick> x_ticks;
  std::vector<PlotSeries> series;
};

/// The chart as a complete SVG document.  Series differ by colour (safe for colour-blind readers),
/// dashes and markers; at most six of them.
///
/// Requires  1 … 6 series; all coordinates positive and at least one point
std::string svg_of(const LogPlot& plot);

/// Documents of svg_of(), one below the other, as one document.
std::string stacked(const std::vector<std::string>& charts);

}  // namespace precis::cli
