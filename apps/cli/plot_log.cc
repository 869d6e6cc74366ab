// How a LogPlot is drawn: grid, lines, and the names at the lines' ends.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "cli/format.h"
#include "cli/plot.h"

namespace precis::cli {
namespace {

constexpr PlotSize kLogPlotSize{820, 400};
constexpr double kLogPlotLeft = 84;
constexpr double kLogPlotTop = 72;
constexpr double kLogPlotBottom = 58;

// Line sample of a name: where it begins right of the chart, and its length.
constexpr double kSampleGap = 18;
constexpr double kSampleWidth = 34;
constexpr double kNameHeight = 18;

struct Look {
  Colour colour;
  Dashes dashes;
  Marker marker;
};

// Okabe and Ito's palette without its yellow, then colours of Paul Tol's.  The three lists have no
// common period below 60, so no two of 60 series look the same.
Look look_of(std::size_t series_idx) {
  constexpr std::array<Colour, 12> kColours{{{0x00, 0x72, 0xb2},
                                             {0xd5, 0x5e, 0x00},
                                             {0x00, 0x9e, 0x73},
                                             {0xcc, 0x79, 0xa7},
                                             {0x22, 0x22, 0x22},
                                             {0xe6, 0x9f, 0x00},
                                             {0x56, 0xb4, 0xe9},
                                             {0x88, 0x22, 0x55},
                                             {0x99, 0x99, 0x33},
                                             {0x33, 0x22, 0x88},
                                             {0x77, 0x77, 0x77},
                                             {0x44, 0xaa, 0x99}}};
  constexpr std::array<Dashes, 4> kDashes{Dashes::kNone, Dashes::kLong, Dashes::kShort,
                                          Dashes::kMixed};
  constexpr std::array<Marker, 5> kMarkers{Marker::kCircle, Marker::kSquare, Marker::kDiamond,
                                           Marker::kTriangle, Marker::kCross};
  return {kColours[series_idx % kColours.size()], kDashes[series_idx % kDashes.size()],
          kMarkers[series_idx % kMarkers.size()]};
}

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

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = 0;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

// `factors` times powers of ten.
std::vector<double> steps_between(const Range& range, std::span<const double> factors,
                                  double decade_ratio) {
  std::vector<double> steps;
  const double first = std::floor(std::log10(range.low) / std::log10(decade_ratio));
  for (double decade = std::pow(decade_ratio, first); decade <= range.high;
       decade *= decade_ratio) {
    for (const double factor : factors) {
      const double step = decade * factor;
      if (step >= range.low && step <= range.high) steps.push_back(step);
    }
  }
  return steps;
}

// The finest of 1-2-5, 1-3 and whole decades whose labels do not touch.
std::vector<double> y_steps(const Range& range, const Axis& y) {
  constexpr double kClosest = 22;
  constexpr std::array<double, 3> kFine{1, 2, 5};
  constexpr std::array<double, 2> kMedium{1, 3};
  constexpr std::array<double, 1> kCoarse{1};
  const double decade = std::abs(y.pixel(10) - y.pixel(1));
  if (decade * std::log10(2) >= kClosest) return steps_between(range, kFine, 10);
  if (decade * std::log10(3) >= kClosest) return steps_between(range, kMedium, 10);
  return steps_between(range, kCoarse, decade >= kClosest ? 10 : 1000);
}

std::string y_label_of(double step) {
  return step >= 1 ? format_count(std::llround(step)) : fmt::format("{:g}", step);
}

// A chart's place on the page and what its axes run over.
struct Frame {
  PageBox box;
  Range y_range;
  Axis x;
  Axis y;
};

double names_width(const LogPlot& plot, const Canvas& canvas) {
  double widest = 0;
  for (const PlotSeries& series : plot.series) {
    widest = std::max(widest, canvas.text_width(series.name));
  }
  return kSampleGap + kSampleWidth + 8 + widest + 16;
}

Frame frame_of(const LogPlot& plot, const Canvas& canvas) {
  Range x;
  Range y;
  for (const PlotSeries& series : plot.series) {
    for (const PlotPoint& point : series.points) {
      x.add(point.x);
      y.add(point.y);
    }
  }
  // Space around the points; it also keeps an axis with a single value from being empty.
  x = {x.low / 1.15, x.high * 1.15};
  const double y_space = std::max(1.3, std::pow(y.high / y.low, 0.06));
  y = {y.low / y_space, y.high * y_space};
  const PageBox box{kLogPlotLeft, kLogPlotTop,
                    kLogPlotSize.width - kLogPlotLeft - names_width(plot, canvas),
                    kLogPlotSize.height - kLogPlotTop - kLogPlotBottom};
  return {box, y, Axis(x.low, x.high, box.left, box.right()),
          Axis(y.low, y.high, box.bottom(), box.top)};
}

void draw_x_ticks(const LogPlot& plot, const Frame& frame, Canvas& canvas) {
  constexpr double kGap = 8;
  double free_from = -std::numeric_limits<double>::infinity();
  for (const PlotTick& tick : plot.x_ticks) {
    const double x = frame.x.pixel(tick.at);
    if (x < frame.box.left || x > frame.box.right()) continue;
    canvas.line({x, frame.box.top}, {x, frame.box.bottom()}, {.colour = kFaint});
    const double half = canvas.text_width(tick.label) / 2;
    if (x - half < free_from) continue;
    canvas.text({x, frame.box.bottom() + 16}, tick.label, {.anchor = Anchor::kMiddle});
    free_from = x + half + kGap;
  }
}

void draw_frame(const LogPlot& plot, const Frame& frame, Canvas& canvas) {
  const PageBox& box = frame.box;
  canvas.text({box.left, 24}, plot.title, {.size = 16, .weight = Weight::kBold});
  canvas.text({box.left, 48}, plot.subtitle, {.colour = {0x55, 0x55, 0x55}});
  draw_x_ticks(plot, frame, canvas);
  for (const double step : y_steps(frame.y_range, frame.y)) {
    const double y = frame.y.pixel(step);
    canvas.line({box.left, y}, {box.right(), y}, {.colour = kFaint});
    canvas.text({box.left - 8, y}, y_label_of(step), {.anchor = Anchor::kEnd});
  }
  canvas.line({box.left, box.bottom()}, {box.right(), box.bottom()}, {});
  canvas.line({box.left, box.top}, {box.left, box.bottom()}, {});
  canvas.text({box.centre().x, box.bottom() + 40}, plot.x_label, {.anchor = Anchor::kMiddle});
  canvas.text({20, box.centre().y}, plot.y_label,
              {.anchor = Anchor::kMiddle, .direction = Direction::kUpwards});
}

void draw_series(const PlotSeries& series, const Look& look, const Frame& frame, Canvas& canvas) {
  std::vector<PagePoint> points;
  for (const PlotPoint& point : series.points) {
    points.push_back({frame.x.pixel(point.x), frame.y.pixel(point.y)});
  }
  canvas.line(points, {look.colour, 2.2, look.dashes});
  for (const PagePoint& point : points) canvas.mark(point, look.marker, look.colour);
}

struct Name {
  std::size_t series_idx = 0;
  PagePoint end;  // of the line
  double y = 0;   // of the name
};

// Names in the order of their lines' ends, as close to them as they fit below each other.
std::vector<Name> place_names(const LogPlot& plot, const Frame& frame) {
  std::vector<Name> names;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    if (plot.series[i].points.empty()) continue;
    const PlotPoint& last = plot.series[i].points.back();
    const PagePoint end{frame.x.pixel(last.x), frame.y.pixel(last.y)};
    names.push_back({i, end, end.y});
  }
  std::stable_sort(names.begin(), names.end(),
                   [](const Name& a, const Name& b) { return a.end.y < b.end.y; });
  double free_from = -std::numeric_limits<double>::infinity();
  for (Name& name : names) {
    name.y = std::max(name.y, free_from);
    free_from = name.y + kNameHeight;
  }
  // Those pushed below the frame move back up.
  double free_to = frame.box.bottom();
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    name->y = std::min(name->y, free_to);
    free_to = name->y - kNameHeight;
  }
  return names;
}

void draw_names(const LogPlot& plot, const Frame& frame, Canvas& canvas) {
  const double left = frame.box.right() + kSampleGap;
  const double right = left + kSampleWidth;
  for (const Name& name : place_names(plot, frame)) {
    const Look look = look_of(name.series_idx);
    // A line that ends far from the names is known by its sample alone.
    if (frame.box.right() - name.end.x < 60) {
      canvas.line({name.end.x + 7, name.end.y}, {left - 3, name.y}, {.colour = look.colour});
    }
    canvas.line({left, name.y}, {right, name.y}, {look.colour, 2.2, look.dashes});
    canvas.mark({(left + right) / 2, name.y}, look.marker, look.colour);
    canvas.text({right + 8, name.y}, plot.series[name.series_idx].name);
  }
}

}  // namespace

PlotSize size_of(const LogPlot&) {
  return kLogPlotSize;
}

void draw(const LogPlot& plot, Canvas& canvas) {
  const Frame frame = frame_of(plot, canvas);
  draw_frame(plot, frame, canvas);
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    draw_series(plot.series[i], look_of(i), frame, canvas);
  }
  draw_names(plot, frame, canvas);
}

}  // namespace precis::cli
