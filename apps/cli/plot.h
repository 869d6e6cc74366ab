// Pictures of results as PNG or SVG: lines over logarithmic axes, and heat maps.
#pragma once

#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "precis/status.h"

#include "cli/heat_map.h"
#include "cli/plot_canvas.h"

namespace precis::cli {

struct PlotPoint {
  double x = 0;
  double y = 0;
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;  // by ascending x
};

struct PlotTick {
  double at = 0;
  std::string label;
};

/// A chart with two logarithmic axes.  Series differ by colour (safe for colour-blind readers),
/// dashes and marker, and are named beside their last point; ten are easily told apart.
///
/// Requires  at least one point; all coordinates positive and finite
struct LogPlot {
  std::string title;
  std::string subtitle;  // may be empty
  std::string x_label;
  std::string y_label;
  std::vector<PlotTick> x_ticks;
  std::vector<PlotSeries> series;
};

PlotSize size_of(const LogPlot& plot);
void draw(const LogPlot& plot, Canvas& canvas);

using Chart = std::variant<LogPlot, HeatMap>;

/// What the file's extension asks for, in either case of letters.  Called before long work, so that
/// a mistyped name is not found after it.
///
/// Errors    kInvalidArgument — neither .png nor .svg; kNotFound — its directory is not there
Result<PictureFormat> picture_format(const std::filesystem::path& path);

/// One picture of the charts, one below the other.
///
/// Requires  at least one chart
/// Errors    kIo — as Canvas::finish
Result<std::string> picture_of(const std::vector<Chart>& charts, PictureFormat format);

/// picture_of() in a file, in the format that its extension asks for.
///
/// Errors    as picture_format, picture_of and write_file; a file that stood there is then
///           untouched
Result<void> write_picture(const std::filesystem::path& path, const std::vector<Chart>& charts);

}  // namespace precis::cli
