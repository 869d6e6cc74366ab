// A page to draw on, kept as PNG or as SVG.  The only user of cairo.
//
// Coordinates are pixels from the top left corner; a PNG has two of its own pixels for each, so
// that it is sharp on dense screens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "precis/status.h"

namespace precis::cli {

enum class PictureFormat : std::uint8_t { kPng, kSvg };

struct PlotSize {
  double width = 0;
  double height = 0;
};

struct PagePoint {
  double x = 0;
  double y = 0;
};

struct PageBox {
  double left = 0;
  double top = 0;
  double width = 0;
  double height = 0;

  double right() const { return left + width; }
  double bottom() const { return top + height; }
  PagePoint centre() const { return {left + width / 2, top + height / 2}; }
};

struct Colour {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;

  friend bool operator==(const Colour&, const Colour&) = default;
};

inline constexpr Colour kBlack{0x22, 0x22, 0x22};
inline constexpr Colour kWhite{0xff, 0xff, 0xff};
inline constexpr Colour kFaint{0xdd, 0xdd, 0xdd};

enum class Dashes : std::uint8_t { kNone, kLong, kShort, kMixed };
enum class Marker : std::uint8_t { kCircle, kSquare, kDiamond, kTriangle, kCross };

struct Stroke {
  Colour colour = kBlack;
  double width = 1;
  Dashes dashes = Dashes::kNone;
};

enum class Anchor : std::uint8_t { kStart, kMiddle, kEnd };
enum class Weight : std::uint8_t { kNormal, kBold };
enum class Direction : std::uint8_t { kAcross, kUpwards };

struct TextStyle {
  Anchor anchor = Anchor::kStart;
  double size = 13;
  Colour colour = kBlack;
  Weight weight = Weight::kNormal;
  Direction direction = Direction::kAcross;
};

class Canvas {
 public:
  Canvas(PictureFormat format, PlotSize size);
  ~Canvas();
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;

  void fill(const PageBox& box, Colour colour);
  void line(std::span<const PagePoint> points, const Stroke& stroke);
  void line(PagePoint from, PagePoint to, const Stroke& stroke);
  void mark(PagePoint centre, Marker marker, Colour colour);

  /// Writes one line of UTF-8.  `at` is its start, middle or end as the anchor says, at half the
  /// height of a digit.
  void text(PagePoint at, std::string_view text, const TextStyle& style = {});

  /// How much room text() takes along its line.
  double text_width(std::string_view text, const TextStyle& style = {}) const;

  /// Everything drawn from here on is `by` lower.
  void shift_down(double by);

  /// The bytes of the picture; nothing may be drawn afterwards.
  ///
  /// Errors    kIo — cairo failed, with its reason (memory, or no font)
  Result<std::string> finish();

 private:
  struct Cairo;
  void use(const TextStyle& style) const;

  PictureFormat format_;
  std::unique_ptr<Cairo> cairo_;
};

}  // namespace precis::cli
