#include "cli/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "cli/format.h"

namespace precis::cli {
namespace {

constexpr double kHeatLeft = 76;
constexpr double kHeatRight = 28;
constexpr double kHeatHead = 66;   // title and subtitle
constexpr double kLineLabel = 17;  // one row of names of lines
constexpr double kHeatFoot = 112;  // lengths, axis, scale
constexpr double kRowHeight = 36;
constexpr double kCellsWidth = 480;  // unless the narrowest column needs more
constexpr double kMostCellsWidth = 1600;
constexpr double kNarrowestCell = 56;

// Columns in logarithms of tokens.
struct Columns {
  std::vector<double> edges;  // [lengths + 1]
  double low = 0;             // of the axis: the edges and all lines
  double high = 0;
};

Columns columns_of(const HeatMap& map) {
  std::vector<double> logs;
  for (const std::int64_t length : map.lengths) {
    logs.push_back(std::log2(static_cast<double>(length)));
  }
  const std::size_t n = logs.size();
  Columns columns;
  columns.edges.push_back(logs[0] - (n > 1 ? (logs[1] - logs[0]) / 2 : 0.5));
  for (std::size_t i = 1; i < n; ++i) columns.edges.push_back((logs[i - 1] + logs[i]) / 2);
  columns.edges.push_back(logs[n - 1] + (n > 1 ? (logs[n - 1] - logs[n - 2]) / 2 : 0.5));
  columns.low = columns.edges.front();
  columns.high = columns.edges.back();
  constexpr double kSpace = 0.2;
  for (const HeatLine& line : map.lines) {
    const double at = std::log2(static_cast<double>(line.at_tokens));
    if (at <= columns.low) columns.low = at - kSpace;
    if (at >= columns.high) columns.high = at + kSpace;
  }
  return columns;
}

double cells_width(const Columns& columns) {
  double narrowest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 1; i < columns.edges.size(); ++i) {
    narrowest = std::min(narrowest, columns.edges[i] - columns.edges[i - 1]);
  }
  const double needed = kNarrowestCell * (columns.high - columns.low) / narrowest;
  return std::clamp(needed, kCellsWidth, kMostCellsWidth);
}

// Where everything lies.
struct Grid {
  Columns columns;
  PageBox box;

