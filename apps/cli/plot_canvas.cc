#include "cli/plot_canvas.h"

#include <array>
#include <cmath>
#include <numbers>

#include <cairo-svg.h>
#include <cairo.h>
#include <fmt/format.h>

namespace precis::cli {
namespace {

constexpr double kPngPixels = 2;  // of the file for one of the page, each way
constexpr double kMarkRadius = 4.5;

cairo_status_t append_bytes(void* out, const unsigned char* bytes, unsigned int n_bytes) {
  static_cast<std::string*>(out)->append(reinterpret_cast<const char*>(bytes), n_bytes);
  return CAIRO_STATUS_SUCCESS;
}

std::span<const double> lengths_of(Dashes dashes) {
  static constexpr std::array<double, 2> kLongDashes{8, 4};
  static constexpr std::array<double, 2> kShortDashes{2.5, 3};
  static constexpr std::array<double, 4> kMixedDashes{9, 3, 2, 3};
  switch (dashes) {
    case Dashes::kNone: return {};
    case Dashes::kLong: return kLongDashes;
    case Dashes::kShort: return kShortDashes;
    case Dashes::kMixed: return kMixedDashes;
  }
  return {};
}

void choose_colour(cairo_t* page, Colour colour) {
  cairo_set_source_rgb(page, colour.red / 255.0, colour.green / 255.0, colour.blue / 255.0);
}

void trace_polygon(cairo_t* page, PagePoint centre, std::span<const PagePoint> corners) {
  for (const PagePoint& corner : corners) {
    cairo_line_to(page, centre.x + kMarkRadius * corner.x, centre.y + kMarkRadius * corner.y);
  }
  cairo_close_path(page);
}

// The shapes cover about the same area.
void trace_marker(cairo_t* page, PagePoint centre, Marker marker) {
  static constexpr std::array<PagePoint, 4> kSquare{
      {{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}}};
  static constexpr std::array<PagePoint, 4> kDiamond{{{0, -1.3}, {1.3, 0}, {0, 1.3}, {-1.3, 0}}};
  static constexpr std::array<PagePoint, 3> kTriangle{{{0, -1.3}, {1.25, 0.95}, {-1.25, 0.95}}};
  static constexpr std::array<PagePoint, 12> kCross{{{-1.2, -0.8},
                                                     {-0.8, -1.2},
                                                     {0, -0.4},
                                                     {0.8, -1.2},
                                                     {1.2, -0.8},
                                                     {0.4, 0},
                                                     {1.2, 0.8},
                                                     {0.8, 1.2},
                                                     {0, 0.4},
                                                     {-0.8, 1.2},
                                                     {-1.2, 0.8},
                                                     {-0.4, 0}}};
  switch (marker) {
    case Marker::kCircle:
      cairo_arc(page, centre.x, centre.y, kMarkRadius, 0, 2 * std::numbers::pi);
      return;
    case Marker::kSquare: return trace_polygon(page, centre, kSquare);
    case Marker::kDiamond: return trace_polygon(page, centre, kDiamond);
    case Marker::kTriangle: return trace_polygon(page, centre, kTriangle);
    case Marker::kCross: return trace_polygon(page, centre, kCross);
  }
}

}  // namespace

struct Canvas::Cairo {
  std::string svg;  // written to until the surface is finished
  cairo_surface_t* surface = nullptr;
  cairo_t* page = nullptr;

