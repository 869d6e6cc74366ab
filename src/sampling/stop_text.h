// Stop strings over text that arrives in pieces.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace precis {

/// Passes text on until the first stop string.
///
/// What could still become a stop string is held back until it is decided, so that no part of one
/// ever gets out.  What comes out in total depends only on the text, not on how it was cut.
class StopText {
 public:
  /// Requires  no stop string is empty
  explicit StopText(std::vector<std::string> stops);

  /// Takes more text; returns what is certain to come before any stop string.
  std::string feed(std::string_view text);

  /// Ends the text: what was held back did not become a stop string.
  std::string flush();

  /// Whether a stop string was reached; feed() returns nothing from then on.
  bool stopped() const { return stopped_; }

 private:
  std::size_t held_back_bytes() const;

  std::vector<std::string> stops_;
  std::string pending_;  // shorter than the longest stop string between calls
  bool stopped_ = false;
};

}  // namespace precis