  double x_of(double log_tokens) const {
    return box.left + box.width * (log_tokens - columns.low) / (columns.high - columns.low);
  }
  double x_of_tokens(std::int64_t n) const { return x_of(std::log2(static_cast<double>(n))); }
  PageBox cell(std::size_t depth_idx, std::size_t length_idx) const {
    const double left = x_of(columns.edges[length_idx]);
    return {left, box.top + kRowHeight * static_cast<double>(depth_idx),
            x_of(columns.edges[length_idx + 1]) - left, kRowHeight};
  }
};

Grid grid_of(const HeatMap& map) {
  Columns columns = columns_of(map);
  const double width = cells_width(columns);
  const double top = kHeatHead + kLineLabel * static_cast<double>(map.lines.size());
  return {std::move(columns),
          {kHeatLeft, top, width, kRowHeight * static_cast<double>(map.depths.size())}};
}

// Relative luminance of sRGB, roughly: enough to choose black or white letters.
double brightness(Colour colour) {
  return (0.3 * colour.red + 0.59 * colour.green + 0.11 * colour.blue) / 255;
}

Colour cell_colour(const HeatCell& cell) {
  return cell.n == 0 ? kNotRun : heat_colour(cell.value);
}

// A gap of one pixel sets cells apart; the colours alone would flow together.
PageBox inside(const PageBox& box) {
  return {box.left + 0.5, box.top + 0.5, box.width - 1, box.height - 1};
}

void write_cell(const HeatCell& cell, const PageBox& box, Canvas& canvas) {
  if (cell.n == 0) return;
  const Colour background = cell_colour(cell);
  const PagePoint centre = box.centre();
  const Colour ink = brightness(background) > 0.45 ? kBlack : kWhite;
  const std::string value = fmt::format("{:.0f} %", 100 * cell.value);
  const std::string n = fmt::format("n {}", cell.n);
  // Lines pass behind the numbers.
  const double width = std::max(canvas.text_width(value), canvas.text_width(n, {.size = 10})) + 4;
  canvas.fill({centre.x - width / 2, centre.y - 14, width, 28}, background);
  canvas.text({centre.x, centre.y - 6}, value, {.anchor = Anchor::kMiddle, .colour = ink});
  canvas.text({centre.x, centre.y + 9}, n, {.anchor = Anchor::kMiddle, .size = 10, .colour = ink});
}

void draw_cells(const HeatMap& map, const Grid& grid, Canvas& canvas) {
  for (std::size_t d = 0; d < map.depths.size(); ++d) {
    for (std::size_t l = 0; l < map.lengths.size(); ++l) {
      canvas.fill(inside(grid.cell(d, l)), cell_colour(map.cells[d * map.lengths.size() + l]));
    }
  }
}

void write_cells(const HeatMap& map, const Grid& grid, Canvas& canvas) {
  for (std::size_t d = 0; d < map.depths.size(); ++d) {
    for (std::size_t l = 0; l < map.lengths.size(); ++l) {
      write_cell(map.cells[d * map.lengths.size() + l], grid.cell(d, l), canvas);
    }
  }
}

// Every line has its own row for its name, the first one on top.
void draw_lines(const HeatMap& map, const Grid& grid, Canvas& canvas) {
  double label_y = kHeatHead;
  for (const HeatLine& line : map.lines) {
    const double x = grid.x_of_tokens(line.at_tokens);
    canvas.line({x, grid.box.top}, {x, grid.box.bottom()}, {kWhite, 5});
    canvas.line({x, label_y + 7}, {x, grid.box.bottom() + 4}, {kBlack, 2, Dashes::kLong});
    const double half = canvas.text_width(line.label, {.size = 12}) / 2;
    const double middle = std::clamp(x, half + 8, size_of(map).width - half - 8);
    canvas.text({middle, label_y}, line.label, {.anchor = Anchor::kMiddle, .size = 12});
    label_y += kLineLabel;
  }
}

void draw_axes(const HeatMap& map, const Grid& grid, Canvas& canvas) {
  const PageBox& box = grid.box;
  for (std::size_t l = 0; l < map.lengths.size(); ++l) {
    canvas.text({grid.x_of_tokens(map.lengths[l]), box.bottom() + 16}, short_size(map.lengths[l]),
                {.anchor = Anchor::kMiddle});
  }
  for (std::size_t d = 0; d < map.depths.size(); ++d) {
    canvas.text({box.left - 8, grid.cell(d, 0).centre().y},
                fmt::format("{:.3g} %", 100 * map.depths[d]), {.anchor = Anchor::kEnd});
  }
  canvas.text({box.centre().x, box.bottom() + 40}, map.x_label, {.anchor = Anchor::kMiddle});
  canvas.text({18, box.centre().y}, map.y_label,
              {.anchor = Anchor::kMiddle, .direction = Direction::kUpwards});
}

void draw_scale(const Grid& grid, Canvas& canvas) {
  constexpr int kSteps = 50;
  constexpr double kScaleWidth = 200;
  constexpr double kScaleHeight = 12;
  const double left = grid.box.left;
  const double top = grid.box.bottom() + 64;
  for (int i = 0; i < kSteps; ++i) {
    constexpr double kStepWidth = kScaleWidth / kSteps;
    canvas.fill({left + i * kStepWidth, top, kStepWidth + 0.5, kScaleHeight},
                heat_colour((i + 0.5) / kSteps));
  }
  for (const double value : {0.0, 0.5, 1.0}) {
    canvas.text({left + kScaleWidth * value, top + 24}, fmt::format("{:.0f} %", 100 * value),
                {.anchor = Anchor::kMiddle, .size = 12});
  }
  canvas.fill({left + kScaleWidth + 40, top, 28, kScaleHeight}, kNotRun);
  canvas.text({left + kScaleWidth + 76, top + kScaleHeight / 2}, "not run", {.size = 12});
}

}  // namespace

Colour heat_colour(double value) {
  // Lightness (CIE L*) 25, 42, 58, 74 and 90.
  constexpr std::array<Colour, 5> kStops{{{0x7a, 0x0a, 0x1e},
                                          {0xb8, 0x34, 0x1c},
                                          {0xdc, 0x6f, 0x22},
                                          {0xe0, 0xae, 0x34},
                                          {0xb9, 0xf0, 0xa6}}};
  const double place = std::clamp(value, 0.0, 1.0) * (kStops.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), kStops.size() - 2);
  const double part = place - static_cast<double>(below);
  const auto mix = [&](std::uint8_t Colour::*channel) {
    return static_cast<std::uint8_t>(
        std::lround((1 - part) * (kStops[below].*channel) + part * (kStops[below + 1].*channel)));
  };
  return {mix(&Colour::red), mix(&Colour::green), mix(&Colour::blue)};
}

PageBox cell_box(const HeatMap& map, std::size_t depth_idx, std::size_t length_idx) {
  return grid_of(map).cell(depth_idx, length_idx);
}

PlotSize size_of(const HeatMap& map) {
  const Grid grid = grid_of(map);
  return {grid.box.right() + kHeatRight, grid.box.bottom() + kHeatFoot};
}

void draw(const HeatMap& map, Canvas& canvas) {
  const Grid grid = grid_of(map);
  canvas.text({kHeatLeft, 24}, map.title, {.size = 16, .weight = Weight::kBold});
  canvas.text({kHeatLeft, 46}, map.subtitle, {.colour = {0x55, 0x55, 0x55}});
  draw_cells(map, grid, canvas);
  draw_lines(map, grid, canvas);
  write_cells(map, grid, canvas);
  draw_axes(map, grid, canvas);
  draw_scale(grid, canvas);
}

}  // namespace precis::cli