  ~Cairo() {
    cairo_destroy(page);
    cairo_surface_destroy(surface);
  }
};

Canvas::Canvas(PictureFormat format, PlotSize size)
    : format_(format), cairo_(std::make_unique<Cairo>()) {
  if (format == PictureFormat::kSvg) {
    cairo_->surface =
        cairo_svg_surface_create_for_stream(append_bytes, &cairo_->svg, size.width, size.height);
  } else {
    cairo_->surface = cairo_image_surface_create(
        CAIRO_FORMAT_RGB24, static_cast<int>(std::ceil(kPngPixels * size.width)),
        static_cast<int>(std::ceil(kPngPixels * size.height)));
  }
  cairo_->page = cairo_create(cairo_->surface);
  if (format == PictureFormat::kPng) cairo_scale(cairo_->page, kPngPixels, kPngPixels);
  cairo_set_line_join(cairo_->page, CAIRO_LINE_JOIN_ROUND);
  // The same letters on every machine, whatever its screen is set to.
  cairo_font_options_t* const fonts = cairo_font_options_create();
  cairo_font_options_set_antialias(fonts, CAIRO_ANTIALIAS_GRAY);
  cairo_font_options_set_hint_style(fonts, CAIRO_HINT_STYLE_NONE);
  cairo_font_options_set_hint_metrics(fonts, CAIRO_HINT_METRICS_OFF);
  cairo_set_font_options(cairo_->page, fonts);
  cairo_font_options_destroy(fonts);
  fill({0, 0, size.width, size.height}, kWhite);
}

Canvas::~Canvas() = default;

void Canvas::fill(const PageBox& box, Colour colour) {
  choose_colour(cairo_->page, colour);
  cairo_rectangle(cairo_->page, box.left, box.top, box.width, box.height);
  cairo_fill(cairo_->page);
}

void Canvas::line(std::span<const PagePoint> points, const Stroke& stroke) {
  for (const PagePoint& point : points) cairo_line_to(cairo_->page, point.x, point.y);
  const std::span<const double> dashes = lengths_of(stroke.dashes);
  cairo_set_dash(cairo_->page, dashes.data(), static_cast<int>(dashes.size()), 0);
  cairo_set_line_width(cairo_->page, stroke.width);
  choose_colour(cairo_->page, stroke.colour);
  cairo_stroke(cairo_->page);
}

void Canvas::line(PagePoint from, PagePoint to, const Stroke& stroke) {
  const std::array<PagePoint, 2> points{from, to};
  line(points, stroke);
}

void Canvas::mark(PagePoint centre, Marker marker, Colour colour) {
  cairo_new_path(cairo_->page);
  trace_marker(cairo_->page, centre, marker);
  choose_colour(cairo_->page, colour);
  cairo_fill(cairo_->page);
}

void Canvas::use(const TextStyle& style) const {
  cairo_select_font_face(
      cairo_->page, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
      style.weight == Weight::kBold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(cairo_->page, style.size);
}

void Canvas::text(PagePoint at, std::string_view text, const TextStyle& style) {
  constexpr double kHalfDigit = 0.365;  // of the font size
  const double width = text_width(text, style);
  double before = 0;
  if (style.anchor == Anchor::kMiddle) before = width / 2;
  if (style.anchor == Anchor::kEnd) before = width;
  cairo_save(cairo_->page);
  cairo_translate(cairo_->page, at.x, at.y);
  if (style.direction == Direction::kUpwards) {
    cairo_rotate(cairo_->page, -std::numbers::pi / 2);
  }
  cairo_move_to(cairo_->page, -before, kHalfDigit * style.size);
  choose_colour(cairo_->page, style.colour);
  cairo_show_text(cairo_->page, std::string(text).c_str());
  cairo_restore(cairo_->page);
  cairo_new_path(cairo_->page);  // showing text leaves a current point behind
}

double Canvas::text_width(std::string_view text, const TextStyle& style) const {
  use(style);
  cairo_text_extents_t extents;
  cairo_text_extents(cairo_->page, std::string(text).c_str(), &extents);
  return extents.x_advance;
}

void Canvas::shift_down(double by) {
  cairo_translate(cairo_->page, 0, by);
}

Result<std::string> Canvas::finish() {
  cairo_status_t status = cairo_status(cairo_->page);
  std::string bytes;
  if (status == CAIRO_STATUS_SUCCESS && format_ == PictureFormat::kPng) {
    status = cairo_surface_write_to_png_stream(cairo_->surface, append_bytes, &bytes);
  }
  cairo_surface_finish(cairo_->surface);
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_status(cairo_->surface);
  if (status != CAIRO_STATUS_SUCCESS) {
    return Error{ErrorCode::kIo,
                 fmt::format("the picture cannot be drawn: {}", cairo_status_to_string(status))};
  }
  return format_ == PictureFormat::kPng ? std::move(bytes) : std::move(cairo_->svg);
}

}  // namespace precis::cli
