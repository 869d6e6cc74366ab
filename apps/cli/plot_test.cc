#include "cli/plot.h"

#include <gtest/gtest.h>

namespace precis::cli {
namespace {

LogPlot sample() {
  return {"Speed",
          "context",
          "tokens/s",
          {{1, "1"}, {100, "100"}},
          {{"a & b", {{1, 10}, {100, 1000}}}, {"c", {{1, 20}, {100, 20}}}}};
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(Plot, HasALineForEverySeriesAndAMarkerForEveryPoint) {
  const std::string svg = svg_of(sample());
  EXPECT_EQ(count(svg, "<polyline"), 2U);
  EXPECT_EQ(count(svg, "<circle"), 2U + 1);  // one more in the legend
  EXPECT_NE(svg.find("tokens/s"), std::string::npos);
  EXPECT_NE(svg.find("</svg>"), std::string::npos);
}

TEST(Plot, EscapesTextForXml) {
  EXPECT_NE(svg_of(sample()).find("a &amp; b"), std::string::npos);
}

// Both axes are logarithmic, so 10 lies half way between 1 and 100.
TEST(Plot, PlacesTheGeometricMeanInTheMiddle) {
  LogPlot plot = sample();
  plot.series = {{"s", {{1, 1}, {10, 10}, {100, 100}}}};
  const std::string svg = svg_of(plot);
  const std::size_t at = svg.find("points=\"") + 8;
  double x[3];
  double y[3];
  ASSERT_EQ(std::sscanf(svg.c_str() + at, "%lf,%lf %lf,%lf %lf,%lf", &x[0], &y[0], &x[1], &y[1],
                        &x[2], &y[2]),
            6);
  EXPECT_NEAR(x[1], (x[0] + x[2]) / 2, 0.11);
  EXPECT_NEAR(y[1], (y[0] + y[2]) / 2, 0.11);
  EXPECT_LT(y[2], y[0]) << "larger values are higher up";
}

TEST(Plot, StackedChartsAreOneDocumentWithBoth) {
  const std::string svg = stacked({svg_of(sample()), svg_of(sample())});
  EXPECT_EQ(count(svg, "<polyline"), 4U);
  EXPECT_EQ(count(svg, "<svg"), count(svg, "</svg>"));
  EXPECT_NE(svg.find("height=\"880\""), std::string::npos);
  EXPECT_NE(svg.find("translate(0 440)"), std::string::npos);
}

TEST(Plot, SixSeriesLookDifferent) {
  LogPlot plot = sample();
  plot.series.assign(6, {"s", {{1, 1}, {2, 2}}});
  const std::string svg = svg_of(plot);
  EXPECT_EQ(count(svg, "<polyline"), 6U);
  for (const char* colour : {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000"}) {
    EXPECT_NE(svg.find(colour), std::string::npos) << colour;
  }
}

TEST(Plot, ASinglePointIsFine) {
  LogPlot plot = sample();
  plot.series = {{"s", {{5, 5}}}};
  EXPECT_EQ(svg_of(plot).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace precis::cli
