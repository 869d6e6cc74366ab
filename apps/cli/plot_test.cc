#include "cli/plot.h"

#include <cmath>
#include <cstring>

#include <cairo.h>
#include <gtest/gtest.h>

#include "cli/input.h"

// Fontconfig keeps what it found until the process ends, in places that the leak checker of the
// address sanitizer does not search.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libfontconfig";
}

namespace precis::cli {
namespace {

// A decoded PNG, read as a reader does: by colours on the page.
class Page {
 public:
  explicit Page(const std::string& png) {
    struct Rest {
      const char* at;
      std::size_t n_bytes;
    } rest{png.data(), png.size()};
    const auto read = [](void* from, unsigned char* out, unsigned int n_bytes) {
      Rest& left = *static_cast<Rest*>(from);
      if (n_bytes > left.n_bytes) return CAIRO_STATUS_READ_ERROR;
      std::memcpy(out, left.at, n_bytes);
      left.at += n_bytes;
      left.n_bytes -= n_bytes;
      return CAIRO_STATUS_SUCCESS;
    };
    surface_ = cairo_image_surface_create_from_png_stream(read, &rest);
  }
  ~Page() { cairo_surface_destroy(surface_); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  bool ok() const { return cairo_surface_status(surface_) == CAIRO_STATUS_SUCCESS; }
  int width() const { return cairo_image_surface_get_width(surface_) / 2; }
  int height() const { return cairo_image_surface_get_height(surface_) / 2; }

  Colour at(PagePoint point) const {
    return pixel(static_cast<int>(2 * point.x), static_cast<int>(2 * point.y));
  }

  // Of all pixels of exactly this colour; {} where there are none.
  struct Spot {
    int n_pixels = 0;
    PagePoint centre;
  };
  Spot spot(Colour colour, double right) const {
    Spot spot;
    for (int y = 0; y < 2 * height(); ++y) {
      for (int x = 0; x < static_cast<int>(2 * right); ++x) {
        if (pixel(x, y) != colour) continue;
        ++spot.n_pixels;
        spot.centre.x += x / 2.0;
        spot.centre.y += y / 2.0;
      }
    }
    spot.centre.x /= std::max(spot.n_pixels, 1);
    spot.centre.y /= std::max(spot.n_pixels, 1);
    return spot;
  }

 private:
  Colour pixel(int x, int y) const {
    const unsigned char* const row =
        cairo_image_surface_get_data(surface_) + y * cairo_image_surface_get_stride(surface_);
    std::uint32_t value = 0;
    std::memcpy(&value, row + 4 * x, sizeof value);
    return {static_cast<std::uint8_t>(value >> 16), static_cast<std::uint8_t>(value >> 8),
            static_cast<std::uint8_t>(value)};
  }

  cairo_surface_t* surface_ = nullptr;
};

std::string png_of(const std::vector<Chart>& charts) {
  return picture_of(charts, PictureFormat::kPng).value();
}

LogPlot plot_of(const std::vector<std::vector<PlotPoint>>& lines) {
  LogPlot plot{.title = "Speed",
               .subtitle = {},
               .x_label = "context",
               .y_label = "tokens/s",
               .x_ticks = {{1, "1"}, {100, "100"}},
               .series = {}};
  for (const std::vector<PlotPoint>& points : lines) plot.series.push_back({"name", points});
  return plot;
}

HeatMap map_of() {
  return {.title = "Recall",
          .subtitle = "mini",
          .lengths = {1024, 2048, 8192},
          .depths = {0, 0.5},
          .cells = {{1, 20}, {0.5, 20}, {0, 20}, {0.75, 20}, {0.25, 3}, {}},
          .lines = {}};
}

// The names on the right hold samples of the lines.
constexpr double kChartRight = 700;
constexpr Colour kFirstColour{0x00, 0x72, 0xb2};
constexpr Colour kSecondColour{0xd5, 0x5e, 0x00};

// Both axes are logarithmic, so 10 lies half way between 1 and 100.
TEST(Plot, PlacesTheGeometricMeanInTheMiddle) {
  const auto centre_of = [](PlotPoint point) {
    // Two other points span the axes, so that they are the same for every first one.
    const Page page(png_of({plot_of({{point}, {{0.1, 0.1}}, {{1000, 1000}}})}));
    return page.spot(kFirstColour, kChartRight).centre;
  };
  const PagePoint low = centre_of({1, 1});
  const PagePoint middle = centre_of({10, 10});
  const PagePoint high = centre_of({100, 100});
  EXPECT_GT(middle.x, low.x + 50);
  EXPECT_GT(low.y, middle.y + 50) << "larger values are higher up";
  EXPECT_NEAR(middle.x, (low.x + high.x) / 2, 1);
  EXPECT_NEAR(middle.y, (low.y + high.y) / 2, 1);
}

TEST(Plot, DrawsEverySeriesInItsOwnColour) {
  std::vector<std::vector<PlotPoint>> lines;
  for (int i = 0; i < 12; ++i) lines.push_back({{1, 10.0 * (i + 1)}, {100, 20.0 * (i + 1)}});
  const LogPlot plot = plot_of(lines);
  std::vector<Chart> one_less{plot};
  std::get<LogPlot>(one_less[0]).series.pop_back();
  const Page page(png_of({plot}));
  constexpr Colour kTwelfth{0x44, 0xaa, 0x99};
  EXPECT_GT(page.spot(kFirstColour, kChartRight).n_pixels, 100);
  EXPECT_GT(page.spot(kSecondColour, kChartRight).n_pixels, 100);
  EXPECT_GT(page.spot(kTwelfth, kChartRight).n_pixels, 100);
  EXPECT_EQ(Page(png_of(one_less)).spot(kTwelfth, kChartRight).n_pixels, 0);
}

TEST(Plot, ASinglePointIsDrawn) {
  const Page page(png_of({plot_of({{{5, 5}}})}));
  EXPECT_GT(page.spot(kFirstColour, kChartRight).n_pixels, 50);
}

TEST(Plot, ChartsAreStackedOnOnePage) {
  const LogPlot first = plot_of({{{1, 1}, {2, 2}}});
  const LogPlot second = plot_of({{}, {{1, 1}, {2, 2}}});
  const Page page(png_of({first, second}));
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page.width(), size_of(first).width);
  EXPECT_EQ(page.height(), 2 * size_of(first).height);
  EXPECT_LT(page.spot(kFirstColour, kChartRight).centre.y, size_of(first).height);
  EXPECT_GT(page.spot(kSecondColour, kChartRight).centre.y, size_of(first).height);
}

TEST(Plot, SvgIsOneDocumentOfThePagesSize) {
  const LogPlot plot = plot_of({{{1, 1}, {2, 2}}});
  const std::string svg = picture_of({plot, plot}, PictureFormat::kSvg).value();
  EXPECT_TRUE(svg.starts_with("<?xml"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("width=\"820pt\" height=\"800pt\""), std::string::npos);
}

TEST(Plot, TheExtensionChoosesTheFormat) {
  EXPECT_EQ(picture_format("speed.png").value(), PictureFormat::kPng);
  EXPECT_EQ(picture_format("speed.v2.SVG").value(), PictureFormat::kSvg);
  for (const char* name : {"speed", "speed.jpg", "png", ".png"}) {
    const auto format = picture_format(name);
    ASSERT_FALSE(format.ok()) << name;
    EXPECT_EQ(format.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(format.error().message.find(name), std::string::npos);
  }
  EXPECT_EQ(picture_format("no/such/directory/a.png").error().code, ErrorCode::kNotFound);
}

TEST(Plot, AFileAppearsWholeOrNotAtAll) {
  const auto directory = std::filesystem::path(testing::TempDir()) / "plot_test";
  std::filesystem::create_directories(directory / "taken.png");
  const std::vector<Chart> charts{plot_of({{{1, 1}, {2, 2}}})};
  ASSERT_TRUE(write_picture(directory / "a.png", charts).ok());
  EXPECT_EQ(read_file(directory / "a.png").value(), png_of(charts));
  EXPECT_EQ(write_picture(directory / "taken.png", charts).error().code, ErrorCode::kIo);
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    EXPECT_NE(entry.path().extension(), ".partial");
  }
  std::filesystem::remove_all(directory);
}

TEST(HeatMap, CellsHaveTheColourOfTheirValue) {
  const HeatMap map = map_of();
  const Page page(png_of({map}));
  for (std::size_t depth = 0; depth < 2; ++depth) {
    for (std::size_t length = 0; length < 3; ++length) {
      const HeatCell& cell = map.cells[3 * depth + length];
      const PageBox box = cell_box(map, depth, length);
      EXPECT_EQ(page.at({box.left + 3, box.top + 3}),
                cell.n == 0 ? kNotRun : heat_colour(cell.value))
          << "row " << depth << ", column " << length;
    }
  }
}

TEST(HeatMap, ColumnsLieAtTheLogarithmOfTheirLength) {
  const HeatMap map = map_of();
  const PageBox first = cell_box(map, 0, 0);
  const PageBox second = cell_box(map, 0, 1);
  const PageBox third = cell_box(map, 0, 2);
  EXPECT_NEAR(second.width, 1.5 * first.width, 1e-6) << "1K, 2K, 8K: half of 1 and of 2 octaves";
  EXPECT_NEAR(third.width, 2 * first.width, 1e-6);
  EXPECT_LT(first.top, cell_box(map, 1, 0).top) << "the first depth is on top";
}

// Everything else stays in place, so only the line's pixels differ.
TEST(HeatMap, ALineStandsAtItsLength) {
  HeatMap map = map_of();
  map.lines = {{2048, "longest training sequence"}};
  const Page page(png_of({map}));
  const PageBox box = cell_box(map, 0, 1);
  const double x = (cell_box(map, 0, 0).right() * 1 + box.left) / 2 + cell_box(map, 0, 0).width / 2;
  EXPECT_EQ(page.at({x - 2, box.top + 2}), kWhite) << "the line's edge";
  EXPECT_EQ(page.at({x + 4, box.top + 2}), heat_colour(0.5));
  map.lines = {{65536, "largest position"}};
  EXPECT_LT(cell_box(map, 0, 2).right() + 20, size_of(map).width) << "the axis reaches a far line";
}

// What tells the values apart without hue.
TEST(HeatMap, ColoursGrowLighterWithTheValue) {
  const auto lightness = [](Colour colour) {
    const auto linear = [](std::uint8_t channel) { return std::pow(channel / 255.0, 2.2); };
    const double luminance =
        0.2126 * linear(colour.red) + 0.7152 * linear(colour.green) + 0.0722 * linear(colour.blue);
    return 116 * std::cbrt(luminance) - 16;
  };
  constexpr int kSteps = 20;
  const double whole = lightness(heat_colour(1)) - lightness(heat_colour(0));
  EXPECT_GT(whole, 60);
  for (int i = 0; i < kSteps; ++i) {
    const double step = lightness(heat_colour((i + 1.0) / kSteps)) -
                        lightness(heat_colour(static_cast<double>(i) / kSteps));
    EXPECT_GT(step, 0.6 * whole / kSteps) << "from " << i << " of " << kSteps;
    EXPECT_LT(step, 1.6 * whole / kSteps) << "from " << i << " of " << kSteps;
  }
}

}  // namespace
}  // namespace precis::cli
