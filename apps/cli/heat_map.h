// A share of successes over context length and depth, as coloured cells with their numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/plot_canvas.h"

namespace precis::cli {

struct HeatCell {
  double value = 0;    // 0 … 1
  std::int64_t n = 0;  // trials; 0 = not run, drawn grey
};

/// A vertical line at a length, with its name above the cells.
struct HeatLine {
  std::int64_t at_tokens = 0;
  std::string label;
};

/// Columns lie on a logarithmic axis of lengths; rows are equally high, the first on top.
///
/// Requires  at least one length and depth; lengths positive, ascending;
///           cells.size() == lengths.size() · depths.size()
struct HeatMap {
  std::string title;
  std::string subtitle;  // may be empty
  std::string x_label = "context (tokens)";
  std::string y_label = "depth in the context";
  std::vector<std::int64_t> lengths;  // tokens
  std::vector<double> depths;         // 0 (begin) … 1 (end of the context), in the order of rows
  std::vector<HeatCell> cells;        // [depth, length]
  std::vector<HeatLine> lines;
};

PlotSize size_of(const HeatMap& map);
void draw(const HeatMap& map, Canvas& canvas);

/// Where a cell lies in a picture of this one map.
PageBox cell_box(const HeatMap& map, std::size_t depth_idx, std::size_t length_idx);

/// Red over yellow to green for 0 … 1, each step lighter than the one before, so that the order
/// survives every kind of colour blindness and a grey print.
Colour heat_colour(double value);

inline constexpr Colour kNotRun{0xc4, 0xc4, 0xc4};

}  // namespace precis::cli
