#include "cli/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace precis::cli {
namespace {

// Pixels.
constexpr double kWidth = 760;
constexpr double kHeight = 440;
constexpr double kLeft = 84;
constexpr double kRight = 24;
constexpr double kTop = 76;
constexpr double kBottom = 60;

enum class Marker : std::uint8_t { kCircle, kSquare, kDiamond };

struct Look {
  const char* colour;  // Okabe and Ito's palette
  const char* dashes;
  Marker marker;
};
constexpr std::array<Look, 6> kLooks{{{"#0072B2", "none", Marker::kCircle},
                                      {"#D55E00", "7 4", Marker::kSquare},
                                      {"#009E73", "2 3", Marker::kDiamond},
                                      {"#CC79A7", "none", Marker::kSquare},
                                      {"#E69F00", "7 4", Marker::kDiamond},
                                      {"#000000", "2 3", Marker::kCircle}}};

// One logarithmic axis: values low … high on pixels begin … end.
class Axis {
 public:
  Axis(double low, double high, double begin, double end)
      : low_(std::log(low)), high_(std::log(high)), begin_(begin), end_(end) {}
  double pixel(double value) const {
    return begin_ + (end_ - begin_) * (std::log(value) - low_) / (high_ - low_);
  }

 private:
  double low_;
  double high_;
  double begin_;
  double end_;
};

// 1, 2 and 5 times powers of ten.
std::vector<double> steps_between(double low, double high) {
  std::vector<double> steps;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double step = decade * factor;
      if (step >= low * 0.999 && step <= high * 1.001) steps.push_back(step);
    }
  }
  return steps;
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = 0;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string text_at(double x, double y, const char* anchor, const std::string& text,
                    const char* extra = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, extra, escaped(text));
}

std::string marker_at(double x, double y, const Look& look) {
  constexpr double kRadius = 4.5;
  switch (look.marker) {
    case Marker::kCircle:
      return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\"/>\n", x, y,
                         kRadius, look.colour);
    case Marker::kSquare:
      return fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n", x - kRadius,
          y - kRadius, 2 * kRadius, 2 * kRadius, look.colour);
    case Marker::kDiamond:
      return fmt::format("<path d=\"M{:.1f} {:.1f}l{} {}l-{} {}l-{} -{}z\" fill=\"{}\"/>\n", x,
                         y - kRadius, kRadius, kRadius, kRadius, kRadius, kRadius, kRadius,
                         look.colour);
  }
  return "";
}

std::string line_of(const PlotSeries& series, const Axis& x, const Axis& y, const Look& look) {
  std::string points;
  std::string markers;
  for (const PlotPoint& point : series.points) {
    points += fmt::format("{:.1f},{:.1f} ", x.pixel(point.x), y.pixel(point.y));
    markers += marker_at(x.pixel(point.x), y.pixel(point.y), look);
  }
  return fmt::format(
             "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.5\" "
             "stroke-dasharray=\"{}\"/>\n",
             points, look.colour, look.dashes) +
         markers;
}

std::string grid(const LogPlot& plot, const Axis& x, const Axis& y, const Range& y_range) {
  std::string out = "<g stroke=\"#d9d9d9\">\n";
  const std::vector<double> y_steps = steps_between(y_range.low, y_range.high);
  for (const PlotTick& tick : plot.x_ticks) {
    out += fmt::format("<path d=\"M{:.1f} {}V{}\"/>\n", x.pixel(tick.at), kTop, kHeight - kBottom);
  }
  for (const double step : y_steps) {
    out += fmt::format("<path d=\"M{} {:.1f}H{}\"/>\n", kLeft, y.pixel(step), kWidth - kRight);
  }
  out += "</g>\n";
  for (const PlotTick& tick : plot.x_ticks) {
    out += text_at(x.pixel(tick.at), kHeight - kBottom + 20, "middle", tick.label);
  }
  for (const double step : y_steps) {
    out += text_at(kLeft - 8, y.pixel(step) + 4, "end", fmt::format("{:g}", step));
  }
  return out;
}

std::string legend(const LogPlot& plot) {
  std::string out;
  double x = kLeft;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const Look& look = kLooks[i];
    out += fmt::format(
        "<path d=\"M{:.0f} 54h36\" stroke=\"{}\" stroke-width=\"2.5\" stroke-dasharray=\"{}\"/>\n",
        x, look.colour, look.dashes);
    out += marker_at(x + 18, 54, look);
    out += text_at(x + 44, 58, "start", plot.series[i].name);
    x += 72 + 8 * static_cast<double>(plot.series[i].name.size());
  }
  return out;
}

}  // namespace

std::string svg_of(const LogPlot& plot) {
  Range x_range;
  Range y_range;
  for (const PlotSeries& series : plot.series) {
    for (const PlotPoint& point : series.points) {
      x_range.add(point.x);
      y_range.add(point.y);
    }
  }
  // Space around the points; it also keeps an axis with a single value from being empty.
  x_range = {x_range.low / 1.2, x_range.high * 1.2};
  y_range = {y_range.low / 1.5, y_range.high * 1.5};
  const Axis x(x_range.low, x_range.high, kLeft, kWidth - kRight);
  const Axis y(y_range.low, y_range.high, kHeight - kBottom, kTop);

  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n",
      kWidth, kHeight);
  out += text_at(kLeft, 30, "start", plot.title, " font-size=\"16\" font-weight=\"bold\"");
  out += grid(plot, x, y, y_range);
  out += text_at((kLeft + kWidth - kRight) / 2, kHeight - 16, "middle", plot.x_label);
  out += text_at(
      0, 0, "middle", plot.y_label,
      fmt::format(" transform=\"translate(22 {}) rotate(-90)\"", (kTop + kHeight - kBottom) / 2)
          .c_str());
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    out += line_of(plot.series[i], x, y, kLooks[i]);
  }
  return out + legend(plot) + "</svg>\n";
}

std::string stacked(const std::vector<std::string>& charts) {
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\">\n",
      kWidth, kHeight * static_cast<double>(charts.size()));
  for (std::size_t i = 0; i < charts.size(); ++i) {
    out += fmt::format("<g transform=\"translate(0 {})\">\n{}</g>\n",
                       kHeight * static_cast<double>(i), charts[i]);
  }
  return out + "</svg>\n";
}

}  // namespace precis::cli
